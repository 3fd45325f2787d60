"""A bundle on disk: ``manifest.json``, ``head.tflite``, on a worker ``tail.tflite``, on a device ``gate.json``.

``attack.tflite`` is optional, and shows what a release gives away. With the preset ``encrypted`` a device also has
``encrypted_encoder.tflite`` and a worker ``encrypted_tail.npz``. The preset ``guarded`` has a head, a tail and a gate
of its own. Each half is hashed when it is opened and runs from the very bytes that were hashed, so what answers is what
the manifest names. A client may hold a bundle without the tails. A bundle may have no gate and no attack decoder; what
its manifest names is checked like a half.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securesplit.errors import BundleError
from securesplit.model import attack_decoder, encrypted_preset, guarded_preset
from securesplit.model import gate as gates
from securesplit.model import manifest as manifests
from securesplit.model.files import MAX_HALF_BYTES, MAX_MANIFEST_BYTES, read_file
from securesplit.model.manifest import GuardedInfo, Manifest
from securesplit.model.presets import Preset
from securesplit.privacy.preset_names import asked_name
from securesplit.privacy.release import ReleaseSpec, from_grid
from securesplit.user_folders import named_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from securesplit.encrypted.tail import QuadraticTail
    from securesplit.model.attack_decoder import AttackDecoder
    from securesplit.model.encrypted_preset import Encoder
    from securesplit.model.gate import Gate
    from securesplit.model.litert import Head, Tail

DEFAULT_FOLDER = Path(__file__).parent / "default"
FILES = (
    *("manifest.json", "head.tflite", "tail.tflite", gates.FILE, attack_decoder.FILE),
    *(encrypted_preset.ENCODER, encrypted_preset.TAIL),
    *(guarded_preset.HEAD, guarded_preset.TAIL, guarded_preset.GATE),
)
"""All that a bundle may hold."""
AnyTail = Callable[[str, "NDArray[Any]"], "NDArray[np.float32]"]
"""A preset's name and ``(n, *shape)`` of its integers -> logits, ``(n,) float32``."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read; the halves are opened on demand."""

    folder: Path
    manifest: Manifest = field(hash=False)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Bundle:
        """Read the bundle in `folder`, by default the one that comes with the package.

        Raises:
            BundleError: there is none, or its manifest is damaged, too large, or no regular file of that folder.
            ConfigError: `folder` is no path, as `named_path` says.
        """
        folder = DEFAULT_FOLDER if folder is None else named_path(folder, "folder")
        if os.path.isfile(folder):  # noqa: PTH113  (`Path.is_file` raises where a name is too long)
            hint = "a bundle is a folder; `securesplit split` makes one of a network"
            raise BundleError(f"{folder} is a file, not a bundle", hint=hint)
        try:
            content = read_file(folder, "manifest.json", MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            raise BundleError(f"no bundle in {folder}", hint="name a folder with manifest.json in it") from None
        return cls(folder, manifests.parse(content))

    @property
    def identity(self) -> bytes:
        """What both sides must share, 32 bytes."""
        return self.manifest.identity

    @property
    def id(self) -> str:
        """The identity as people see it, ``sha256:`` and 64 hex digits."""
        return f"sha256:{self.identity.hex()}"

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The presets by name."""
        return self.manifest.presets

    def preset(self, name: str | None = None) -> Preset:
        """The named preset, by an earlier name too, or the default one.

        Raises:
            BundleError: the bundle has no such preset.
        """
        name = asked_name(name) if name else self.manifest.default_preset
        if name not in self.presets:
            hint = f"it has: {', '.join(self.presets)}"
            if name == guarded_preset.PRESET:
                hint += "; guarded is in a bundle of its own, such as --model bundles/guarded of the repository"
            raise BundleError(f"the bundle has no preset {name!r}", hint=hint)
        return self.presets[name]

    def preset_of(self, shape: tuple[int, ...], dtype: str) -> str:
        """The name of the one preset whose releases have this shape and dtype.

        Raises:
            BundleError: there is none.
        """
        for name, preset in self.presets.items():
            if (preset.spec.shape, preset.spec.dtype) == (tuple(shape), dtype):
                return name
        raise BundleError(f"no preset releases {dtype} numbers of shape {tuple(shape)}")

    def open_head(self, threads: int = 2, preset: str | None = None) -> Head:
        """Load the device's half, with the encoder of the preset ``encrypted`` where the bundle has one.

        Args:
            threads: CPU threads of the runtime.
            preset: whose releases are wanted, so that no head runs for other presets; None: those of all presets.

        Raises:
            BundleError: missing, altered, not loadable, or of other shapes than the manifest says.
            ConfigError: as of `litert.open_interpreter`.
        """
        from securesplit.model.litert import Head

        specs = self._specs_in_halves(preset)
        outputs = {spec.stored_name: name for name, spec in specs.items()} | {gates.MAP: gates.MAP}
        if self._own_halves(preset) is not None:
            head = Head(self.read_head(preset), threads, outputs)
        else:
            encoder = self.open_encoder(threads)
            encoders = {} if encoder is None else {encrypted_preset.PRESET: (encrypted_preset.CUT_PRESET, encoder)}
            others = {}
            if preset is None and self.manifest.guarded is not None:
                others = {guarded_preset.PRESET: self.open_head(threads, guarded_preset.PRESET)}
            head = Head(self.read_head(), threads, outputs, encoders, others)
        head.check(self.manifest.side, {spec.stored_name: spec.shape for spec in specs.values()})
        return head

    def read_head(self, preset: str | None = None) -> bytes:
        """The content of ``head.tflite``, or of the head of its own that a preset has.

        Raises:
            BundleError: missing or altered.
        """
        if (own := self._own_halves(preset)) is not None:
            return self._read(guarded_preset.HEAD, own.head_sha256)
        return self._read("head.tflite", self.manifest.head_sha256)

    def open_tail(self, threads: int = 1) -> Tail:
        """Load the server's half, and the tail of its own that a preset has: answers to all presets but the encrypted.

        Raises:
            BundleError: missing, altered, not loadable, or of other shapes than the manifest says.
            ConfigError: as of `litert.open_interpreter`.
        """
        from securesplit.model.litert import Tail

        others = {}
        if (own := self.manifest.guarded) is not None:
            specs = self._specs_in_halves(guarded_preset.PRESET)
            others = {guarded_preset.PRESET: Tail(self._read(guarded_preset.TAIL, own.tail_sha256), specs, threads)}
        return Tail(self._read("tail.tflite", self.manifest.tail_sha256), self._specs_in_halves(), threads, others)

    def open_encoder(self, threads: int = 2) -> Encoder | None:
        """Load the device's part of the preset ``encrypted``; None where the bundle has none.

        Raises:
            BundleError: missing, altered, not loadable, or of other shapes than the manifest says.
            ConfigError: as of `litert.open_interpreter`.
        """
        info = self.manifest.encrypted
        if info is None:
            return None
        content = self._read(encrypted_preset.ENCODER, info.encoder_sha256, encrypted_preset.MAX_ENCODER_BYTES)
        return encrypted_preset.Encoder(content, self.presets[encrypted_preset.CUT_PRESET].spec.shape, threads)

    def open_encrypted_tail(self) -> QuadraticTail | None:
        """Load what a worker evaluates on ciphertexts of the preset ``encrypted``; None where the bundle has none.

        Raises:
            BundleError: missing, altered or damaged.
        """
        info = self.manifest.encrypted
        if info is None:
            return None
        return encrypted_preset.parse_tail(
            self._read(encrypted_preset.TAIL, info.tail_sha256, encrypted_preset.MAX_TAIL_BYTES)
        )

    def open_measured_tail(self, threads: int = 2) -> AnyTail:
        """Answers to all presets, the encrypted one too, on integers in the open: to measure what answers are worth.

        Encryption adds an error of at most `securesplit.encrypted.tail.ERROR`.

        Raises:
            BundleError: as of `open_tail` and `open_encrypted_tail`.
        """
        quadratic, tail = self.open_encrypted_tail(), self.open_tail(threads)
        if quadratic is None:
            return tail
        spec = self.presets[encrypted_preset.PRESET].spec

        def answer(preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
            if preset != spec.preset:
                return tail(preset, releases)
            return quadratic.plain(from_grid(releases, spec)).astype(np.float32)

        return answer

    def _own_halves(self, preset: str | None) -> GuardedInfo | None:
        """The halves that a preset does not share with others; None where it has none."""
        return self.manifest.guarded if preset == guarded_preset.PRESET else None

    def _specs_in_halves(self, preset: str | None = None) -> dict[str, ReleaseSpec]:
        """Of the presets that the halves of `preset`, or the common ones, hold."""
        specs, own = self.manifest.in_the_open, self._own_halves(preset) is not None
        return {name: spec for name, spec in specs.items() if (name == guarded_preset.PRESET) == own}

    def open_gate(self, head: Head, preset: str | None = None) -> Gate | None:
        """Load what tells whether a photo may be asked about; None where the bundle has no gate.

        Args:
            head: of this bundle, whose map the gate reads.
            preset: that the head was opened for.

        Raises:
            BundleError: missing, altered, damaged, or made for another head.
        """
        info = self.manifest.gate_of(preset)
        if info is None:
            return None
        file = gates.FILE if self._own_halves(preset) is None else guarded_preset.GATE
        gate = gates.parse(self._read(file, info.sha256, gates.MAX_BYTES), file)
        if head.shapes.get(gate.output) != gate.shape:
            raise BundleError(f"{file} was made for another head", hint="fetch or build the bundle again")
        return gate

    def open_attack_decoder(self) -> AttackDecoder | None:
        """Load what shows how much of a photo its release gives away; None where the bundle has none.

        Raises:
            BundleError: missing, altered, not loadable, or of other shapes than the manifest says.
            ConfigError: as of `litert.open_interpreter`.
        """
        info = self.manifest.attack_decoder
        if info is None:
            return None
        content = self._read(attack_decoder.FILE, info.sha256, attack_decoder.MAX_BYTES)
        specs = {name: self.presets[name].spec for name in info.presets}
        return attack_decoder.AttackDecoder(content, info.side, specs, info.presets)

    def check_present(self, files: Iterable[str]) -> None:
        """Tell at once which file is missing, as a tail may be on a device.

        Raises:
            BundleError: names the first of `files` that is.
        """
        for name in files:
            if not (self.folder / name).exists():
                raise self._lacking(name)

    def _lacking(self, name: str) -> BundleError:
        return BundleError(f"the bundle in {self.folder} has no {name}", hint="fetch the bundle again")

    def _read(self, half: str, sha256: str, most_bytes: int = MAX_HALF_BYTES) -> bytes:
        try:
            content = read_file(self.folder, half, most_bytes)
        except FileNotFoundError:
            raise self._lacking(half) from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BundleError(f"{half} was altered: its hash is not the manifest's", hint="fetch the bundle again")
        return content
