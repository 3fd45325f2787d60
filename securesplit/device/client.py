"""The blocking client: photo -> release -> sealed request -> diagnosis.

from securesplit import Client
with Client("tcp://host:5555", certs="certs") as client:
    print(client.diagnose("mole.jpg"))
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from securesplit.device import lookahead
from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions, takes
from securesplit.device.pipeline import DiagnosisPipeline, EncryptedGroup, PreparedRelease, Trace
from securesplit.device.release_step import Releaser
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.errors import SecureSplitError
from securesplit.imaging import PhotoSource
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.answer import Answer
from securesplit.transport.connection import Connection

if TYPE_CHECKING:
    from securesplit.device.several_workers import SeveralWorkers

_T = TypeVar("_T")
Outcome = Diagnosis | Refusal | SecureSplitError
"""What came of one photo of many."""


@dataclass(frozen=True)
class _UnderWay:
    """A photo of many whose result has not been given yet.

    Attributes:
        photo: as the caller gave it.
        outcome: waits for its result.
        answer: of a worker that is being asked; None: none is.
    """

    photo: PhotoSource
    outcome: Callable[[], Outcome]
    answer: Future[Answer] | None = None

    @property
    def is_done(self) -> bool:
        """Nothing has to be waited for."""
        return self.answer is None or self.answer.done()


class Client:
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

    @property
    def releaser(self) -> Releaser:
        """What turns photos into releases."""
        return self._pipeline.releaser

    def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal:
        """Ask about one photo; one of which no answer would mean anything is refused, and nothing is sent.

        Args:
            photo: a path (str or Path), a binary file object, a PIL image, or an array ``(h, w, 3) uint8`` of upright
                sRGB pixels.
            anyway: of this photo; None: as the client was made.

        Raises:
            PhotoError: this is not a photo that can be read safely.
            BudgetError: the release would overspend the budget; nothing was sent.
            UnreachableError: no worker answered in time.
            TrustError: a worker or this client was refused.
            WorkerError: the worker could not compute the answer.
        """
        return self.trace(photo, anyway=anyway)[0]

    def diagnose_many(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        """Diagnose photo after photo; an error of one of them is its result, and the others continue.

        Photos that follow are read and go through the head while a worker answers, at most `lookahead.AHEAD` of them,
        so any number takes no more memory than a few. Nothing of them is sent or counted before their turn.

        Where the client knows several workers, up to `several_workers.AT_A_WORKER` photos for each are asked about at
        once; results keep the order of the photos. Not so with a budget: which photos are within it does not depend on
        who is first.

        Under the preset ``encrypted`` the first photo is asked about alone, and all that follow share a ciphertext with
        up to 15 others, which the worker computes for little more than one; their results come together, each with its
        share of the bytes.

        Args:
            photos: each as `diagnose` takes it; the next one is asked for in the thread that iterates.

        Yields:
            Each photo, in order, with what `diagnose` returns or raises for it.
        """
        first = list(itertools.islice(feed := iter(photos), 2))
        is_in_turns = self._pipeline.is_encrypted or self._options.budget is not None
        if is_in_turns or len(first) < 2 or len(self._options.endpoints) < 2:
            yield from self._in_turns(itertools.chain(first, feed))
        else:
            yield from self._at_several_workers(itertools.chain(first, feed))

    def _in_turns(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        feed, size = lookahead.ahead(self._pipeline.prepare, photos), 1
        while turn := list(itertools.islice(feed, size)):
            yield from zip(
                (photo for photo, _ in turn), self._outcomes([prepared for _, prepared in turn]), strict=True
            )
            size = MAX_PHOTOS if self._pipeline.is_encrypted else 1

    def _at_several_workers(self, photos: Iterable[PhotoSource]) -> Iterator[tuple[PhotoSource, Outcome]]:
        from securesplit.device.several_workers import SeveralWorkers  # asyncio, which no single photo needs

        waiting: deque[_UnderWay] = deque()
        with SeveralWorkers(self._options, self._credentials.current, self._pipeline.identity) as workers:
            for photo, prepared in lookahead.ahead(self._pipeline.prepare, photos):
                waiting.append(self._begin(workers, photo, _outcome(prepared)))
                while waiting and (waiting[0].is_done or len(waiting) == workers.most):
                    yield waiting[0].photo, waiting.popleft().outcome()
            while waiting:
                yield waiting[0].photo, waiting.popleft().outcome()

    def _begin(
        self, workers: SeveralWorkers, photo: PhotoSource, found: PreparedRelease | Refusal | SecureSplitError
    ) -> _UnderWay:
        """Have a worker asked about a photo that can be asked about."""
        if not isinstance(found, PreparedRelease):
            return _UnderWay(photo, lambda: found)
        self._renew()
        workers.use(self._credentials.current)
        answer = workers.ask(found)
        return _UnderWay(photo, lambda: _outcome(lambda: self._conclude(found, answer.result(), None)), answer)

    def _outcomes(self, turn: Sequence[Callable[[], PreparedRelease | Refusal]]) -> list[Outcome]:
        """Of photos whose turn it is: those that can be asked about are asked about together."""
        found = [_outcome(prepared) for prepared in turn]
        asked = [each for each in found if isinstance(each, PreparedRelease)]
        answers = iter(self._answers(asked) if asked else ())
        return [next(answers) if isinstance(each, PreparedRelease) else each for each in found]

    def _answers(self, asked: Sequence[PreparedRelease]) -> list[Outcome]:
        try:
            answers, group = self._ask(asked)
        except SecureSplitError as error:
            return [error] * len(asked)
        concluded = (functools.partial(self._conclude, *each, group) for each in zip(asked, answers, strict=True))
        return [_outcome(each) for each in concluded]

    def trace(
        self, photo: PhotoSource, *, anyway: bool | None = None
    ) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        return self._answer(self._pipeline.prepare(photo, anyway=anyway))

    def _answer(self, prepared: PreparedRelease | Refusal) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """Ask a worker about a photo that is ready."""
        if isinstance(prepared, Refusal):
            return prepared, None
        (answer,), group = self._ask([prepared])
        with prepared.span.within():
            return self._pipeline.conclude(prepared, answer, group)

    def _ask(self, asked: Sequence[PreparedRelease]) -> tuple[list[Answer], EncryptedGroup | None]:
        """Ask a worker about a photo that is ready, or about several that share a ciphertext."""
        self._renew()
        with contextlib.ExitStack() as spans:
            for each in asked:
                spans.enter_context(each.span.within())
            if not self._pipeline.is_encrypted:
                (one,) = asked
                return [self._connection.request(one.ready.release, before_sending=one.charge)], None
            group = self._pipeline.encrypt(asked)
            return self._connection.request_encrypted(group.release, before_sending=group.charge), group

    def _renew(self) -> None:
        """Follow new files in `certs`."""
        if renewed := self._credentials.renewed():
            self._connection.renew(renewed)

    def _conclude(self, asked: PreparedRelease, answer: Answer, group: EncryptedGroup | None) -> Diagnosis:
        with asked.span.within():
            return self._pipeline.conclude(asked, answer, group)[0]

    def close(self) -> None:
        """End the session."""
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
