"""Photo file -> the release that may leave the device. No network is involved here.

What a device does before it asks a worker: read the photo, run the head, clip, truncate to the grid, add the photo's
own noise. The same photo under the same preset always gives the same release.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import plugins, tracing
from securesplit.config import cannot_be, check_flag, check_privacy
from securesplit.device.ledger import Ledger, Receipt
from securesplit.device.promise import describe, unprotected
from securesplit.errors import BundleError, ConfigError
from securesplit.forking import OfOneProcess
from securesplit.i18n import gettext_noop
from securesplit.imaging import PhotoSource, Square, load_square, quality
from securesplit.model import Bundle, Preset
from securesplit.model.gate import Gate
from securesplit.privacy import PRIVACY_LOGGER, accounting
from securesplit.privacy.mechanism import Mechanism
from securesplit.privacy.noise import SECRET_BYTES, NoiseSource
from securesplit.privacy.preset_names import current_name
from securesplit.privacy.release import ReleaseSpec, saturate, to_grid
from securesplit.results import Crop, Kind, PrivacyInfo, RefusalReason

DELTA = accounting.DELTA
OF_EPSILON = "certified"
"""The preset whose noise ``--privacy EPSILON`` sets."""
_WITH_EPSILON = re.compile(r"(.+?)[\s:=@,]+([0-9.]+)")

_log = logging.getLogger(PRIVACY_LOGGER)


@dataclass(frozen=True)
class Assessment:
    """What the gate says of a photo.

    Attributes:
        reason: why no answer would mean anything; None where the photo is as it should be.
        kind: how it was taken; None where the bundle has no gate.
    """

    reason: RefusalReason | None
    kind: Kind | None


@dataclass(frozen=True, eq=False)
class LoadedPhoto:
    """A photo that was read and has not been through the head.

    Attributes:
        square: what the head is to see.
        seen: what its pixels show.
        reason: why no network could judge it, by its pixels alone; None where they do not tell.
        load_ms: reading, scaling and looking at it.
    """

    square: Square
    seen: quality.Look
    reason: RefusalReason | None
    load_ms: float


@dataclass(frozen=True, eq=False)
class Release:
    """One photo, ready to send; equal to itself alone, since another one of the same photo took other times.

    Attributes:
        pixels: what the head saw, ``(side, side, 3) uint8``; stays on the device.
        release: the integers that travel, of the preset's shape and dtype.
        load_ms: reading, scaling and looking at the photo.
        head_ms: running head and gate.
        privacy_ms: clip, grid and noise.
        assessment: whether the photo may be asked about at all; it leaves the release as it is.
        crop: where in the photo the pixels lie.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    release: NDArray[Any]
    load_ms: float
    head_ms: float
    privacy_ms: float
    assessment: Assessment
    crop: Crop


