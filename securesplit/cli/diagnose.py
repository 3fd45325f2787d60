"""``securesplit diagnose``: photos in, benign or malignant out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import click

from securesplit.cli import native_stderr, terminal, values
from securesplit.cli.options import (
    anyway_option,
    certs_option,
    check_certs,
    connect_option,
    model_option,
    photos_argument,
    privacy_option,
    state_option,
    timeout_option,
)
from securesplit.cli.settings import command
from securesplit.errors import REFUSED, SecureSplitError, TrustError, UnreachableError, WorkerError
from securesplit.i18n import ngettext
from securesplit.results import (
    DISCLAIMER,
    VOID_BOUND,
    Accuracy,
    DevicePrivacy,
    Diagnosis,
    PrivacyInfo,
    Refusal,
    Unlearned,
    error_to_json,
    refusal_to_json,
)
from securesplit.text import rounded_up

if TYPE_CHECKING:
    from securesplit.client import Client, Outcome
    from securesplit.imaging import Listing, PhotoSource

_Result: TypeAlias = "tuple[PhotoSource, Outcome]"


@command(short_help="Ask benign or malignant; the photo never leaves this device.")
@photos_argument
@connect_option
@certs_option
@click.option(
    "--client",
    "client_name",
    type=values.CLIENT_NAME,
    default="device",
    show_default=True,
    help="Whose certificate in that folder to use.",
)
@privacy_option
@model_option
@state_option
@timeout_option(30.0, "an answer")
@click.option("--budget", type=values.BUDGET, help="Largest epsilon that this device may spend.")
@anyway_option
@click.option("--embedded", is_flag=True, help="Start a private worker for this command; needs no keys.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, or one JSON object a line.",
)
@click.option("--explain", is_flag=True, help="Say what left the device and what it promises.")
def diagnose(
    photos: tuple[Path, ...],
    connect: tuple[str, ...],
    certs: Path,
    client_name: str,
    privacy: str | None,
    model: Path | None,
    state: Path | None,
    timeout_s: float,
    budget: float | None,
    anyway: bool,
    embedded: bool,
    style: str,
    explain: bool,
) -> int:
    """Diagnose each PHOTO with a tail worker; the photo itself never leaves this device.

    PHOTO is a file, a folder (with all folders in it), a pattern in quotes such as 'photos/**/*.jpg', or - for standard
    input. In folders, hidden files and what is no photo are passed over.

    \b
    Examples:
      securesplit diagnose --embedded mole.jpg
      securesplit diagnose --connect tcp://clinic:5555 --format json photos/
    """
    from securesplit.imaging import Listing

    native_stderr.quiet_litert()
    if not embedded:
        check_certs(click.get_current_context())
    settings = {
        "privacy": privacy,
        "model": model,
        "state": state,
        "timeout_s": timeout_s,
        "budget": budget,
        "anyway": anyway,
    }
    output = JsonLines() if style == "json" else Text(explain=explain)
    with _embedded(settings) if embedded else _connected(connect, certs, client_name, settings) as client:
        return _diagnose_all(client, Listing(photos), output)


@contextlib.contextmanager
def _connected(connect: tuple[str, ...], certs: Path, name: str, settings: dict[str, Any]) -> Iterator[Client]:
    from securesplit.client import DEFAULT_ENDPOINT, Client

    with Client(connect or (DEFAULT_ENDPOINT,), certs=certs, client=name, **settings) as client:
        yield client


@contextlib.contextmanager
def _embedded(settings: dict[str, Any]) -> Iterator[Client]:
    from securesplit.client import Client
    from securesplit.worker import EmbeddedWorker

    with (
        EmbeddedWorker(settings["model"]) as worker,
        Client(worker.endpoint, credentials=worker.client_credentials, local=True, **settings) as client,
    ):
        yield client


GIVE_UP_AFTER = 3
"""So many photos in a row for which no worker could be met or trusted, and the rest is not tried."""


def _diagnose_all(client: Client, photos: Listing, output: Output) -> int:
    """Diagnose photo by photo, whatever befalls one of them.

    Returns:
        The exit code of the first that failed; where none did, `REFUSED` if one was refused, else 0.
    """
    from securesplit.imaging import photo_name

    code = in_vain = refused = 0
    total = photos.count()
    for number, (photo, result) in _announced(client.diagnose_many(photos), total):
        if isinstance(result, SecureSplitError):
            code = code or result.exit_code
            in_vain = _in_vain(result, in_vain)
            output.failure(photo_name(photo), result)
            message = result.message if total == 1 else f"photo {number}: {result.message}"
            terminal.show_error(message, result.hint)
        elif isinstance(result, Refusal):
            refused = REFUSED
            output.refusal(result)
        else:
            in_vain = 0
            output.answer(result)
        if in_vain == GIVE_UP_AFTER and number < total:
            _give_up([photo_name(left) for left in itertools.islice(photos, number, None)], output)
            break
    output.end()
    if photos.passed_over:
        n = photos.passed_over
        terminal.note(
            ngettext(
                "{n} file was passed over: hidden, or no photo", "{n} files were passed over: hidden, or no photos", n
            )
        )
    return code or refused


def _announced(results: Iterator[_Result], total: int) -> Iterator[tuple[int, _Result]]:
    """Results with their numbers; each is announced before it is waited for."""
    for number in itertools.count(1):
        if 1 < total >= number:
            terminal.note(f"photo {number} of {total}")
        try:
            yield number, next(results)
        except StopIteration:
            return


def _in_vain(error: SecureSplitError, before: int) -> int:
    """How many photos in a row met no worker, after one that failed; a photo's own fault says nothing of workers."""
    if isinstance(error, UnreachableError | TrustError):
        return before + 1
    return 0 if isinstance(error, WorkerError) else before


