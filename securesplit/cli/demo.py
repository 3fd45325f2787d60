"""``securesplit demo``: the whole journey of one photo on this machine, with nothing set up."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit.atomic import PRIVATE, create, scratch_folder
from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.options import model_option, privacy_option
from securesplit.cli.output import show, show_refusal
from securesplit.cli.settings import command, source_of
from securesplit.cli.settings_check import PREFIX
from securesplit.cli.targets import check_is_other, check_writable
from securesplit.errors import REFUSED, ConfigError, UnreachableError
from securesplit.i18n import gettext as _
from securesplit.results import Diagnosis, ModelInfo, Refusal

if TYPE_CHECKING:
    from securesplit.device.pipeline import Trace
    from securesplit.device.release_step import Releaser

SEED = 7  # of the lesion that is drawn where no photo is given
OWN_MARK = {"Software": "securesplit demo"}
"""Text in a PNG of this command, by which a later run knows that it may write over it unasked."""


@dataclass(frozen=True)
class OwnProgram:
    """This very program, as processes of their own.

    What a machine's settings say of its worker or its CA (an address for metrics, a form of log lines, names of
    clients) is not for them.

    Attributes:
        settings: a file of settings that holds none.
        environment: variables.
    """

    settings: Path
    environment: Mapping[str, str]

    @classmethod
    def without_settings(cls, file: Path) -> OwnProgram:
        """With a file that is made, this process's import path and no other, and no variable that is a setting.

        Without that path, and without -P, Python imports from the working folder.
        """
        create(file, b"")
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return cls(file, {**others, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-P", "-m", "securesplit", "--config", str(self.settings), *arguments]

    def run(self, *arguments: str) -> None:
        """Run a command to its end.

        Raises:
            ConfigError: it failed.
        """
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = " / ".join(done.stderr.splitlines())
            raise ConfigError(f"{arguments[0]} failed: {said}", hint="check the temporary folder")


@command()
@click.argument("photo", required=False, type=param_types.Photo())
@click.option(
    "--out", type=param_types.Location(), default=Path("demo.png"), show_default=True, help="Picture to write."
)
@privacy_option
@model_option
def demo(photo: Path | None, out: Path, privacy: str | None, model: Path | None) -> int:
    """Make keys in a temporary folder, start a tail worker, diagnose PHOTO (or a synthetic lesion), show what left.

    The picture shows the photo, which stays here; the integers that left the device; the bytes that the wire carried;
    and, where the bundle has an attack decoder, what the worker could make of the release, beside what it would guess
    without it. A photo that would be refused ends it before anything is set up. Another file called demo.png stays as
    it is, unless --out names it.
    """
    _check_picture(out)
    if source_of(click.get_current_context(), "out").kind == "default" and not is_free(out):
        raise ConfigError(f"{out} is there already, and was not made by this command", hint="choose another --out")
    if photo is not None:
        check_is_other(out, "--out", photo)
    native_stderr.quiet_libraries()
    with scratch_folder("securesplit-demo-") as folder:
        title = _("A synthetic lesion") if photo is None else str(photo)
        photo = photo or _drawn(folder)
        if refusal := _refusal(photo, model, privacy):
            show_refusal(refusal, has_anyway=False)
            return REFUSED
        certs, own = folder / "certs", OwnProgram.without_settings(folder / "no-settings.toml")
        terminal.note(_("1. keys: a private CA, one server, one client"))
        own.run("keygen", "--out", str(certs))
        terminal.note(_("2. a tail worker on a loopback port"))
        with _worker(own, certs, model) as endpoint:
            terminal.note(_("3. the photo's journey to {endpoint}", endpoint=endpoint))
            settings = {"certs": certs, "privacy": privacy, "model": model, "state": folder / "state"}
            _journey(photo, title, endpoint, out, settings)
    return 0


def _check_picture(out: Path) -> None:
    """Refuse before the journey what could not be written after it.

    Raises:
        ConfigError: another kind of file, or one that cannot be written.
    """
    from PIL import Image

    check_writable(out, "--out")
    if Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise ConfigError(
            f"cannot write the picture {out} (unknown file extension: {out.suffix or 'none'})",
            hint="choose another --out, such as demo.png",
        )


def is_free(out: Path) -> bool:
    """Whether nothing is there, or a picture of an earlier run."""
    from PIL import Image

    if not out.exists():
        return True
    try:
        with Image.open(out, formats=["PNG"]) as found:
            return OWN_MARK.items() <= found.info.items()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _refusal(photo: Path, model: Path | None, privacy: str | None) -> Refusal | None:
    """Why no answer would mean anything; None where the photo may be asked about."""
    from securesplit.device.release_step import assess
    from securesplit.imaging import photo_name
    from securesplit.model import Bundle

    bundle = Bundle.load(model)
    found = assess(bundle, photo, privacy)
    if found.reason is None:
        return None
    return Refusal(photo_name(photo), found.reason, ModelInfo(bundle.manifest.name, bundle.id), found.kind)


def _journey(photo: Path, title: str, endpoint: str, out: Path, settings: dict[str, Any]) -> None:
    from securesplit.device.client import Client

    with Client(endpoint, **settings) as client:
        client.diagnose(photo)  # its frame also ends the handshake; the next one is a request and nothing else
        result, trace = client.trace(photo)
    assert not isinstance(result, Refusal)  # noqa: S101  (it was assessed before)
    assert trace is not None  # noqa: S101  (an answer has one)
    _show(result, title, trace, client.releaser, out)


def _show(diagnosis: Diagnosis, title: str, trace: Trace, releaser: Releaser, out: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from securesplit.cli.demo_picture import journey_picture

    spec, decoder = releaser.preset.spec, releaser.bundle.open_attack_decoder()
    malignant = diagnosis.malignant >= diagnosis.threshold
    rebuilt = decoder.rebuild(spec, trace.release, malignant=malignant) if decoder else None
    try:
        drawn = io.BytesIO()
        picture = journey_picture(trace.pixels, trace.sent, spec, trace.wire, rebuilt)
        mark = PngInfo()
        for name, text in OWN_MARK.items():
            mark.add_text(name, text)
        picture.save(drawn, Image.registered_extensions()[out.suffix.lower()], pnginfo=mark)
        with open(out, "wb", opener=_for_its_owner) as stream:
            stream.write(drawn.getvalue())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot write the picture {out} ({error})", hint="choose another --out, such as demo.png"
        ) from None
    show(diagnosis, title, explain=True)
    if rebuilt is not None and rebuilt.figures is not None:
        skill = f"{max(rebuilt.figures.skill, 0.0):.0%}"
        attack = _("An attack on the release gets {skill} of the way from a guess to an unseen photo.", skill=skill)
        terminal.answer(f"  {attack}")
    terminal.answer(_("picture: {path}", path=out))
    terminal.answer(_(diagnosis.disclaimer))


def _for_its_owner(path: str, flags: int) -> int:
    """Open a file that is made, where it is not there, for its owner alone: the photo is in it."""
    return os.open(path, flags, PRIVATE)


def _drawn(folder: Path) -> Path:
    from PIL import Image

    from securesplit.imaging.synthetic import draw_lesion

    terminal.note(_("   no photo given: using a synthetic lesion"))
    path = folder / "drawn.png"
    Image.fromarray(draw_lesion(SEED)).save(path)
    return path


@contextlib.contextmanager
def _worker(own: OwnProgram, certs: Path, model: Path | None) -> Iterator[str]:
    """A real ``tail-worker`` process; gives its endpoint and ends it by SIGTERM."""
    extra = [] if model is None else ["--model", str(model)]
    command = ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--workers", "1", "--certs", str(certs), *extra]
    with subprocess.Popen(
        own.command(*command),
        env=own.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield _endpoint(process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _endpoint(process: subprocess.Popen[str]) -> str:
    """The endpoint in the worker's ready line; what it says before that is passed on."""
    assert process.stderr is not None  # noqa: S101  (Popen was given PIPE)
    said = []
    for line in process.stderr:
        if found := re.search(r"tcp://[\w.:\[\]-]+", line):
            terminal.note(f"   {line.strip()}")
            return found.group()
        said.append(line.strip())
    raise UnreachableError("the worker did not start", hint=" / ".join(said[-2:]))