class Releaser(OfOneProcess):
    """Turns photos into releases under one preset.

    A preset that makes no privacy claim (`none`, `compact`), or an empty one, is warned of on the logger
    `PRIVACY_LOGGER`, wherever the choice came from: named by the caller, or the bundle's own default. So is noise that
    makes answers chance.

    Args:
        bundle: needs its head only.
        secret: 32 bytes that key the noise, the device's own (`securesplit.device.noise_key.load_secret`).
        privacy: a preset's name, or an ε in decimal digits for the preset ``certified`` with the noise of that ε;
            None: the bundle's default.
        threads: CPU threads of the head.

    Raises:
        BundleError: the bundle has no such preset, or its head cannot be opened.
        ConfigError: `bundle` is none, `privacy` is neither a preset nor a positive number, `secret` is not 32 bytes or
            more, or `threads` is not a number from 1 to 256.
    """

    def __init__(self, bundle: Bundle, secret: bytes, *, privacy: str | float | None = None, threads: int = 2) -> None:
        if not isinstance(bundle, Bundle):
            raise cannot_be("bundle", bundle, hint="give what securesplit.Bundle.load returns")
        if not isinstance(secret, bytes) or len(secret) < SECRET_BYTES:
            message = f"the noise secret is not {SECRET_BYTES} bytes or more"
            raise ConfigError(message, hint="give what securesplit.device.noise_key.load_secret returns")
        self.bundle = bundle
        self.preset = choose_preset(bundle, privacy)
        if warning := unprotected(self.preset.spec):
            _log.warning(warning)
        if self.preset.accuracy is not None and self.preset.accuracy.is_chance:
            _log.warning(_chance(self.preset.spec))
        self._source = NoiseSource(secret)
        self._head = bundle.open_head(threads, self.preset.spec.base)
        self._gate = bundle.open_gate(self._head, self.preset.spec.base)

    def release(self, photo: PhotoSource, *, with_noise: bool = True) -> Release:
        """Read one photo and compute what leaves the device for it.

        The same pixels give the same release, whatever they came in.

        Args:
            photo: a path (str or Path), a binary file object, a PIL image, or an array ``(h, w, 3) uint8`` of upright
                sRGB pixels.
            with_noise: False gives the same grid before the noise, for attackers and auditors; it is never sent.

        Raises:
            ConfigError: `with_noise` is neither True nor False.
            PhotoError: this is not a photo that can be read safely.
        """
        with_noise = check_flag(with_noise, "with_noise")
        return self.release_loaded(self.load(photo), with_noise=with_noise)

    def load(self, photo: PhotoSource) -> LoadedPhoto:
        """Read a photo, the first half of `release`; raises the same error. Any thread may call it."""
        started = time.perf_counter()
        with tracing.stage("read"):
            square, seen, reason = _look(photo, self.bundle)
        return LoadedPhoto(square, seen, reason, 1e3 * (time.perf_counter() - started))

    def release_loaded(self, photo: LoadedPhoto, *, with_noise: bool = True) -> Release:
        """The second half of `release`: head, gate, grid and noise."""
        square, pixels, loaded = photo.square, photo.square.pixels, time.perf_counter()
        with tracing.stage("head"):
            outputs = self._head(pixels)
            embedding, assessment = outputs[self.preset.spec.base], _assess(self._gate, photo, outputs)
        embedded = time.perf_counter()
        with tracing.stage("release"):
            sent = self._noisy(pixels, embedding) if with_noise else self._clean(embedding)
        done = time.perf_counter()
        head_ms, privacy_ms = 1e3 * (embedded - loaded), 1e3 * (done - embedded)
        return Release(pixels, sent, photo.load_ms, head_ms, privacy_ms, assessment, square.crop)

    def _noisy(self, pixels: NDArray[np.uint8], embedding: NDArray[np.float32]) -> NDArray[Any]:
        return self._source.release(embedding, pixels, self.bundle.identity, self.preset.spec)

    def _clean(self, embedding: NDArray[np.float32]) -> NDArray[Any]:
        return saturate(to_grid(embedding, self.preset.spec), self.preset.spec)

    def check_secret(self, ledger: Ledger) -> None:
        """Warn where the ledger was kept under another noise secret.

        Raises:
            BudgetError: the ledger cannot be used.
        """
        if not ledger.recognise(self._source.fingerprint):
            _log.warning(
                gettext_noop(
                    "the noise secret of this device is not the one that its ledger was kept under: a photo that was "
                    "diagnosed before is released with a second draw of noise, and counts as a new photo"
                )
            )

    def spend(self, released: Release, ledger: Ledger, budget: float | None = None) -> PrivacyInfo:
        """Write the release down before it is sent; a release that is there already costs nothing.

        Args:
            released: of this releaser.
            ledger: the device's.
            budget: as `Ledger.spend`, at δ = 1e-5.

        Returns:
            What the distinct releases of this photo, and of this device, promise together.

        Raises:
            BudgetError: the budget would be overspent, or the ledger cannot be used. Nothing was written.
        """
        (receipt,) = self.spend_together([released.pixels], ledger, budget)
        return describe(self.preset.spec, receipt)

    def spend_together(
        self,
        photos: Sequence[NDArray[np.uint8]],
        ledger: Ledger,
        budget: float | None = None,
        *,
        may_be_taken_back: bool = False,
    ) -> list[Receipt]:
        """Write the releases of photos down, all of them or none.

        Args:
            photos: ``(side, side, 3) uint8`` each, as the head sees them; it need not have seen them yet.
            ledger: the device's.
            budget: as `spend`.
            may_be_taken_back: `take_back` may follow, where a release does not leave.

        Raises:
            BudgetError: as `spend`.
        """
        spec = self.preset.spec
        return ledger.spend_together(
            [(self._release_id(pixels), self._source.photo_id(pixels)) for pixels in photos],
            spec.loss,
            preset=spec.stored_name,
            bundle_id=self.bundle.id,
            budget=budget,
            may_be_taken_back=may_be_taken_back,
        )

    def take_back(self, pixels: NDArray[np.uint8], ledger: Ledger, hold: int) -> bool:
        """As `Ledger.take_back`, of the release of a photo."""
        return ledger.take_back(self._release_id(pixels), hold)

    def _release_id(self, pixels: NDArray[np.uint8]) -> bytes:
        return self._source.release_id(pixels, self.bundle.identity, self.preset.spec)