def _give_up(photos: list[str], output: Output) -> None:
    """Say of the photos that are left that they were not tried."""
    error = UnreachableError(f"not tried, since {GIVE_UP_AFTER} photos in a row met no worker", hint="try again later")
    output.untried(photos, error)
    terminal.show_error(f"{len(photos)} photos were {error.message}; nothing of them was sent or counted", error.hint)


class Output(Protocol):
    """Where results go; every method writes to stdout."""

    def answer(self, diagnosis: Diagnosis) -> None:
        """One photo's diagnosis."""

    def refusal(self, refusal: Refusal) -> None:
        """One photo that no worker was asked about."""

    def failure(self, photo: str, error: SecureSplitError) -> None:
        """One photo without a diagnosis."""

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""

    def end(self) -> None:
        """After the last photo."""


class JsonLines:
    """The JSON contract: one object a photo, a line each."""

    def answer(self, diagnosis: Diagnosis) -> None:
        """One photo's diagnosis."""
        terminal.answer_json(diagnosis.to_json())

    def refusal(self, refusal: Refusal) -> None:
        """One photo that no worker was asked about."""
        terminal.answer_json(refusal.to_json())

    def failure(self, photo: str, error: SecureSplitError) -> None:
        """One photo without a diagnosis."""
        terminal.answer_json(error_to_json(photo, error))

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""
        for photo in photos:
            self.failure(photo, error)

    def end(self) -> None:
        """Nothing follows the last line."""


class Text:
    """For people; `explain` adds what left the device and what that promises."""

    def __init__(self, *, explain: bool) -> None:
        self._explain = explain

    def answer(self, diagnosis: Diagnosis) -> None:
        """One photo's diagnosis."""
        d = diagnosis
        terminal.answer(f"{d.photo}: {d.label or 'no label, it would be chance'}")
        threshold = f", called malignant from {d.threshold:.1%} on" if d.label else ""
        terminal.answer(f"  probability of malignant {d.malignant:.1%}{threshold}")
        for line in caveats(d):
            terminal.answer(f"  {line}")
        terminal.answer(f"  {worth(d.accuracy)}")
        for line in explanation(d) if self._explain else ():
            terminal.answer(f"  {line}")

    def refusal(self, refusal: Refusal) -> None:
        """One photo that no worker was asked about, and what to do about it."""
        for line in refused(refusal):
            terminal.answer(line)

    def failure(self, photo: str, error: SecureSplitError) -> None:
        """One photo without a diagnosis."""
        terminal.answer(f"{photo}: no answer ({error.message})")

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""
        terminal.answer(f"{len(photos)} more photos: {error.message}")

    def end(self) -> None:
        """The disclaimer, once."""
        terminal.answer(DISCLAIMER)


