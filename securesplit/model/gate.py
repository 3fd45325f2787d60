"""The gate of a bundle: may the network be asked about this photo at all, and was it taken through a dermatoscope?

It reads a feature map that the head has computed anyway, beside a few measures of the pixels, and runs in NumPy. The
map is that of a preset, or one of an earlier layer, which the head then gives as its output `MAP`: earlier layers still
know what a network that learned only skin has forgotten (ADR 113). Two questions, both answered with bounds that were
set on photos that the gate did not learn from (`training.gate.fit`):

1. Is the map like those of skin? Mean and deviation over its positions are projected on the principal components of
   dermoscopy and of phone photos; what neither explains is not skin.
2. Is the photo whole? A small network with one hidden layer tells photos as they should be from blurred, badly lit,
   cut off, enlarged ones, from bare skin and from textures.

A linear function of the same features tells dermoscopy from phone photos.

``gate.json`` is read like the rest of a bundle: bounded, finite, of the announced shapes, its SHA-256 in the manifest.
It is not a part of the bundle's identity, since it changes no answer and never leaves the device.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError
from securesplit.model import fields
from securesplit.privacy.preset_names import current_name
from securesplit.results import Kind, RefusalReason

SCHEMA = "securesplit.gate/1"
FILE = "gate.json"
MAP = "gate_map"
"""The output of a head that is for its gate alone, and never released."""
MAX_BYTES = 2 << 20
MEASURES = 10
"""Numbers of `securesplit.imaging.quality.measure`."""
MAX_HIDDEN, MAX_COMPONENTS, MAX_MAP = 256, 256, 2048
MAX_NUMBER = 1e6  # of a weight: what float32 squares and sums without overflow
FARTHEST = 8.0
"""Standard deviations beyond which the network sees no difference."""
OK = "ok"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Subspace:
    """Maps of one kind of photos: ``mean (2c,)`` and principal components ``basis (2c, k)``, both standardised."""

    mean: Array
    basis: Array

    def residual(self, statistics: Array) -> float:
        """Logarithm of the squared length of what the components leave of ``statistics (2c,)``."""
        off = statistics - self.mean
        off = off - self.basis @ (self.basis.T @ off)
        return float(np.log(off @ off + 1e-6))


@dataclass(frozen=True)
class Limits:
    """What is refused: a residual above `residual`, a probability of being whole below `ok`."""

    residual: float
    ok: float


@dataclass(frozen=True)
class Verdict:
    """What a gate says of one photo."""

    kind: Kind
    reason: RefusalReason | None


@dataclass(frozen=True)
class Gate:
    """A fitted gate.

    Attributes:
        output: of the head, whose map it reads: a preset, or `MAP`.
        shape: of that map, ``(h, w, c)``.
        centre, scale: of the features, ``(5c + 10,)``, by which they are standardised.
        kinds: the principal components of each kind.
        limits: of each kind.
        phone: weights ``(5c + 10,)`` and bias of the linear function that is positive for phone photos.
        hidden: weights ``(5c + 10, n)`` and biases ``(n,)`` of the small network, with rectified linear units.
        last: weights ``(n, classes)`` and biases of its last layer.
        classes: ``ok`` and reasons.
    """

    output: str
    shape: tuple[int, int, int]
    centre: Array
    scale: Array
    kinds: Mapping[Kind, Subspace]
    limits: Mapping[Kind, Limits]
    phone: tuple[Array, float]
    hidden: tuple[Array, Array]
    last: tuple[Array, Array]
    classes: tuple[str, ...]

    def judge(self, feature_map: Array, measures: Array) -> Verdict:
        """Judge one photo.

        Args:
            feature_map: ``(h, w, c)``, of the head's output `output`.
            measures: ``(10,)``, of `securesplit.imaging.quality.measure`.
        """
        x = (features(feature_map, measures) - self.centre) / self.scale
        kind, residuals, chances = self.scores(x)
        if chances[0] < self.limits[kind].ok:
            return Verdict(kind, cast("RefusalReason", self.classes[int(np.argmax(chances[1:])) + 1]))
        is_skin = any(residuals[k] <= limits.residual for k, limits in self.limits.items())
        return Verdict(kind, None if is_skin else "not-skin")

    def scores(self, x: Array) -> tuple[Kind, dict[Kind, float], Array]:
        """The kind, residuals by kind and the probability of each class, for standardised features ``(5c + 10,)``."""
        statistics, x = x[: 2 * self.shape[2]], np.clip(x, -FARTHEST, FARTHEST)
        kind: Kind = "phone" if x @ self.phone[0] + self.phone[1] > 0 else "dermoscopy"
        hidden = np.maximum(x @ self.hidden[0] + self.hidden[1], 0)
        logits = hidden @ self.last[0] + self.last[1]
        chances = np.exp(logits - logits.max())
        return kind, {k: s.residual(statistics) for k, s in self.kinds.items()}, chances / chances.sum()


def features(feature_map: NDArray[Any], measures: Array) -> Array:
    """``(h, w, c)`` and ``(10,)`` -> ``(5c + 10,)``: mean, deviation, middle less border, differences of halves."""
    m = feature_map.astype(np.float32)
    h, w = m.shape[:2]
    middle = m[1:-1, 1:-1].mean((0, 1))
    border = (m.sum((0, 1)) - m[1:-1, 1:-1].sum((0, 1))) / (h * w - (h - 2) * (w - 2))
    sides = np.abs(m[:, : w // 2].mean((0, 1)) - m[:, -(w // 2) :].mean((0, 1)))
    ends = np.abs(m[: h // 2].mean((0, 1)) - m[-(h // 2) :].mean((0, 1)))
    return np.concatenate([m.mean((0, 1)), m.std((0, 1)), middle - border, sides, ends, measures]).astype(np.float32)


def parse(content: bytes, file: str = FILE) -> Gate:
    """Read the content of ``gate.json``.

    Args:
        content: of it.
        file: its name, for the message.

    Raises:
        BundleError: it is no JSON, of another schema, lacks a field, or holds one of another type, shape or range.
    """
    try:
        raw = fields.parse_object(content.decode("utf-8"))
        if raw.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA!r}")
        return _gate(raw)
    except ValueError as error:
        raise BundleError(f"{file} of the bundle is damaged: {error}", hint="fetch or build the bundle again") from None


def _gate(raw: Mapping[str, Any]) -> Gate:
    size = fields.items(raw, "shape", most=3)
    if len(size) != 3:
        raise ValueError("shape is not three numbers")
    h, w, c = (fields.whole(n, "a length of shape", 3 if at < 2 else 1, MAX_MAP) for at, n in enumerate(size))
    classes = _classes(raw)
    number, hidden = 5 * c + MEASURES, fields.whole(raw.get("hidden_units"), "hidden_units", 1, MAX_HIDDEN)
    kinds = fields.section(raw, "kinds")
    if set(kinds) != set(get_args(Kind)):
        raise ValueError(f"kinds are not {' and '.join(get_args(Kind))}")
    scale = _array(raw, "scale", (number,))
    if (scale <= 0).any():
        raise ValueError("scale is not positive")
    return Gate(
        output=current_name(fields.name(raw, "output")),
        shape=(h, w, c),
        centre=_array(raw, "centre", (number,)),
        scale=scale,
        kinds={kind: _subspace(fields.section(kinds, kind), 2 * c) for kind in get_args(Kind)},
        limits={kind: _limits(fields.section(kinds, kind)) for kind in get_args(Kind)},
        phone=(_array(raw, "phone_weights", (number,)), fields.number(raw, "phone_bias", -MAX_NUMBER, MAX_NUMBER)),
        hidden=(_array(raw, "hidden_weights", (number, hidden)), _array(raw, "hidden_biases", (hidden,))),
        last=(
            _array(raw, "last_weights", (hidden, len(classes))),
            _array(raw, "last_biases", (len(classes),)),
        ),
        classes=classes,
    )


def _classes(raw: Mapping[str, Any]) -> tuple[str, ...]:
    known = (OK, *get_args(RefusalReason))
    found = fields.items(raw, "classes", most=len(known))
    if (
        len(found) < 2
        or found[0] != OK
        or len(set(map(str, found))) != len(found)
        or not set(map(str, found)) <= set(known)
    ):
        raise ValueError(f"classes are not {OK!r} and reasons of refusal")
    return tuple(found)


def _subspace(raw: Mapping[str, Any], length: int) -> Subspace:
    components = fields.whole(raw.get("components"), "components", 1, MAX_COMPONENTS)
    return Subspace(_array(raw, "mean", (length,)), _array(raw, "basis", (length, components)))


def _limits(raw: Mapping[str, Any]) -> Limits:
    return Limits(fields.number(raw, "residual", -MAX_NUMBER, MAX_NUMBER), fields.number(raw, "ok", 0.0, 1.0))


def _array(raw: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Array:
    """Numbers that stand there as base64 of little-endian float32."""
    text = raw.get(key)
    try:
        content = base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except binascii.Error:
        raise ValueError(f"{key} is not base64") from None
    if len(content) != 4 * int(np.prod(shape)):
        raise ValueError(f"{key} does not hold {' × '.join(map(str, shape))} float32 numbers")
    found = np.frombuffer(content, "<f4").reshape(shape)
    if not (np.abs(found) <= MAX_NUMBER).all():  # NaN compares false
        raise ValueError(f"{key} holds numbers that are not finite or beyond {MAX_NUMBER:g}")
    return found.astype(np.float32)


def to_json(gate: Gate) -> dict[str, Any]:
    """The object that `parse` reads back."""

    def text(array: Array) -> str:
        return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")

    return {
        "schema": SCHEMA,
        "output": gate.output,
        "shape": list(gate.shape),
        "classes": list(gate.classes),
        "hidden_units": len(gate.hidden[1]),
        "kinds": {
            kind: {
                "residual": gate.limits[kind].residual,
                "ok": gate.limits[kind].ok,
                "components": space.basis.shape[1],
                "mean": text(space.mean),
                "basis": text(space.basis),
            }
            for kind, space in gate.kinds.items()
        },
        "centre": text(gate.centre),
        "scale": text(gate.scale),
        "phone_weights": text(gate.phone[0]),
        "phone_bias": gate.phone[1],
        "hidden_weights": text(gate.hidden[0]),
        "hidden_biases": text(gate.hidden[1]),
        "last_weights": text(gate.last[0]),
        "last_biases": text(gate.last[1]),
    }
