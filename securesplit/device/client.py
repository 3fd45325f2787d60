"""The blocking client: photo -> release -> sealed request -> diagnosis.

from securesplit import Client
with Client("tcp://host:5555", certs="certs") as client:
    print(client.diagnose("mole.jpg"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from securesplit.config import check_path, check_timeout_s, renamed
from securesplit.device import lookahead
from securesplit.device.pipeline import DiagnosisPipeline, PreparedRelease, ReloadingCredentials, Trace
from securesplit.device.release_step import Releaser
from securesplit.errors import SecureSplitError
from securesplit.imaging import PhotoSource
from securesplit.pki.credentials import Credentials
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.connection import Connection
from securesplit.transport.endpoint import LOOPBACK

DEFAULT_ENDPOINT = f"tcp://{LOOPBACK}:5555"
Outcome = Diagnosis | Refusal | SecureSplitError
"""What came of one photo of many."""


class Client:
    """Diagnoses photos through tail workers; many photos share one session. Any number of threads may call it.

    New files in `certs` (a renewed certificate, a new revocation list) are used from the next photo on.

    Args:
        connect: endpoints ``tcp://host:port`` of workers; the next one is tried where one does not answer.
        certs: the folder that ``securesplit keygen`` wrote.
        client: whose certificate under ``certs/clients`` to use.
        privacy: a preset of the bundle or an ε; None: the bundle's default preset. One that does not protect the photo
            is warned of, once, on the logger ``securesplit.privacy``, and has the claim "none" in every result.
        budget: largest ε (at δ = 1e-5) of all that this device ever releases; None: no limit.
        state: folder of the device's noise secret and ledger; None: the user's own.
        model: folder of the bundle; None: the one that comes with the package.
        timeout_s: seconds from a request's start until its answer is given up, 0.1 to 86,400.
        credentials: already loaded, instead of `certs`.
        local: the worker is a part of this very program (`securesplit.worker.EmbeddedWorker`): nothing leaves the
            device, so the ledger is left alone and no budget is spent.
        anyway: ask about photos that would be refused, too; the diagnosis says why in `Diagnosis.overridden`.
        bundle: earlier name of `model`.
        name: earlier name of `client`.

    Raises:
        BundleError: the bundle cannot be read or has no such preset.
        ConfigError: an argument makes no sense.
        CredentialError: keys or certificates are missing or not valid.
    """

    def __init__(
        self,
        connect: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        certs: str | Path = "certs",
        client: str = "device",
        privacy: str | float | None = None,
        budget: float | None = None,
        state: str | Path | None = None,
        model: str | Path | None = None,
        timeout_s: float = 30.0,
        credentials: Credentials | None = None,
        local: bool = False,
        anyway: bool = False,
        bundle: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        timeout_s = check_timeout_s(timeout_s)
        model = renamed(model, "model", bundle, "bundle")
        self._credentials = ReloadingCredentials(
            check_path(certs, "certs"), renamed(client, "client", name, "name"), credentials
        )
        self._pipeline = DiagnosisPipeline(
            privacy=privacy, budget=budget, state=state, model=model, local=local, anyway=anyway
        )
        endpoints = [connect] if isinstance(connect, str) else list(connect)
        self._connection = Connection(
            endpoints, self._credentials.current, self._pipeline.identity, timeout_s=timeout_s
        )

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