def refused(refusal: Refusal) -> list[str]:
    """Why there is no answer and what to do, as lines for people."""
    return [
        f"{refusal.photo}: refused, {refusal.detail} ({refusal.reason})",
        f"  {refusal.advice}",
        "  nothing was sent; an answer would say nothing about the mole (--anyway gives it all the same)",
    ]


def caveats(diagnosis: Diagnosis) -> Iterator[str]:
    """What else to know of an answer: that its photo would have been refused, or is of a kind that was not learned."""
    if diagnosis.overridden is not None:
        yield f"would have been refused: {refusal_to_json(diagnosis.overridden)['detail']}; the answer may mean nothing"
    if diagnosis.unlearned is not None:
        yield unlearned(diagnosis.unlearned)


def unlearned(found: Unlearned) -> str:
    """That the network was not trained on such photos, as a line for people."""
    how = "a plain phone photo" if found.kind == "phone" else "a photo through a dermatoscope"
    measured = f"; the next figure is from {found.photos} such photos" if found.photos else ""
    return f"this looks like {how}, and the network was not trained on such photos{measured}"


def worth(accuracy: Accuracy | None) -> str:
    """How good answers with this noise are, as a line for people."""
    if accuracy is None:
        return "how good answers with this noise are was not measured"
    known = None not in (accuracy.auc_low, accuracy.auc_high)
    interval = f" ({accuracy.auc_low:.2f} to {accuracy.auc_high:.2f})" if known else ""
    return f"answers like this one have an AUC of {accuracy.auc:.2f}{interval} on {accuracy.measured_on} photos"


def explanation(diagnosis: Diagnosis) -> list[str]:
    """What left the device, what it promises and how long each stage took, as lines for people."""
    privacy, ms = diagnosis.privacy, diagnosis.timing_ms
    if privacy.device is None:
        lines = ["nothing left this device: the worker is a part of this program, and no account is kept"]
    else:
        lines = [f"{diagnosis.payload_bytes} bytes of ciphertext left this device; the photo did not"]
    lines.append(_of_the_photo(privacy))
    if privacy.device is not None:
        lines += _of_the_device(privacy.device)
    lines.append(f"load {ms.load:.0f} ms, head {ms.head:.0f}, privacy {ms.privacy:.1f}, round trip {ms.round_trip:.0f}")
    return lines


def _of_the_photo(privacy: PrivacyInfo) -> str:
    """What the releases of this photo promise."""
    if privacy.epsilon is None and privacy.sigma_per_clip > 0:
        return f"preset {privacy.preset}: nothing can be promised, this photo was also released without noise"
    if privacy.epsilon is None:
        return f"preset {privacy.preset}: no formal privacy claim, see docs/privacy.md"
    which = "this photo" if privacy.device is not None else "this photo, if it were sent"
    picked = _picked("this photo", privacy.identification_bound_n1000)
    return f"{which}, preset {privacy.preset}: epsilon {privacy.epsilon:.10g} at delta {privacy.delta:g}; {picked}"


def _of_the_device(device: DevicePrivacy) -> Iterator[str]:
    """What all releases of this device promise together."""
    photos = f"this device, {device.photos} photo{'s' * (device.photos != 1)}"
    if device.epsilon is None:
        yield f"{photos}: nothing can be promised, {device.without_promise} of its releases came without noise"
    else:
        picked = _picked("the person whose photos these are", device.identification_bound_n1000)
        yield f"{photos}, which the server can link: epsilon {device.epsilon:.10g} at delta {device.delta:g}; {picked}"
    yield "an edited copy or a re-take of a photo is a photo of its own, and counts"


def _picked(whom: str, bound: float | None) -> str:
    if bound is None or bound >= VOID_BOUND:
        return f"nothing is certified about picking {whom} out of 1,000, see docs/privacy.md"
    return f"the server picks {whom} out of 1,000 at most {rounded_up(bound, 4):.2%} of the time"
