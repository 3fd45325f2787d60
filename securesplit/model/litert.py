"""LiteRT runs a half: pixels in, embeddings out; or a release in, a logit out.

An interpreter is not thread-safe; each half owns one and is used from one thread at a time.

LiteRT writes one line to standard error when a process first uses it ("INFO: Created TensorFlow Lite XNNPACK delegate
for CPU."), and has no setting for it. It is left alone here, since descriptor 2 belongs to the whole process and cannot
be redirected while other threads run; the command line holds it back (`securesplit.cli.native_stderr`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.config import check_count
from securesplit.errors import BundleError, ConfigError
from securesplit.forking import PerProcess
from securesplit.privacy.release import ReleaseSpec, from_grid

_HINT = "fetch or build the bundle again"
MOST_THREADS = 256
MOST_AT_ONCE = 32
"""Releases that a tail computes at once: an interpreter keeps what a batch took, up to 1 MB a release, for its life."""


def open_interpreter(model: bytes, threads: int) -> Any:
    """LiteRT's interpreter of one network, ready to run.

    Raises:
        BundleError: LiteRT cannot load it.
        ConfigError: `threads` is not a number from 1 to 256; or LiteRT is not installed, as on platforms that it has no
            wheel for.
    """
    threads = check_count(threads, "threads", least=1, most=MOST_THREADS)
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


def signature(interpreter: Any, name: str) -> Any:
    """The runner of one signature.

    Raises:
        BundleError: the network has none of that name.
    """
    try:
        return interpreter.get_signature_runner(name)
    except (ValueError, KeyError):
        raise BundleError(f"the half has no signature {name!r}", hint=_HINT) from None


def check_tensors(half: str, found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise BundleError where a tensor is missing, of another shape, or not float32.

    Args:
        half: whose tensors, for the message.
        found: details of the tensors, by name.
        expected: shapes by name.
    """
    for name, shape in expected.items():
        tensor = found.get(name)
        has = None if tensor is None else tuple(int(n) for n in tensor["shape"])
        if tensor is None or has != shape or tensor["dtype"] != np.float32:
            told = "is missing" if tensor is None else f"is {np.dtype(tensor['dtype']).name} {has}"
            raise BundleError(f"{name} of the {half} {told}, the manifest says float32 {shape}", hint=_HINT)


def signatures(interpreter: Any, specs: Mapping[str, ReleaseSpec]) -> dict[str, Any]:
    """By preset, the runner of its signature.

    Raises:
        BundleError: one is missing.
    """
    return {name: signature(interpreter, spec.stored_name) for name, spec in specs.items()}


Value = TypeVar("Value")
Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""One embedding -> another."""


class Head:
    """The device's half: one photo -> the embedding of every preset, and the map of the gate where it has one.

    Args:
        model: bytes of ``head.tflite``, with one output a preset.
        threads: CPU threads of the runtime.
        names: by output, what it is called here; others are left out. None: outputs keep their names.
        encoders: by further preset, whose embedding another network computes, the preset that it takes, and the
            network.
        others: by further preset, the head of its own that computes its embedding from the photo.
    """

    def __init__(
        self,
        model: bytes,
        threads: int,
        names: Mapping[str, str] | None = None,
        encoders: Mapping[str, tuple[str, Encode]] | None = None,
        others: Mapping[str, Head] | None = None,
    ) -> None:
        self._names, self._encoders, self._others = names, encoders or {}, others or {}
        self._runner = PerProcess(lambda: signature(open_interpreter(model, threads), "head"))

    def check(self, side: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare what the file takes and answers with what its manifest says.

        Args:
            side: height and width of the photo in pixels.
            shapes: of the embedding, by output.

        Raises:
            BundleError: they differ.
        """
        check_tensors("head", self._runner.value.get_input_details(), {"photo": (1, side, side, 3)})
        check_tensors(
            "head", self._runner.value.get_output_details(), {name: (1, *shape) for name, shape in shapes.items()}
        )

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of what a call gives, by name, but of what further encoders and heads make."""
        details = self._runner.value.get_output_details()
        return self._named({output: tuple(int(n) for n in tensor["shape"][1:]) for output, tensor in details.items()})

    def __call__(self, photo: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(side, side, 3) uint8`` -> name -> embedding ``float32`` of the preset's shape, or map of the gate."""
        outputs = self._runner.value(photo=photo[None].astype(np.float32))
        found = self._named({output: value[0] for output, value in outputs.items()})
        found |= {name: encode(found[taken]) for name, (taken, encode) in self._encoders.items()}
        return found | {name: head(photo)[name] for name, head in self._others.items()}

    def _named(self, outputs: Mapping[str, Value]) -> dict[str, Value]:
        if self._names is None:
            return dict(outputs)
        return {self._names[output]: value for output, value in outputs.items() if output in self._names}


class Tail:
    """The server's half: releases of one preset -> logits of malignant, those of a batch at once where it can.

    Args:
        model: bytes of ``tail.tflite``, with one signature a preset.
        specs: by preset, how its integers are read.
        threads: CPU threads of the runtime.
        others: by further preset, the tail of its own that answers its releases.

    Raises:
        BundleError: LiteRT cannot load the file, or it takes other shapes than `specs` say.
    """

    def __init__(
        self,
        model: bytes,
        specs: Mapping[str, ReleaseSpec],
        threads: int,
        others: Mapping[str, Tail] | None = None,
    ) -> None:
        self._specs, self._others = specs, others or {}
        self._runners = PerProcess(lambda: signatures(open_interpreter(model, threads), specs))
        for preset, spec in specs.items():
            runner = self._runners.value[preset]
            check_tensors("tail", runner.get_input_details(), {"release": (1, *spec.shape)})
            check_tensors("tail", runner.get_output_details(), {"logit": (1, 1)})
        self._batched = PerProcess(lambda: frozenset(filter(self._takes_batches, specs)))

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,) float32``.

        Raises:
            KeyError: the tail has no such preset.
        """
        if preset in self._others:
            return self._others[preset](preset, releases)
        at_once = MOST_AT_ONCE if len(releases) > 1 and preset in self._batched.value else 1
        parts = (releases[at : at + at_once] for at in range(0, len(releases), at_once))
        run, spec = self._runners.value[preset], self._specs[preset]
        return np.array([x for part in parts for x in run(release=from_grid(part, spec))["logit"].ravel()], np.float32)

    def _takes_batches(self, preset: str) -> bool:
        """Whether two releases at once get the answers that each gets alone; not where a network fixes its batch."""
        run, shape = self._runners.value[preset], self._specs[preset].shape
        pair = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
        alone = np.array([run(release=each[None])["logit"].item() for each in pair])
        try:
            together = run(release=pair)["logit"]
        except (RuntimeError, ValueError):
            return False
        return together.shape == (2, 1) and bool(np.allclose(together[:, 0], alone, rtol=1e-4, atol=1e-4))
