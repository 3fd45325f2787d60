"""LiteRT runs a half: pixels in, embeddings out; or a release in, a logit out.

An interpreter is not thread-safe; each half owns one and is used from one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from securesplit.errors import BundleError
from securesplit.privacy.release import ReleaseSpec, from_grid

_CHATTER = b"INFO: "


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what the runtime's C++ logger tells stderr for information; warnings and errors pass.

    LiteRT has no setting for it, and standard error belongs to our own progress and errors. Where the disk is full it
    is let through.
    """
    sys.stderr.flush()
    with contextlib.ExitStack() as opened:
        try:
            held = opened.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not line.startswith(_CHATTER):
                    with contextlib.suppress(OSError):  # standard error may be on a full disk
                        os.write(2, line)


def _interpreter(model: bytes, threads: int) -> Any:
    try:
        with _without_chatter():
            interpreter = Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()  # prepares the delegate now rather than at the first photo
            return interpreter
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"LiteRT cannot load the half ({error})", hint="build the bundle again") from None


class Head:
    """The device's half: one photo -> the embedding of every preset.

    Args:
        model: bytes of ``head.tflite``, with one output a preset.
        threads: CPU threads of the runtime.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._run = _interpreter(model, threads).get_signature_runner("head")

    def __call__(self, photo: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(side, side, 3) uint8`` -> preset name -> embedding ``float32`` of the preset's shape."""
        outputs = self._run(photo=photo[None].astype(np.float32))
        return {name: value[0] for name, value in outputs.items()}


class Tail:
    """The server's half: releases of one preset -> logits of malignant.

    Args:
        model: bytes of ``tail.tflite``, with one signature a preset.
        specs: by preset, how its integers are read.
        threads: CPU threads of the runtime.
    """

    def __init__(self, model: bytes, specs: Mapping[str, ReleaseSpec], threads: int) -> None:
        self._specs = specs
        interpreter = _interpreter(model, threads)
        self._runs = {preset: interpreter.get_signature_runner(preset) for preset in specs}

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,) float32``.

        Raises:
            KeyError: the tail has no such preset.
        """
        run, spec = self._runs[preset], self._specs[preset]
        embeddings = from_grid(releases, spec)
        return np.array([run(release=embedding[None])["logit"].item() for embedding in embeddings], np.float32)
