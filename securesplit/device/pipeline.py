"""The device's part of a diagnosis on both sides of the network: photo -> release, and answer -> diagnosis.

`Client` and `AsyncClient` differ in how they wait for the worker and in nothing else; what they share is here. Any
thread may call it; photos take turns at being read, so that decoders take memory one at a time, and at the head, which
is not thread-safe. One is read while the head is busy with another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import tracing
from securesplit.channel.payload import check_travels
from securesplit.channel.tensor import TensorSpec
from securesplit.config import check_budget, check_flag, check_path
from securesplit.device.charging import Account, Charge, taken_back_on_error
from securesplit.device.encryption_key import EncryptionKey
from securesplit.device.ledger import Ledger
from securesplit.device.noise_key import load_secret
from securesplit.device.options import ClientOptions
from securesplit.device.release_step import Release, Releaser
from securesplit.errors import BundleError
from securesplit.forking import own_lock
from securesplit.imaging import PhotoSource, photo_name
from securesplit.model import Bundle, Preset
from securesplit.privacy.release import from_grid
from securesplit.results import Accuracy, Diagnosis, Interval, ModelInfo, Refusal, Timing, Unlearned
from securesplit.transport.answer import Answer
from securesplit.transport.inquiry import EncryptedRelease


@dataclass(frozen=True, eq=False)
class Trace:
    """What one photo became on its way.

    Attributes:
        pixels: as the head saw them, ``(side, side, 3) uint8``.
        release: the integers of the preset's grid.
        wire: the request's frame as the wire carried it.
        sent: what left the device: the release, or the bytes of the ciphertext that holds it.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    release: NDArray[Any]
    wire: bytes = field(repr=False)
    sent: NDArray[Any] = field(repr=False)


@dataclass(frozen=True)
class PreparedRelease:
    """A photo whose release may be sent once it is written down, by `charge`.

    Attributes:
        photo: its path as the caller gave it, the name of an open file, or the kind of object in angle brackets.
        ready: the release and how it came about.
        started_s: when the work on it began, by ``time.perf_counter``.
        charge: writes the release down, before it leaves the device.
        span: of its trace.
    """

    photo: str
    ready: Release
    started_s: float
    charge: Charge
    span: tracing.PhotoSpan


@dataclass(frozen=True)
class EncryptedGroup:
    """Photos whose releases share a ciphertext.

    Attributes:
        photos: in their order.
        release: what leaves the device for them.
        charge: writes them down together.
        ms: encrypting took.
    """

    photos: Sequence[PreparedRelease]
    release: EncryptedRelease
    charge: Charge
    ms: float


@dataclass(frozen=True)
class AnswersRead:
    """How answers to photos of one kind are read.

    Attributes:
        preset: with calibration, threshold and spread of that kind.
        accuracy: what the answers are worth; None where nothing was measured.
        unlearned: that the network was not trained on such photos.
        never_low: no answer is called low.
    """

    preset: Preset
    accuracy: Accuracy | None
    unlearned: Unlearned | None = None
    never_low: bool = False


