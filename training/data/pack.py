"""All photos of a data folder in one file, at the training size, to carry them to another machine.

    python -m training.data.pack --data ../shared/data --out build/photos.npz

Test photos stay behind: a network is never chosen by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.results import Framing
from training import command
from training.data.dataset import Dataset, Split, centre_square
from training.data.photo import SIDE, DataError
from training.output import NO_ARCHIVE, write_arrays

SPLITS = ("train", "val")


@dataclass(frozen=True)
class PackedPhotos:
    """Photos with all that training asks of them; every array has one row for each photo.

    Attributes:
        pixels: ``(n, h, w, 3) uint8``.
        malignant: ``(n,) float32``, 1 for malignant.
        dx: ``(n,) int32``, see `training.data.dataset.Split.dx`.
        source: ``(n,)``, see `training.data.photo.Photo`.
        is_phone: ``(n,) bool``.
        is_counted: ``(n,) bool``: counts in benign against malignant.
        histology: ``(n,) bool``.
        framing: ``(n,)``, which square lies in the middle, see `securesplit.results.Framing`.
    """

    pixels: NDArray[np.uint8]
    malignant: NDArray[np.float32]
    dx: NDArray[np.int32]
    source: NDArray[np.str_]
    is_phone: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    histology: NDArray[np.bool_]
    framing: NDArray[np.str_]

    @classmethod
    def of(cls, split: Split, framing: Framing) -> Self:
        """The photos of a split in memory, which was decoded for that framing."""
        found = {name: getattr(split, name) for name in cls.__dataclass_fields__ if name != "framing"}
        return cls(**found, framing=np.full(len(split.photos), framing))

    @classmethod
    def load(cls, file: Path, split: str) -> Self:
        """The photos of `split` in a file that this command wrote.

        Raises:
            DataError: it is none, or has no such split.
        """
        try:
            with file.open("rb") as stream, np.load(stream) as arrays:
                return cls(**{name: arrays[f"{split}_{name}"] for name in cls.__dataclass_fields__})
        except (*NO_ARCHIVE, KeyError) as error:
            raise DataError(f"cannot read {file} ({error})", hint="python -m training.data.pack writes it") from None

    def check_seen(self, side: int, framing: Framing) -> None:
        """Refuse photos of another size than a network takes, or with another square in the middle than it sees.

        Raises:
            ConfigError: they are not `side` pixels high, or were packed for another framing.
        """
        height = self.pixels.shape[1]
        if height != side:
            raise ConfigError(f"the photos are {height} pixels high, not {side}", hint="pack them again")
        if (self.framing != framing).any():
            raise ConfigError(
                f"the photos were packed for another framing than {framing}",
                hint=f"pack them again, with --framing '{framing}'",
            )

    def arrays(self, split: str) -> dict[str, NDArray[Any]]:
        """Named as `load` reads them."""
        return {f"{split}_{name}": getattr(self, name) for name in self.__dataclass_fields__}

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> PackedPhotos:
        """The chosen ones."""
        return PackedPhotos(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    def joined(self, others: PackedPhotos) -> PackedPhotos:
        """These and then the others."""
        return PackedPhotos(
            **{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in self.__dataclass_fields__}
        )

    def squares(self) -> NDArray[np.uint8]:
        """What the network sees without random views, ``(n, h, h, 3)``."""
        return centre_square(self.pixels)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--side", type=command.whole(1), default=SIDE, help="height of a photo in pixels, which networks take"
    )
    parser.add_argument(
        "--framing", choices=get_args(Framing), default="centre square", help="which square of a photo networks see"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = Dataset.read(args.data, args.out.parent / "pixels").framed(args.framing)
    data.check_disjoint()
    data.check_classes(SPLITS)
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        arrays |= PackedPhotos.of(data.split(split, args.side), args.framing).arrays(split)
    write_arrays(args.out, arrays)


if __name__ == "__main__":
    command.run(main)
