"""A trained network and its encoders -> ``head.tflite`` and ``tail.tflite`` of a bundle.

The head has one signature with one output a preset, computed from one pass through the network. The tail has one
signature a preset. Weights are stored as float16 and computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from securesplit.model.convert import Endpoint, convert


def export_head(head: keras.Model, encoders: Mapping[str, keras.Model], side: int) -> bytes:
    """``head.tflite``: signature ``head``, input ``photo (1, side, side, 3) float32``, one output a preset.

    Args:
        head: photo -> cut map.
        encoders: by preset, cut map -> embedding; ``none`` may be left out and is the cut map itself.
        side: height and width of the photo in pixels.
    """

    def embed(photo: Any) -> dict[str, Any]:
        cut = head(photo, training=False)
        return {"none": cut, **{name: encode(cut, training=False) for name, encode in encoders.items()}}

    endpoint = Endpoint(embed, {"photo": (1, side, side, 3)})
    return convert({"head": endpoint}, [head, *encoders.values()], "float16")


def export_tail(decoders: Mapping[str, keras.Model], shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """``tail.tflite``: signature a preset, input ``release (1, *shape) float32``, output ``logit (1, 1)``."""

    def answer(decode: keras.Model) -> Callable[[Any], dict[str, Any]]:
        return lambda release: {"logit": decode(release, training=False)}

    endpoints = {n: Endpoint(answer(decode), {"release": (1, *shapes[n])}) for n, decode in decoders.items()}
    return convert(endpoints, list(decoders.values()), "float16")


def write_halves(folder: Path, head: bytes, tail: bytes) -> None:
    """Put both halves into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "head.tflite").write_bytes(head)
    (folder / "tail.tflite").write_bytes(tail)
