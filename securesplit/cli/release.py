"""``securesplit release``: what would leave the device, as arrays, for anyone to attack."""

from __future__ import annotations

import io
from pathlib import Path

import click

from securesplit.cli import native_stderr, terminal, values
from securesplit.cli.options import anyway_option, model_option, photos_argument, privacy_option, state_option
from securesplit.cli.settings import command
from securesplit.errors import REFUSED, ConfigError, PhotoError
from securesplit.results import REFUSALS


@command(short_help="Write exactly what would leave the device, as arrays.")
@photos_argument
@click.option(
    "--out",
    type=values.Location(),
    required=True,
    metavar="FILE.npz",
    help="File to write; an existing one is replaced.",
)
@privacy_option
@model_option
@state_option
@anyway_option
@click.option(
    "--without-noise",
    is_flag=True,
    help="The same grid before the noise, as an attacker would compute it for candidates.",
)
def release(
    photos: tuple[Path, ...],
    out: Path,
    privacy: str | None,
    model: Path | None,
    state: Path | None,
    anyway: bool,
    without_noise: bool,
) -> int:
    """Write the release of each PHOTO to FILE.npz; nothing is sent. A PHOTO is named as for diagnose.

    The file holds `release`, an array (n, ...) of the integers as they would travel, and `photo`, the names. Photos
    that cannot be read are left out and make the exit code 3; so are those that would be refused, of which nothing
    would leave, and make it 4.
    """
    import numpy as np

    from securesplit.imaging import Listing, photo_name
    from securesplit.model import Bundle
    from securesplit.privacy.noise import load_secret
    from securesplit.releaser import Releaser

    native_stderr.quiet_litert()
    releaser = Releaser(Bundle.load(model), load_secret(state), privacy=privacy)
    releases, names, code, refused = [], [], 0, 0
    for number, photo in enumerate(Listing(photos), 1):
        try:
            ready = releaser.release(photo, with_noise=not without_noise)
        except PhotoError as error:
            code = error.exit_code
            terminal.show_error(f"photo {number}: {error.message}", error.hint)
            continue
        if ready.assessment.reason is not None and not anyway:
            refused = REFUSED
            detail, advice = REFUSALS[ready.assessment.reason]
            terminal.note(f"photo {number} would be refused: {detail}; {advice}")
            continue
        releases.append(ready.release)
        names.append(photo_name(photo))
    spec = releaser.preset.spec
    array = np.stack(releases) if releases else np.empty((0, *spec.shape), spec.dtype)
    content = io.BytesIO()  # a device such as /dev/null takes bytes and no seeking
    np.savez(content, release=array, photo=np.array(names, np.str_))
    try:
        out.write_bytes(content.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write {out} ({error.strerror})", hint="choose another --out") from None
    terminal.answer(f"{out}: {len(names)} releases of {spec.dtype} {spec.shape}, preset {spec.preset}")
    return code or refused
