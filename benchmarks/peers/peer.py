"""What the programs of the peers have in common: the inputs' folder, photos, the tail, and lines on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOOPBACK = "127.0.0.1"
FEATURES = 256
"""Numbers that a device encrypts of one photo."""
BATCH = 8
"""The most requests that a server which makes batches may put into one. None waits for a batch to fill."""


@dataclass(frozen=True)
class Inputs:
    """The folder that `benchmarks.performance.inputs` wrote.

    Attributes:
        folder: with ``photos/``, ``certs/``, networks and ``inputs.json``.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Side of the photo in pixels, and of each preset shape, dtype and step of a release."""
        return dict(json.loads((self.folder / "inputs.json").read_text()))

    @cached_property
    def photos(self) -> list[Path]:
        """Files, in order."""
        return sorted((self.folder / "photos").iterdir())

    @cached_property
    def encrypted(self) -> dict[str, NDArray[np.float64]]:
        """``features (n, 256)`` and the weights of a quadratic tail, as `securesplit.encrypted.tail` names them."""
        with np.load(self.folder / "encrypted.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    @property
    def bundle(self) -> Path | None:
        """Folder of the bundle that ours has; None: the one in the package."""
        folder = self.folder / "bundle"
        return folder if folder.exists() else None

    @property
    def server_tls(self) -> dict[str, str]:
        """Files of a server that asks its clients for certificates: ``key``, ``cert``, ``ca``."""
        certs = self.folder / "certs"
        return {"key": str(certs / "server.key"), "cert": str(certs / "server.crt"), "ca": str(certs / "ca.crt")}

    @cached_property
    def presets(self) -> dict[int, dict[str, Any]]:
        """Presets whose tails are served, by the bytes of a release."""
        return {_size(preset): preset for preset in self.facts["presets"].values()}

    def grid(self, release: bytes) -> NDArray[Any]:
        """The integers of a release, in its preset's shape."""
        preset = self.presets[len(release)]
        return np.frombuffer(release, preset["dtype"]).reshape(preset["shape"])

    def pixels(self, photo: Path) -> NDArray[np.float32]:
        """The centre square of a photo, ``(1, side, side, 3) float32`` of 0..255, antialiased."""
        from PIL import Image

        side = int(self.facts["side"])
        with Image.open(photo) as image:
            image.draft("RGB", (2 * side, 2 * side))  # a large JPEG decodes at a reduced scale, as ours does
            edge = min(image.size)
            left, top = (image.width - edge) // 2, (image.height - edge) // 2
            box = (left, top, left + edge, top + edge)
            small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
        return np.asarray(small, np.float32)[None]


class Tail:
    """The bundle's tail under LiteRT, one thread; which preset a release is of is told from its size, as ours does.

    Args:
        inputs: where it is.
    """

    def __init__(self, inputs: Inputs) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(inputs.folder / "tail.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        self._inputs = inputs
        self._runners = {
            size: interpreter.get_signature_runner(preset["stored"]) for size, preset in inputs.presets.items()
        }

    def __call__(self, release: bytes) -> float:
        """Bytes of one release -> logit."""
        return self.batch([release])[0]

    def batch(self, releases: Sequence[bytes]) -> list[float]:
        """Bytes of releases -> logits, computed together where they are of one preset."""
        (size, *others) = {len(release) for release in releases}
        if others:
            return [self(release) for release in releases]
        embeddings = np.stack([self._inputs.grid(release) for release in releases]).astype(np.float32)
        embeddings *= np.float32(self._inputs.presets[size]["step"])
        return [float(logit) for logit in self._runners[size](release=embeddings)["logit"].ravel()]


def _size(preset: Mapping[str, Any]) -> int:
    return int(np.prod(preset["shape"])) * int(np.dtype(preset["dtype"]).itemsize)


def answer_photos(inputs: Inputs, answer: Callable[[Path], float]) -> None:
    """`answer_numbers` about the photos of the folder, again and again."""
    answer_numbers(lambda number: (answer(inputs.photos[number % len(inputs.photos)]), 0, 0))


def answer_numbers(answer: Callable[[int], tuple[float, int, int]]) -> None:
    """Answer the first question, say so, and then as many as each line of standard input asks for.

    Each answer is one line of JSON: ``ms`` and ``logits`` of the questions, and ``bytes`` of the last one's request and
    answer where the program itself knows them.

    Args:
        answer: number of the question -> logit, bytes of request and answer.
    """
    _say(answer, range(1))
    done = 1
    for line in sys.stdin:
        many = int(line)
        _say(answer, range(done, done + many))
        done += many


def _say(answer: Callable[[int], tuple[float, int, int]], numbers: range) -> None:
    ms, logits, sizes = [], [], [0, 0]
    for number in numbers:
        start = time.perf_counter()
        logit, *sizes = answer(number)
        ms.append(1e3 * (time.perf_counter() - start))
        logits.append(logit)
    print(json.dumps({"ms": ms, "logits": logits, "bytes": sizes}, allow_nan=False), flush=True)