def assess(bundle: Bundle, photo: PhotoSource, privacy: str | float | None = None) -> Assessment:
    """Whether a photo may be asked about; for one photo, as head and gate are opened for it.

    Args:
        bundle: needs its head only.
        photo: as `Releaser.release` takes it.
        privacy: as `Releaser` takes it: a preset may have a head and a gate of its own.

    Raises:
        BundleError: the bundle has no such preset, or its head or gate cannot be opened.
        ConfigError: `privacy` is neither a preset nor a positive number.
        PhotoError: this is not a photo that can be read safely.
    """
    preset, loaded = choose_preset(bundle, privacy).spec.base, LoadedPhoto(*_look(photo, bundle), 0.0)
    head = bundle.open_head(preset=preset)
    return _assess(bundle.open_gate(head, preset), loaded, head(loaded.square.pixels))


def _look(photo: PhotoSource, bundle: Bundle) -> tuple[Square, quality.Look, RefusalReason | None]:
    """Read a photo, and judge it by its pixels."""
    square = load_square(photo, bundle.manifest.side, bundle.manifest.framing)
    seen = quality.look(square.pixels)
    return square, seen, quality.check(square.pixels, square.edge, seen, square.whole)


def _assess(gate: Gate | None, photo: LoadedPhoto, outputs: Mapping[str, NDArray[np.float32]]) -> Assessment:
    """By the pixels, and where the bundle has a gate, by the map that the head has computed."""
    if gate is None:
        return Assessment(photo.reason, None)
    verdict = gate.judge(outputs[gate.output], quality.measure(photo.square.pixels, photo.seen))
    return Assessment(photo.reason or verdict.reason, verdict.kind)


def choose_preset(bundle: Bundle, privacy: str | float | None) -> Preset:
    """The preset that a ``--privacy`` value names; a number is the ε of `OF_EPSILON`.

    A name that the bundle has not may be an own release mechanism's (`securesplit.plugins`). Its answers are read as
    those of its preset are, and what they are worth is not known.

    Raises:
        BundleError: no such preset.
        ConfigError: an own mechanism that cannot be used, a number that is not a usable ε, an ε for another preset than
            `OF_EPSILON`, or any other type.
    """
    if privacy is None:
        return bundle.preset()
    epsilon = check_privacy(privacy)
    if epsilon is not None:
        return _of_epsilon(bundle, epsilon)
    name = str(privacy)
    if current_name(name) in bundle.presets:
        return bundle.preset(name)
    if (both := _WITH_EPSILON.fullmatch(name)) and current_name(both[1]) in bundle.presets:
        raise ConfigError(
            f"{name!r} asks for an epsilon of a preset, and an epsilon belongs to {OF_EPSILON} alone",
            hint=f"give --privacy {both[2]}, which is {OF_EPSILON} with that epsilon, or --privacy {both[1]}",
        )
    own = plugins.mechanism(name)
    return bundle.preset(name) if own is None else preset_of_mechanism(bundle, own)


def _of_epsilon(bundle: Bundle, epsilon: float) -> Preset:
    if OF_EPSILON not in bundle.presets:
        raise ConfigError(
            f"an epsilon belongs to preset {OF_EPSILON}, which this bundle does not have",
            hint=f"give --privacy one of: {', '.join(bundle.presets)}",
        )
    return bundle.preset(OF_EPSILON).with_epsilon(epsilon, DELTA)


def preset_of_mechanism(bundle: Bundle, own: Mechanism) -> Preset:
    """The preset that an own mechanism makes of the bundle's, without any figure of what its answers are worth.

    Raises:
        BundleError: the bundle has not the preset that the mechanism uses.
        ConfigError: that preset is encrypted, which leaves nothing for a mechanism to hide.
    """
    uses = f"the release mechanism {own.name!r} ({own.version}) uses preset {own.preset!r}"
    try:
        preset = bundle.preset(own.preset)
    except BundleError as error:
        raise BundleError(f"{uses}: {error.message}", hint=error.hint) from None
    if preset.spec.encrypted:
        raise ConfigError(
            f"{uses}, which leaves a mechanism nothing to hide", hint="give the mechanism another preset of the bundle"
        )
    own = replace(own, preset=preset.spec.preset)
    spec = replace(preset.spec, preset=own.name, stored_as=None, sigma_per_clip=0.0, mechanism=own)
    return replace(preset, spec=spec, quality={}, noise_calibrations=(), spread=None)


def _chance(spec: ReleaseSpec) -> str:
    """Why no label is given: noise is one reason, and a network that learned nothing another."""
    if spec.sigma_per_clip:
        return gettext_noop("with so much noise the answers are chance: no label is given; a larger epsilon gives one")
    said = gettext_noop("the answers of this bundle under {0} were measured to be chance: no label is given")
    return said.format(spec.preset)
