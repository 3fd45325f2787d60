"""``manifest.json`` of a bundle: what the halves are, what may be released, and how well it did.

The identity of a bundle is the SHA-256 over the hashes of both halves and over the release contract (shape, dtype,
step and clip norm of every preset, under the name that it is stored by), so two sides that share it read the same
integers the same way. Where a preset is encrypted, it also covers the hashes of that preset's files; and which square
of a photo the network sees. Calibration, threshold and measured quality may be rewritten without changing it.

A manifest has the stored names of presets (`securesplit.privacy.preset_names`). `parse` translates them to current
names and `Manifest.to_json` back, so an earlier version can read what it writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from securesplit.errors import BundleError
from securesplit.model import attack_decoder, encrypted_preset, fields, guarded_preset, preset_json
from securesplit.model import gate as gates
from securesplit.model.attack_decoder import AttackInfo
from securesplit.model.encrypted_preset import EncryptedInfo
from securesplit.model.presets import SHARES, NoiseCalibration, Preset, accuracy_of, at_noise
from securesplit.privacy.preset_names import by_current_name, current_name
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Accuracy, Framing, Kind

_SCHEMAS = "securesplit.bundle/"
SCHEMA, ENCRYPTED_SCHEMA, GUARDED_SCHEMA, LESION_SCHEMA = SCHEMAS = tuple(f"{_SCHEMAS}{n}" for n in (1, 2, 3, 4))
"""Without and with an encrypted preset, which a version that reads the first alone would send in the open; with a
preset that has halves of its own, which an earlier version would look for in the common ones; and with a network that
sees a square around the lesion, where an earlier version would show it the centre one."""
SIDES = (8, 2048)
"""Of a photo, in pixels."""
MAX_PRESETS = 16
_HINT = "fetch or build the bundle again"


@dataclass(frozen=True)
class KindOfPhoto:
    """What the network knows of photos that were taken in one way.

    Attributes:
        learned: whether it was trained on such photos.
        photos: how many were measured; 0 where figures and answers are those of the presets.
        figures: by preset, measured on them with the preset's own noise, where it has no `answers` of its own.
        answers: by preset, how answers to such photos are read, and what they are worth: with the preset's own noise,
            and after that with more. Presets that are missing here are read as for any photo.
        never_low: presets of which no answer to such photos is called low, as too many malignant ones would be.
    """

    learned: bool
    photos: int = 0
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    answers: Mapping[str, tuple[NoiseCalibration, ...]] = field(default_factory=dict)
    never_low: tuple[str, ...] = ()

    def may_be_low(self, spec: ReleaseSpec) -> bool:
        """Whether answers to such photos may be called low; never those to a kind that was not learned."""
        return self.learned and spec.base not in self.never_low

    def accuracy(self, preset: str, kind: Kind) -> Accuracy | None:
        """What answers to such photos are worth; None where nothing was measured."""
        return accuracy_of(self.figures[preset], kind) if preset in self.figures else None

    def reads(self, spec: ReleaseSpec) -> bool:
        """Whether answers to such photos are read in a way of their own."""
        return spec.base in self.answers

    def read(self, preset: Preset) -> Preset:
        """`preset` with the answers of such photos, which must be known, at its noise.

        What an own release mechanism's are worth is not known.
        """
        found = at_noise(self.answers[preset.spec.base], preset.spec.sigma_per_clip)
        return preset.read_by(found if preset.spec.mechanism is None else replace(found, quality={}, spread=None))


@dataclass(frozen=True)
class GateInfo:
    """A bundle's gate (`securesplit.model.gate`): the hash of its file, and what was learned of each kind of photo."""

    sha256: str
    kinds: Mapping[Kind, KindOfPhoto]


@dataclass(frozen=True)
class GuardedInfo:
    """The halves of the preset ``guarded`` by their hashes, and the gate of its head where there is one."""

    head_sha256: str
    tail_sha256: str
    gate: GateInfo | None = None