class DiagnosisPipeline:
    """A device's head, noise and ledger, and for the preset ``encrypted`` its key.

    Args:
        options: of the client.

    Attributes:
        is_encrypted: releases leave the device by `encrypt`.

    Raises:
        BundleError: the bundle cannot be read, has no such preset, or the preset's releases are too large to travel.
        ConfigError: an argument makes no sense, or TenSEAL, which the preset needs, cannot be loaded.
        BudgetError: the ledger cannot be used.
        CredentialError: a secret of this device cannot be used.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._anyway = options.anyway
        budget = check_budget(options.budget)
        state = None if options.state is None else check_path(options.state, "state")
        opened = Bundle.load(None if options.model is None else check_path(options.model, "model"))
        self.identity = opened.identity
        self.releaser = Releaser(opened, load_secret(state), privacy=options.privacy)
        spec = self.releaser.preset.spec
        self.is_encrypted = spec.encrypted
        if not spec.encrypted:
            check_travels(spec.preset, TensorSpec(spec.shape, spec.dtype))
        self._key = EncryptionKey(state) if self.is_encrypted else None
        ledger = None if options.local else Ledger(state)
        if ledger is not None:
            self.releaser.check_secret(ledger)
        self._is_local, self._account = ledger is None, Account(self.releaser, ledger, budget)
        self._model = ModelInfo(opened.manifest.name, opened.id)
        self._reading, self._head, self._choosing_key = own_lock(), own_lock(), own_lock()

    def prepare(
        self, photo: PhotoSource, *, anyway: bool | None = None, early: bool = False
    ) -> PreparedRelease | Refusal:
        """Everything up to the moment when a worker is asked, or why none is.

        Args:
            photo: as `Releaser.release` takes it.
            anyway: of this photo; None: as for all.
            early: write its release down while the head computes it, for a worker is there; who asks it takes the
                charge back where the release does not leave.

        Raises:
            ConfigError: `anyway` is neither True nor False nor None.
            PhotoError: this is not a photo that can be read safely.
        """
        anyway = self._anyway if anyway is None else check_flag(anyway, "anyway")
        span = tracing.PhotoSpan()
        with span.within():
            with self._reading.value:  # one decoder at a time, whose memory is bounded
                started_s = time.perf_counter()
                loaded = self.releaser.load(photo)
            charge = self._account.charge(loaded.square.pixels)
            with taken_back_on_error(charge), self._head.value:
                if early and (anyway or loaded.reason is None):
                    charge.write_early()
                ready = self.releaser.release_loaded(loaded)
        reason, kind = ready.assessment.reason, ready.assessment.kind
        if reason is not None and not anyway:
            charge.take_back()
            span.end("refused", self.releaser.preset.spec.preset)
            return Refusal(photo_name(photo), reason, self._model, kind, crop=ready.crop)
        return PreparedRelease(photo_name(photo), ready, started_s, charge, span)

    def encrypt(self, photos: Sequence[PreparedRelease]) -> EncryptedGroup:
        """Encrypt releases together, up to `messages.MAX_PHOTOS`; a second time gives another ciphertext.

        Raises:
            CredentialError: the keys, which are drawn at first use, cannot be written or read.
            ConfigError: this process may open no more files.
        """
        started_s, spec = time.perf_counter(), self.releaser.preset.spec
        with tracing.stage("encrypt"):
            key = self._current_key()
            _ = key.evaluation.digest  # drawn here, in a thread that may take its time
            ciphertext = key.encrypt(np.stack([from_grid(photo.ready.release, spec) for photo in photos]))
        release = EncryptedRelease(key, len(photos), ciphertext)
        charge = Charge(self._account, [entry for photo in photos for entry in photo.charge.entries])
        return EncryptedGroup(photos, release, charge, 1e3 * (time.perf_counter() - started_s))

    def _current_key(self) -> EncryptionKey:
        assert self._key is not None  # noqa: S101 - for presets that are encrypted only
        with self._choosing_key.value:
            self._key = self._key.current()
            return self._key

    def conclude(
        self, prepared: PreparedRelease, answer: Answer, group: EncryptedGroup | None = None
    ) -> tuple[Diagnosis, Trace]:
        """The diagnosis that an answer means.

        Args:
            prepared: what was asked.
            answer: to it.
            group: that it was encrypted in.

        Raises:
            BundleError: the bundle's calibration gives no probability for it.
        """
        ready, (entry,) = prepared.ready, prepared.charge.entries
        assert entry.found is not None  # noqa: S101 - nothing is answered that was not sent
        read = self._read(ready)
        malignant = _probability(read.preset, answer.logit)
        diagnosis = Diagnosis(
            photo=prepared.photo,
            malignant=malignant,
            interval=_interval(
                read.preset, answer.logit, malignant, None if ready.assessment.reason else read.accuracy
            ),
            threshold=read.preset.threshold,
            accuracy=read.accuracy,
            kind=ready.assessment.kind,
            unlearned=read.unlearned,
            never_low=read.never_low,
            overridden=ready.assessment.reason,
            crop=ready.crop,
            model=self._model,
            privacy=entry.found,
            payload_bytes=0 if self._is_local else answer.payload_bytes,
            timing_ms=Timing(
                load=ready.load_ms,
                head=ready.head_ms,
                privacy=ready.privacy_ms + entry.waited_ms + (0.0 if group is None else group.ms),
                round_trip=answer.round_trip_ms,
                tail=answer.tail_ms,
                total=1e3 * (time.perf_counter() - prepared.started_s),
            ),
        )
        prepared.span.end("answered", read.preset.spec.preset)
        sent = ready.release if group is None else np.frombuffer(group.release.ciphertext, np.uint8)
        return diagnosis, Trace(ready.pixels, ready.release, answer.frame, sent)

    def _read(self, ready: Release) -> AnswersRead:
        """How answers to such photos are read.

        By the photo's own kind where the bundle has answers of it, or did not learn it. Bare figures of a kind hold for
        the preset's own noise; with other noise there are none.
        """
        preset, kind = self.releaser.preset, ready.assessment.kind
        gate = self.releaser.bundle.manifest.gate_of(preset.spec.base)
        if gate is None or kind is None:
            return AnswersRead(preset, preset.accuracy)
        known = gate.kinds[kind]
        read = AnswersRead(preset, preset.accuracy, never_low=not known.may_be_low(preset.spec))
        if not known.learned:
            read = replace(read, unlearned=Unlearned(kind, known.photos))
        if known.reads(preset.spec):
            preset = known.read(preset)
            accuracy = preset.accuracy and replace(preset.accuracy, measured_on=kind)
            return replace(read, preset=preset, accuracy=accuracy)
        if known.learned:
            return read
        own = self.releaser.bundle.presets.get(preset.spec.preset)
        is_own_noise = own is not None and preset.spec.sigma_per_clip == own.spec.sigma_per_clip
        return replace(read, accuracy=known.accuracy(preset.spec.preset, kind) if is_own_noise else None)

    def close(self) -> None:
        """Close the ledger, once what was not sent is taken back; what was is on the disk already."""
        self._account.close()


def _probability(preset: Preset, logit: float) -> float:
    """The calibrated probability of malignant.

    Raises:
        BundleError: there is none.
    """
    malignant = preset.calibration.probability(logit)
    if not 0.0 <= malignant <= 1.0:
        raise BundleError(f"the bundle's calibration makes {malignant} of an answer", hint="fetch the bundle again")
    return malignant


def _interval(preset: Preset, logit: float, malignant: float, accuracy: Accuracy | None) -> Interval | None:
    """What noise and calibration leave open, and on either side how far the calibration was off on such photos.

    None where that was not measured; it was not on photos that would have been refused.
    """
    if preset.spread is None or accuracy is None or accuracy.ece is None:
        return None
    low, high = preset.spread.at(logit)
    return Interval(max(0.0, min(low, malignant) - accuracy.ece), min(1.0, max(high, malignant) + accuracy.ece))
