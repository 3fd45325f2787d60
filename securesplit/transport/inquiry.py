"""What a connection asks and what comes of it: a release in the open of the sealed channel, or an encrypted one.

No I/O: both connections send what `Inquiry.outgoing` gives and hand what comes back to `Inquiry.conclude`. A worker
that lacks the evaluation keys of an encrypted release says so (`KeyNeeded`); they are uploaded (``key_upload.py``), and
the release is then asked about again, under another id: the first one has its answer.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.channel import payload, tensor
from securesplit.channel.payload import OutgoingRequest
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.encrypted import messages
from securesplit.encrypted.messages import MessageError, Status
from securesplit.encrypted.wire import WireError
from securesplit.errors import WorkerError
from securesplit.transport import answer
from securesplit.transport.answer import Answer
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.key_upload import VERSIONS, EvaluationKeys
from securesplit.transport.retry_policy import proven
from securesplit.transport.worker_session import Exchange

T_co = TypeVar("T_co", covariant=True)

_ANSWER = TensorSpec((messages.ANSWER_BYTES,), "uint8")


class Distrusted(Protocol):
    """The device's list (`securesplit.device.distrusted.DistrustedWorkers`)."""

    def check(self, worker: str) -> None:
        """Raise WorkerError for a worker, named by its address, that is not asked any more."""


class Key(Protocol):
    """The device's (`securesplit.device.encryption_key.EncryptionKey`)."""

    @property
    def evaluation(self) -> EvaluationKeys:
        """Its evaluation keys."""

    @property
    def distrusted(self) -> Distrusted:
        """Workers that are not asked."""

    def decrypt(self, answer: bytes, photos: int, worker: str) -> NDArray[np.float64]:
        """An answer of a worker, named by its address -> ``(photos,)`` logits.

        Raises:
            WireError: it makes no sense.
            WorkerError: the worker is not asked any more.
            CredentialError: this device's files are not as they should be.
        """


@dataclass(frozen=True)
class EncryptedRelease:
    """Photos whose releases share one ciphertext.

    Attributes:
        key: under which it is encrypted.
        photos: how many, 1 to `messages.MAX_PHOTOS`.
        ciphertext: `messages.CIPHERTEXT_BYTES`.
    """

    key: Key = field(repr=False)
    photos: int
    ciphertext: bytes = field(repr=False)


class KeyNeeded(Exception):  # noqa: N818  (an instruction, no error)
    """The worker lacks these evaluation keys.

    Args:
        keys: which.
    """

    def __init__(self, keys: EvaluationKeys) -> None:
        super().__init__("the worker lacks this device's evaluation keys")
        self.keys = keys


class Inquiry(Protocol[T_co]):
    """A question to a worker.

    Attributes:
        is_slow: concluding it takes milliseconds, which an event loop has not.
    """

    is_slow: bool

    def outgoing(self, endpoint: Endpoint) -> OutgoingRequest:
        """What the next try sends to that worker.

        Raises:
            Retry: nothing; another one must be asked.
        """

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float, endpoint: Endpoint) -> T_co:
        """What a worker's reply says; arguments as `answer.conclude`, and which worker it was.

        Raises:
            Retry: nothing that can be an answer.
            KeyNeeded: keys must be uploaded first.
        """


class PlainInquiry:
    """About one release.

    Args:
        release: a preset's shape and integer dtype.
    """

    is_slow = False

    def __init__(self, release: NDArray[Any]) -> None:
        self._request = OutgoingRequest(release)

    def outgoing(self, _endpoint: Endpoint) -> OutgoingRequest:
        """The same each time."""
        return self._request

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float, _endpoint: Endpoint) -> Answer:
        """The answer; raises Retry where it cannot be one."""
        return answer.conclude(exchange, payload_bytes, took_s)


class EncryptionInquiry:
    """Whether a worker computes on ciphertexts: under no key, with zeros in the place of a photo.

    It says that it lacks the evaluation keys of a name that is drawn for this, which nobody has, and none are uploaded.
    """

    is_slow = False

    def __init__(self) -> None:
        request = messages.Request(secrets.token_bytes(messages.DIGEST_BYTES), 1, bytes(messages.CIPHERTEXT_BYTES))
        self._request = OutgoingRequest(request.encode())

    def outgoing(self, _endpoint: Endpoint) -> OutgoingRequest:
        """The same each time."""
        return self._request

    def conclude(self, exchange: Exchange, _payload_bytes: int, _took_s: float, _endpoint: Endpoint) -> None:
        """Nothing, where it does; raises Retry for any other answer."""
        try:
            said = messages.Answer.decode(tensor.decode(exchange.plaintext, [_ANSWER]))
        except (TensorError, MessageError) as error:
            raise proven(payload.senseless(str(error))) from None
        if said.status is not Status.KEY_NEEDED:
            raise proven(payload.senseless("it computed under keys that nobody has"))


class EncryptedInquiry:
    """About photos in one ciphertext.

    Args:
        release: the ciphertext, and what decrypts its answer.
    """

    is_slow = True

    def __init__(self, release: EncryptedRelease) -> None:
        self._release = release

    def outgoing(self, endpoint: Endpoint) -> OutgoingRequest:
        """The ciphertext, under the name that its evaluation keys have now.

        Raises:
            Retry: an answer of that worker once made no sense.
        """
        asked = self._release
        try:
            asked.key.distrusted.check(str(endpoint.in_one_spelling))
        except WorkerError as error:
            raise proven(error) from None
        request = messages.Request(asked.key.evaluation.digest, asked.photos, asked.ciphertext)
        return OutgoingRequest(request.encode())

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float, endpoint: Endpoint) -> list[Answer]:
        """An answer for each photo, with its share of the bytes that were sent; their sum is exact.

        Raises:
            Retry: the worker refuses, or its answer makes no sense.
            KeyNeeded: it lacks the evaluation keys.
        """
        try:
            said = messages.Answer.decode(tensor.decode(exchange.plaintext, [_ANSWER]))
            if said.status is Status.KEY_NEEDED:
                raise KeyNeeded(self._release.key.evaluation)
            if said.status is Status.REFUSED:
                raise WorkerError("the worker refuses this device's key or ciphertext", hint=VERSIONS)
            answer.check_tail_ms(said.tail_ms, took_s)  # what could not be taken anyway is not tried under the key
            worker = str(endpoint.in_one_spelling)
            logits = self._release.key.decrypt(said.ciphertext, self._release.photos, worker).tolist()
        except (TensorError, MessageError, WireError) as error:
            raise proven(payload.senseless(str(error))) from None
        except WorkerError as error:
            raise proven(error) from None
        each, rest = divmod(payload_bytes, len(logits))
        return [
            Answer(logit, said.tail_ms, took_s * 1_000, each + (n < rest), exchange.frame)
            for n, logit in enumerate(logits)
        ]