@dataclass(frozen=True)
class Manifest:
    """A parsed ``manifest.json``; what may be None is so where the bundle has none."""

    name: str
    head_sha256: str
    tail_sha256: str
    side: int
    backbone: str
    cut: str
    presets: Mapping[str, Preset]
    default_preset: str
    licence: str
    provenance: Mapping[str, Any]
    framing: Framing = "centre square"
    gate: GateInfo | None = None
    attack_decoder: AttackInfo | None = None
    encrypted: EncryptedInfo | None = None
    guarded: GuardedInfo | None = None

    @property
    def schema(self) -> str:
        """By which a reader knows whether it can read the manifest."""
        if self.framing == "lesion":
            return LESION_SCHEMA
        if self.guarded is not None:
            return GUARDED_SCHEMA
        return SCHEMA if self.encrypted is None else ENCRYPTED_SCHEMA

    def gate_of(self, preset: str | None) -> GateInfo | None:
        """The gate of the head that makes the releases of a preset; None: of the common head."""
        if preset == guarded_preset.PRESET and self.guarded is not None:
            return self.guarded.gate
        return self.gate

    @property
    def in_the_open(self) -> dict[str, ReleaseSpec]:
        """By preset, those whose release the tail gets as it is, not as a ciphertext."""
        return {name: preset.spec for name, preset in self.presets.items() if not preset.spec.encrypted}

    @cached_property
    def identity(self) -> bytes:
        """What client and worker must share, 32 bytes."""
        specs = [preset.spec for preset in self.presets.values()]
        contract = {spec.stored_name: preset_json.spec_to_json(spec, noise=False) for spec in specs}
        read_by = json.dumps(contract, sort_keys=True, allow_nan=False)
        more = [] if self.encrypted is None else [self.encrypted.encoder_sha256, self.encrypted.tail_sha256]
        more += [] if self.guarded is None else [self.guarded.head_sha256, self.guarded.tail_sha256]
        fields = [self.schema, self.head_sha256, self.tail_sha256, read_by, *more]
        return hashlib.sha256("\n".join(fields).encode()).digest()

    def to_json(self) -> dict[str, Any]:
        """The object that `parse` reads back."""
        return {
            "schema": self.schema,
            "name": self.name,
            "identity": f"sha256:{self.identity.hex()}",
            "halves": {"head.tflite": self.head_sha256, "tail.tflite": self.tail_sha256},
            "preprocessing": {"side": self.side, "crop": self.framing, "colour": "RGB 0..255"},
            "backbone": self.backbone,
            "cut": self.cut,
            "default_preset": self._stored(self.default_preset),
            "presets": {self._stored(name): preset_json.to_json(preset) for name, preset in self.presets.items()},
            **({} if self.gate is None else {"gate": _gate_to_json(self.gate, gates.FILE, self._stored)}),
            **({} if self.attack_decoder is None else {attack_decoder.KEY: self.attack_decoder.to_json(self._stored)}),
            **({} if self.encrypted is None else {encrypted_preset.PRESET: self.encrypted.to_json()}),
            **({} if self.guarded is None else {guarded_preset.PRESET: _guarded_to_json(self.guarded, self._stored)}),
            "licence": self.licence,
            "provenance": dict(self.provenance),
        }

    def _stored(self, preset: str) -> str:
        """By current name of a preset, the stored one."""
        return self.presets[preset].spec.stored_name if preset in self.presets else preset

    def to_text(self) -> str:
        """The content of ``manifest.json``.

        Raises:
            ValueError: a number is not finite, so no reader would take it.
        """
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into the folder of a draft, which nobody reads yet.

        Raises:
            OSError: it cannot be written.
            ValueError: as `to_text`.
        """
        (folder / "manifest.json").write_text(self.to_text(), encoding="utf-8")


def parse(content: bytes) -> Manifest:
    """Read the content of ``manifest.json``.

    Raises:
        BundleError: it is no JSON, of another schema, lacks a field, or holds one of another type or out of range.
    """
    try:
        raw = fields.parse_object(content.decode("utf-8"))
        _check_schema(raw)
        manifest = _manifest(raw)
        if raw["schema"] != manifest.schema:
            raise ValueError(f"its schema is {raw['schema']}, and what it holds is {manifest.schema}")
    except ValueError as error:
        raise BundleError(f"the bundle's manifest is damaged: {error}", hint=_HINT) from None
    if manifest.default_preset not in manifest.presets:
        raise BundleError("the bundle's default preset is not among its presets", hint=_HINT)
    if raw.get("identity") != f"sha256:{manifest.identity.hex()}":
        raise BundleError("the bundle's manifest was altered: its identity does not match", hint=_HINT)
    return manifest


def _check_schema(raw: Mapping[str, Any]) -> None:
    if raw.get("schema") not in SCHEMAS:
        told, read = str(raw.get("schema"))[:60], f"{', '.join(map(repr, SCHEMAS[:-1]))} and {SCHEMAS[-1]!r}"
        hint = "upgrade securesplit before the bundle" if told.startswith(_SCHEMAS) else _HINT
        raise BundleError(f"the bundle's schema is {told!r}, this version reads {read}", hint=hint)


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    halves, stored, seen = (fields.section(raw, name) for name in ("halves", "presets", "preprocessing"))
    if not 0 < len(stored) <= MAX_PRESETS:
        raise ValueError(f"presets are not 1 to {MAX_PRESETS}")
    presets = by_current_name({name: preset_json.parse(name, fields.section(stored, name)) for name in stored})
    return Manifest(
        name=fields.name(raw, "name"),
        head_sha256=fields.sha256(halves, "head.tflite"),
        tail_sha256=fields.sha256(halves, "tail.tflite"),
        side=fields.whole(seen.get("side"), "side", *SIDES),
        framing=_framing(seen.get("crop", "centre square")),
        backbone=fields.name(raw, "backbone"),
        cut=fields.name(raw, "cut"),
        presets=presets,
        default_preset=current_name(fields.name(raw, "default_preset")),
        licence=fields.paragraph(raw, "licence"),
        provenance=fields.section(raw, "provenance"),
        gate=_gate(fields.section(raw, "gate"), gates.FILE, presets) if "gate" in raw else None,
        attack_decoder=_attack_decoder(raw, presets),
        encrypted=encrypted_preset.parse_info(raw, {name: preset.spec for name, preset in presets.items()}),
        guarded=_guarded(raw, presets),
    )


def _framing(crop: object) -> Framing:
    known: tuple[Framing, ...] = get_args(Framing)
    for framing in known:
        if crop == framing:
            return framing
    raise ValueError(f"crop is not one of {', '.join(known)}")


def _attack_decoder(raw: Mapping[str, Any], presets: Mapping[str, Any]) -> AttackInfo | None:
    if attack_decoder.KEY not in raw:
        return None
    return attack_decoder.parse_info(fields.section(raw, attack_decoder.KEY), presets)


def _guarded(raw: Mapping[str, Any], presets: Mapping[str, Preset]) -> GuardedInfo | None:
    specs = {name: preset.spec for name, preset in presets.items()}
    guarded_preset.check(specs, has_section=guarded_preset.PRESET in raw)
    if guarded_preset.PRESET not in raw:
        return None
    section = fields.section(raw, guarded_preset.PRESET)
    gate = _gate(fields.section(section, "gate"), guarded_preset.GATE, presets) if "gate" in section else None
    head, tail = (fields.sha256(section, half) for half in (guarded_preset.HEAD, guarded_preset.TAIL))
    return GuardedInfo(head, tail, gate)


def _gate(raw: Mapping[str, Any], file: str, presets: Mapping[str, Preset]) -> GateInfo:
    kinds = fields.section(raw, "kinds")
    if set(kinds) != set(get_args(Kind)):
        raise ValueError(f"kinds of photos are not {' and '.join(get_args(Kind))}")
    known = {k: _kind(fields.section(kinds, k), presets) for k in get_args(Kind)}
    return GateInfo(fields.sha256(raw, file), known)


def _kind(raw: Mapping[str, Any], presets: Mapping[str, Preset]) -> KindOfPhoto:
    if type(raw.get("learned")) is not bool:
        raise ValueError("learned is not true or false")
    figures = fields.section(raw, "figures")
    if len(figures) > MAX_PRESETS:
        raise ValueError(f"figures are of more than {MAX_PRESETS} presets")
    return KindOfPhoto(
        raw["learned"],
        fields.whole(raw.get("photos"), "photos", 0, 1 << 31),
        by_current_name({preset: _figures(fields.section(figures, preset)) for preset in figures}),
        _answers(fields.section(raw, "answers"), presets) if "answers" in raw else {},
        _never_low(raw, presets) if "never_low" in raw else (),
    )


def _never_low(raw: Mapping[str, Any], presets: Mapping[str, Preset]) -> tuple[str, ...]:
    named = fields.items(raw, "never_low", most=MAX_PRESETS)
    found = tuple(current_name(name) for name in named if isinstance(name, str))
    if len(set(found)) != len(named) or not set(found) <= set(presets):
        raise ValueError("never_low of a kind of photo is not a list of presets that are there")
    return found


def _answers(raw: Mapping[str, Any], presets: Mapping[str, Preset]) -> Mapping[str, tuple[NoiseCalibration, ...]]:
    sections = by_current_name({name: fields.section(raw, name) for name in raw})
    if not set(sections) <= set(presets):
        raise ValueError("a kind of photo has answers of presets that are not there")
    return {name: preset_json.answers(section, presets[name].spec.sigma_per_clip) for name, section in sections.items()}


def _figures(raw: Mapping[str, Any]) -> Mapping[str, float]:
    if "auc" not in raw or not set(raw) <= SHARES:
        raise ValueError("figures of a kind of photos are not an auc and other shares")
    return {name: fields.number(raw, name, 0.0, 1.0) for name in raw}


def _guarded_to_json(guarded: GuardedInfo, stored: Callable[[str], str]) -> dict[str, Any]:
    gate = {} if guarded.gate is None else {"gate": _gate_to_json(guarded.gate, guarded_preset.GATE, stored)}
    return {guarded_preset.HEAD: guarded.head_sha256, guarded_preset.TAIL: guarded.tail_sha256, **gate}


def _gate_to_json(gate: GateInfo, file: str, stored: Callable[[str], str]) -> dict[str, Any]:
    return {
        file: gate.sha256,
        "kinds": {
            kind: {
                "learned": k.learned,
                "photos": k.photos,
                "figures": {stored(name): dict(figures) for name, figures in k.figures.items()},
                **({} if not k.answers else {"answers": _answers_to_json(k.answers, stored)}),
                **({} if not k.never_low else {"never_low": [stored(name) for name in k.never_low]}),
            }
            for kind, k in gate.kinds.items()
        },
    }


def _answers_to_json(
    answers: Mapping[str, tuple[NoiseCalibration, ...]], stored: Callable[[str], str]
) -> dict[str, Any]:
    return {stored(name): preset_json.answers_to_json(own, more) for name, (own, *more) in answers.items()}
