"""The blocking client: photo -> release -> sealed request -> diagnosis.

from securesplit import Client
with Client("tcp://host:5555", certs="certs") as client:
    print(client.diagnose("mole.jpg"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

from securesplit.device import lookahead
from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions, takes
from securesplit.device.pipeline import DiagnosisPipeline, PreparedRelease, Trace
from securesplit.device.release_step import Releaser
from securesplit.errors import SecureSplitError
from securesplit.imaging import PhotoSource
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.connection import Connection

Outcome = Diagnosis | Refusal | SecureSplitError
"""What came of one photo of many."""


class Client:
    """Diagnoses photos through tail workers; many photos share one session. Any number of threads may call it.

    New files in `certs` (a renewed certificate, a new revocation list) are used from the next photo on.

    Its arguments are those of `ClientOptions`, by name; so are the errors that they raise.
    """

    @takes(ClientOptions)
    def __init__(self, options: ClientOptions) -> None:
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

        Args:
            photos: each as `diagnose` takes it; the next one is asked for in the thread that iterates.

        Yields:
            Each photo, in order, with what `diagnose` returns or raises for it.
        """
        for photo, prepared in lookahead.ahead(self._pipeline.prepare, photos):
            outcome: Outcome
            try:
                outcome = self._answer(prepared())[0]
            except SecureSplitError as error:
                outcome = error
            yield photo, outcome

    def trace(
        self, photo: PhotoSource, *, anyway: bool | None = None
    ) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        return self._answer(self._pipeline.prepare(photo, anyway=anyway))

    def _answer(self, prepared: PreparedRelease | Refusal) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """Ask a worker about a photo that is ready."""
        if isinstance(prepared, Refusal):
            return prepared, None
        if renewed := self._credentials.renewed():
            self._connection.renew(renewed)
        with prepared.span.within():
            answer = self._connection.request(prepared.ready.release, before_sending=prepared.charge)
            return self._pipeline.conclude(prepared, answer)

    def close(self) -> None:
        """End the session."""
        self._connection.close()
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
