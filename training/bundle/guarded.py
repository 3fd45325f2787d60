r"""The preset ``guarded`` of a bundle: a head that ends earlier, and a tail with half of the network.

    python -m training.bundle.guarded --model BUNDLE --weights RUN/guarded.npz --data ../shared/data/ham10000 --out NEW

NEW holds everything that BUNDLE holds, unchanged, and ``guarded_head.tflite`` and ``guarded_tail.tflite``, made of the
weights that `training.release.guarded` wrote for the network of BUNDLE. Sizes, cut, noise and what attacks got are read
from ``guarded.json`` beside the weights. The manifest gets the preset, calibrated and measured through the deployed
files; the default stays. The identity changes, so devices and workers need the new bundle together.

Until ``python -m training.gate.fit --preset guarded`` has fitted its gate, photos are refused by their pixels alone.

Needs the extra ``train``. With 3,000 photos it takes some ten minutes of one core, most of them for `DRAWS` of the
noise of each (`training.evaluation.deployed`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import keras
from keras import ops

from securesplit.atomic import atomic_folder
from securesplit.errors import ConfigError
from securesplit.model import Bundle, Manifest, Preset, convert, guarded_preset
from securesplit.model import gate as gates
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.guarded_preset import HEAD, PRESET, TAIL
from securesplit.model.manifest import GuardedInfo
from securesplit.privacy.release import ReleaseSpec
from training import command
from training.bundle import export
from training.bundle.calibrate import check_measurable, measure, quality_table
from training.data.dataset import Dataset
from training.data.photo import DataError
from training.network import warm_start
from training.output import copy_bundle
from training.release.guarded import parts, weights
from training.release.guarded.losses import GRID

_FIGURES = ("multiply_adds", "auc", "attacked")
"""Of a run's report, what goes into the provenance."""


@dataclass(frozen=True)
class Trained:
    """A run of `training.release.guarded`.

    Attributes:
        file: of the weights.
        framing: which square of a photo they saw.
        cut: last layer of the network on the device.
        size: height and width of a release.
        channels: of a release.
        blocks: of the encoder.
        sigma: of the noise, where values lie in -1..1.
        figures: what was measured of it.
    """

    file: Path
    framing: str
    cut: str
    size: int
    channels: int
    blocks: int
    sigma: float
    figures: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path) -> Self:
        """The run whose weights are `file`.

        Raises:
            DataError: there is no ``guarded.json`` beside them, or it is no report of a run.
        """
        try:
            report = json.loads(file.with_name("guarded.json").read_text(encoding="utf-8"))
            chosen, figures = report["settings"], {name: report[name] for name in _FIGURES}
            size, channels, blocks = (int(chosen[name]) for name in ("size", "channels", "blocks"))
            framing = chosen.get("framing", "centre square")
            return cls(file, framing, chosen["cut"], size, channels, blocks, float(chosen["sigma"]), figures)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"beside {file} there is no report of a finished run ({error})",
                hint="give the guarded.npz of a folder that `python -m training.release.guarded` wrote",
            ) from None

    @property
    def spec(self) -> ReleaseSpec:
        """What is released: every number in ±1 on a grid of 1 / `GRID`, so no vector is longer than the clip norm."""
        shape = (self.size, self.size, self.channels)
        clip_norm = math.sqrt(math.prod(shape))
        return ReleaseSpec(PRESET, shape, "int8", 1 / GRID, clip_norm, self.sigma / clip_norm)


def make(bundle: Bundle, trained: Trained, data: Dataset, out: Path) -> Manifest:
    """Write the bundle with the preset, measured, into the folder `out`, whole or not at all.

    Args:
        bundle: of whose network the weights were trained.
        trained: the weights.
        data: validation and test photos.
        out: must be empty or absent.

    Raises:
        DataError: another preset has releases of that shape, or validation or test photos are all of one class.
        ConfigError: the weights are of another network, or saw other squares of photos, or `out` is taken.
    """
    if trained.framing != bundle.manifest.framing:
        raise ConfigError(
            f"the weights learned from another square of each photo ({trained.framing}) than the bundle's network sees",
            hint=f"train them with --framing '{bundle.manifest.framing}'",
        )
    check_measurable(data)
    keras.utils.clear_session()  # names of layers go into the file
    spec = trained.spec
    for name, other in bundle.presets.items():
        if name != PRESET and (other.spec.shape, other.spec.dtype) == (spec.shape, spec.dtype):
            raise DataError(f"preset {name} has releases of that shape, and a worker could not tell them apart")
    head, tail = halves(bundle, trained)
    about = {
        "command": "python -m training.bundle.guarded",
        "weights_sha256": hashlib.sha256(trained.file.read_bytes()).hexdigest(),
        "cut": trained.cut,
        "data_sha256": data.digest,
        **trained.figures,
    }
    manifest = replace(
        bundle.manifest,
        presets={**bundle.presets, PRESET: Preset.uncalibrated(spec)},
        guarded=GuardedInfo(hashlib.sha256(head).hexdigest(), hashlib.sha256(tail).hexdigest()),
        provenance={**bundle.manifest.provenance, PRESET: about},
    )
    with atomic_folder(out) as own:
        copy_bundle(bundle.folder, own, without=[guarded_preset.GATE])
        (own / HEAD).write_bytes(head)
        (own / TAIL).write_bytes(tail)
        measured = measure(Bundle(own, manifest), data, [PRESET])
        measured.write(own)
    return measured


def halves(bundle: Bundle, trained: Trained) -> tuple[bytes, bytes]:
    """``guarded_head.tflite`` and ``guarded_tail.tflite``."""
    network = warm_start.network_of(bundle)
    middle = network.get_layer(trained.cut).output
    head, tail = keras.Model(network.inputs[0], middle), keras.Model(middle, network.output["malignant"], name="tail")
    encoder = parts.encoder(tuple(middle.shape[1:]), trained.size, trained.channels, trained.blocks)
    decoder = parts.decoder(tuple(middle.shape[1:]), trained.size, trained.channels)
    weights.load({"encoder": encoder, "decoder": decoder, "tail": tail}, trained.file)
    answer = keras.Model(decoder.inputs[0], tail(decoder.outputs[0]))
    shape = trained.spec.shape
    return _head(head, encoder, bundle.manifest.side), export.export_tail({PRESET: answer}, {PRESET: shape})


def _head(head: keras.Model, encoder: keras.Model, side: int) -> bytes:
    """Photo -> release on the grid, which truncation then leaves as it is, and the map of the cut for a gate."""

    def embed(photo: Any) -> dict[str, Any]:
        cut = head(photo, training=False)
        return {PRESET: ops.round(encoder(cut, training=False) * GRID) / GRID, gates.MAP: cut}

    endpoint = convert.Endpoint(embed, {"photo": (1, side, side, 3)})
    return convert.convert({"head": endpoint}, [head, encoder], "float16")


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--weights", type=Path, required=True, help="guarded.npz of a run, with its report beside it")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--run", type=Path, default=Path("build/guarded"), help="beside it pixels are cached")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle to make")
    args = parser.parse_args()
    trained, data = Trained.read(args.weights), Dataset.read(args.data, args.run.parent / "pixels")
    print(quality_table(make(Bundle.load(args.bundle), trained, data, args.out)))


if __name__ == "__main__":
    command.run(main)
