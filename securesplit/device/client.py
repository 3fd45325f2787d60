"""The blocking client: photo -> release -> sealed request -> diagnosis.

from securesplit import Client
with Client("tcp://host:5555", certs="certs") as client:
    print(client.diagnose("mole.jpg"))
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeVar, overload

from securesplit.device import lookahead
from securesplit.device.charging import taken_back_on_error
from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions, takes
from securesplit.device.pipeline import DiagnosisPipeline, EncryptedGroup, PreparedRelease, Trace
from securesplit.device.release_step import Releaser
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.errors import SecureSplitError
from securesplit.forking import OfOneProcess
from securesplit.imaging import PhotoSource
from securesplit.imaging.photo_source import check_many
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.answer import Answer
from securesplit.transport.connection import Connection

if TYPE_CHECKING:
    from securesplit.device.concurrent_requests import Asked, ConcurrentRequests

_T = TypeVar("_T")
Outcome = Diagnosis | Refusal | SecureSplitError
"""What came of one photo of many."""


_Found = tuple[PhotoSource, PreparedRelease | Refusal | SecureSplitError]


class _Feed(Iterator[PhotoSource]):
    """Photos up to the error that asking for one raised: others are under way by then, and have left the device.

    Attributes:
        error: it; None: there was none.
    """

    def __init__(self, photos: Iterable[PhotoSource]) -> None:
        self._photos = iter(photos)
        self.error: Exception | None = None

    def __next__(self) -> PhotoSource:
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._photos)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the caller's own code raises
            self.error = error
            raise StopIteration from None


@dataclass(frozen=True)
class _UnderWay:
    """Photos of many that are asked about together and whose results have not been given yet.

    Attributes:
        turn: each with what came of reading it.
        asked: those that can be asked about; None: there is none. An error where they could not be.
    """

    turn: list[_Found]
    asked: Asked | SecureSplitError | None

    @property
    def is_done(self) -> bool:
        """Nothing has to be waited for."""
        return self.asked is None or isinstance(self.asked, SecureSplitError) or self.asked.is_done


class Client(OfOneProcess):
    """Diagnoses photos through tail workers; many photos share one session. Any number of threads may call it.

    New files in `certs` (a renewed certificate, a new revocation list) are used from the next photo on.

    Its arguments are those of `ClientOptions`, by name; so are the errors that they raise.
    """

    @takes(ClientOptions)
    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._credentials, self._pipeline = ReloadingCredentials(options), DiagnosisPipeline(options)
        workers = options.endpoints, self._credentials.current, self._pipeline.identity
        self._connection = Connection(*workers, timeout_s=options.timeout_s)
        self._requests: set[ConcurrentRequests] = set()  # a weak set cannot be read while another thread adds to it
        self._is_closed = False

    @property
    def releaser(self) -> Releaser:
        """What turns photos into releases."""
        return self._pipeline.releaser

    @overload
    def diagnose(self, photo: PhotoSource, *, anyway: Literal[True]) -> Diagnosis: ...

    @overload
    def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal: ...

    def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal:
        """Ask about one photo; one of which no answer would mean anything is refused, and nothing is sent.

        Args:
            photo: a path (str or Path), a binary file object, a PIL image, or an array ``(h, w, 3) uint8`` of upright
                sRGB pixels.
            anyway: of this photo; None: as the client was made. With True no photo is refused.

        Raises:
            ConfigError: `anyway` is neither True nor False nor None.
            PhotoError: this is not a photo that can be read safely.
            BudgetError: the release would overspend the budget; nothing was sent.
            UnreachableError: no worker answered in time, or the client was closed.
            TrustError: a worker or this client was refused.
            WorkerError: the worker could not compute the answer.
        """
        return self.trace(photo, anyway=anyway)[0]

    def diagnose_many(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        """Diagnose photo after photo; an error of one of them is its result, and the others continue.

        Photos that follow are read and go through the head while workers answer, at most `lookahead.AHEAD` of them
        before they are asked about, so any number takes no more memory than a few.

        Once the first one is answered, up to `concurrent_requests.AT_A_WORKER` requests for each worker are under way
        at once, fewer where a worker is so slow that they would run out of time; results keep the order of the photos,
        and so does the ledger. With a budget photos are asked about one by one: which of them are within it must not
        depend on who is first.

        Under the preset ``encrypted`` all photos after the first share a ciphertext with up to 15 others, which the
        worker computes for little more than one; their results come together, each with its share of the bytes.

        Args:
            photos: each as `diagnose` takes it; the next one is asked for in the thread that iterates.

        Yields:
            Each photo, in order, with what `diagnose` returns or raises for it.

        Raises:
            PhotoError: `photos` is one photo, or nothing that gives photos.
            Exception: asking `photos` for another one raised it; the results of all before it come first.
        """
        check_many(photos)
        first = list(itertools.islice(feed := _Feed(photos), 2))
        spends_a_budget = self._options.budget is not None and not self._pipeline.is_encrypted
        if spends_a_budget or len(first) < 2:
            yield from self._in_turns(itertools.chain(first, feed))
        else:
            yield from self._at_once(itertools.chain(first, feed))
        if feed.error is not None:
            raise feed.error

    def _in_turns(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        def ask(prepared: Callable[[], PreparedRelease | Refusal]) -> Diagnosis | Refusal:
            return self._answer(prepared())[0]

        for photo, prepared in lookahead.ahead(self._pipeline.prepare, photos):
            yield photo, _outcome(functools.partial(ask, prepared))

    def _at_once(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        from securesplit.device.concurrent_requests import ConcurrentRequests  # asyncio, which no single photo needs

        waiting: deque[_UnderWay] = deque()
        with ConcurrentRequests(self._options, self._credentials.current, self._pipeline.identity) as requests:
            self._requests.add(requests)
            try:
                if self._is_closed:  # by another thread, which may not have found it
                    requests.close()
                for turn in self._turns(photos):
                    waiting.append(self._begin(requests, turn))
                    while waiting and (waiting[0].is_done or len(waiting) >= requests.most):
                        yield from self._results(waiting.popleft())
                while waiting:
                    yield from self._results(waiting.popleft())
            finally:
                self._requests.discard(requests)

    def _turns(self, photos: Iterable[PhotoSource]) -> Iterator[list[_Found]]:
        """Photos that are asked about together, once they are ready."""
        feed, size = lookahead.ahead(self._pipeline.prepare, photos), 1
        while turn := list(itertools.islice(feed, size)):
            yield [(photo, _outcome(prepared)) for photo, prepared in turn]
            size = MAX_PHOTOS if self._pipeline.is_encrypted else 1

    def _begin(self, requests: ConcurrentRequests, turn: list[_Found]) -> _UnderWay:
        """Have a worker asked about those photos that can be asked about."""
        photos = [found for _, found in turn if isinstance(found, PreparedRelease)]

        def ask() -> Asked:
            self._renew()
            requests.use(self._credentials.current)
            return requests.ask(photos, self._pipeline.encrypt(photos) if self._pipeline.is_encrypted else None)

        return _UnderWay(turn, _outcome(ask) if photos else None)

    def _results(self, under_way: _UnderWay) -> Iterator[tuple[PhotoSource, Outcome]]:
        """What came of each photo, once those that were asked about have their answers."""
        answers = iter(()) if under_way.asked is None else self._answers(under_way.asked)
        for photo, found in under_way.turn:
            yield photo, next(answers) if isinstance(found, PreparedRelease) else found

    def _answers(self, asked: Asked | SecureSplitError) -> Iterator[Outcome]:
        """What came of each photo that was asked about; an error is that of all."""
        if isinstance(asked, SecureSplitError):
            return itertools.repeat(asked)
        answers = _outcome(asked.answers)
        if isinstance(answers, SecureSplitError):
            return itertools.repeat(answers)
        pairs = zip(asked.photos, answers, strict=True)
        return (_outcome(functools.partial(self._conclude, *pair, asked.group)) for pair in pairs)

    def trace(
        self, photo: PhotoSource, *, anyway: bool | None = None
    ) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        return self._answer(self._pipeline.prepare(photo, anyway=anyway, early=self._connection.stands))

    def _answer(self, prepared: PreparedRelease | Refusal) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """Ask a worker about a photo that is ready."""
        if isinstance(prepared, Refusal):
            return prepared, None
        with taken_back_on_error(prepared.charge), prepared.span.within():
            self._renew()
            return self._pipeline.conclude(prepared, *self._ask(prepared))

    def _ask(self, prepared: PreparedRelease) -> tuple[Answer, EncryptedGroup | None]:
        if not self._pipeline.is_encrypted:
            return self._connection.request(prepared.ready.release, before_sending=prepared.charge), None
        group = self._pipeline.encrypt([prepared])
        (answer,) = self._connection.request_encrypted(group.release, before_sending=group.charge)
        return answer, group

    def _renew(self) -> None:
        """Follow new files in `certs`."""
        if renewed := self._credentials.renewed():
            self._connection.renew(renewed)

    def _conclude(self, asked: PreparedRelease, answer: Answer, group: EncryptedGroup | None) -> Diagnosis:
        with asked.span.within():
            return self._pipeline.conclude(asked, answer, group)[0]

    def close(self) -> None:
        """End the sessions; photos that wait for an answer have an error."""
        self._is_closed = True
        for requests in self._requests.copy():  # at once: other threads may begin or end some
            requests.close()
        self._connection.close()
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _outcome(work: Callable[[], _T]) -> _T | SecureSplitError:
    """What comes of it, an error too."""
    try:
        return work()
    except SecureSplitError as error:
        return error
