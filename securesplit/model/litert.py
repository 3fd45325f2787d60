"""LiteRT runs a half: pixels in, embeddings out; or a release in, a logit out.

An interpreter is not thread-safe; each half owns one and is used from one thread at a time.

LiteRT writes one line to standard error when a process first uses it ("INFO: Created TensorFlow Lite XNNPACK delegate
for CPU."), and has no setting for it. It is left alone here, since descriptor 2 belongs to the whole process and cannot
be redirected while other threads run; the command line holds it back (`securesplit.cli.native_stderr`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError, ConfigError
from securesplit.privacy.release import ReleaseSpec, from_grid


def open_interpreter(model: bytes, threads: int) -> Any:
    """LiteRT's interpreter of one network, ready to run.

    Raises:
        BundleError: LiteRT cannot load it.
        ConfigError: LiteRT is not installed, as on platforms that it has no wheel for.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"LiteRT, which runs the network, cannot be loaded on {platform.system()} {platform.machine()} ({error})",
            hint="README.md lists the platforms that LiteRT has a wheel for; there, install securesplit again",
        ) from None
    try:
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
        self._run = open_interpreter(model, threads).get_signature_runner("head")

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
        interpreter = open_interpreter(model, threads)
        self._runs = {preset: interpreter.get_signature_runner(preset) for preset in specs}

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,) float32``.

        Raises:
            KeyError: the tail has no such preset.
        """
        run, spec = self._runs[preset], self._specs[preset]
        embeddings = from_grid(releases, spec)
        return np.array([run(release=embedding[None])["logit"].item() for embedding in embeddings], np.float32)
