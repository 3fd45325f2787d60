"""``securesplit release``: what would leave the device, as arrays, for anyone to attack."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit import atomic
from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.options import anyway_option, model_option, photos_argument, privacy_option, state_option
from securesplit.cli.settings import command
from securesplit.cli.targets import check_holds_no_photo, check_writable
from securesplit.errors import REFUSED, ConfigError, PhotoError
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext, translated
from securesplit.results import REFUSALS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from securesplit.device.release_step import Releaser
    from securesplit.imaging import Listing
    from securesplit.privacy.release import ReleaseSpec


@command()
@photos_argument
@click.option(
    "--out",
    type=param_types.Location(),
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
@click.option("--rebuilt", is_flag=True, help="Also write what the bundle's attack decoder makes of each release.")
def release(
    photos: tuple[Path, ...],
    out: Path,
    privacy: str | None,
    model: Path | None,
    state: Path | None,
    anyway: bool,
    without_noise: bool,
    rebuilt: bool,
) -> int:
    """Write the release of each PHOTO to FILE.npz; nothing is sent. A PHOTO is named as for diagnose.

    The file holds `release`, an array (n, ...) of the integers as they would travel, and `photo`, the names; with
    --rebuilt also `rebuilt`, what the bundle's attack decoder makes of them, (n, h, w, 3). Under the preset encrypted
    `release` is the ciphertext of each photo, (n, bytes), another one each time; the integers in it are those of
    --without-noise. Photos that cannot be read
    are left out and make the exit code 3; so are those that would be refused, of which nothing would leave, and make
    it 4.
    """
    check_writable(out, "--out")
    check_holds_no_photo(out, "--out")
    import numpy as np

    from securesplit.device.noise_key import load_secret
    from securesplit.device.release_step import Releaser
    from securesplit.imaging import Listing
    from securesplit.model import Bundle

    native_stderr.quiet_libraries()
    releaser = Releaser(Bundle.load(model), load_secret(state), privacy=privacy)
    rebuild = _rebuilding(releaser) if rebuilt else None
    spec = releaser.preset.spec
    leaving = _encrypting(spec, state) if spec.encrypted and not without_noise else _Leaving.in_the_open(spec)
    releases, names, code = _collect(releaser, Listing(photos), with_noise=not without_noise, anyway=anyway)
    leave = [leaving.of(each) for each in releases]
    array = np.stack(leave) if leave else np.empty((0, *leaving.shape), leaving.dtype)
    arrays = {"release": array, "photo": np.array(names, np.str_)}
    if rebuild is not None:
        arrays["rebuilt"] = rebuild(array)
    _write(out, arrays)
    counted = ngettext("{n} release", "{n} releases", len(names))
    what = f"{leaving.dtype} {leaving.shape}"
    terminal.answer(
        _("{file}: {releases}, {what}, preset {preset}", file=out, releases=counted, what=what, preset=spec.preset)
    )
    return code


@dataclass(frozen=True)
class _Leaving:
    """What leaves the device for a release.

    Attributes:
        shape: of it.
        dtype: of it.
        of: makes it of the release's integers.
    """

    shape: tuple[int, ...]
    dtype: str
    of: Callable[[NDArray[Any]], NDArray[Any]]

    @classmethod
    def in_the_open(cls, spec: ReleaseSpec) -> _Leaving:
        """The integers themselves, which the channel seals."""
        return cls(spec.shape, spec.dtype, lambda release: release)


def _encrypting(spec: ReleaseSpec, state: Path | None) -> _Leaving:
    """A ciphertext under the device's key, each photo alone in one."""
    import numpy as np

    from securesplit.device.encryption_key import EncryptionKey
    from securesplit.encrypted.messages import CIPHERTEXT_BYTES
    from securesplit.privacy.release import from_grid

    key = EncryptionKey(state)

    def encrypted(release: NDArray[Any]) -> NDArray[np.uint8]:
        return np.frombuffer(key.encrypt(from_grid(release, spec)[None]), np.uint8)

    return _Leaving((CIPHERTEXT_BYTES,), "uint8", encrypted)


def _collect(
    releaser: Releaser, photos: Listing, *, with_noise: bool, anyway: bool
) -> tuple[list[NDArray[Any]], list[str], int]:
    """Releases, names and exit code; what is left out is told of."""
    from securesplit.imaging import photo_name

    releases, names, code, refused = [], [], 0, 0
    for number, photo in enumerate(photos, 1):
        try:
            ready = releaser.release(photo, with_noise=with_noise)
        except PhotoError as error:
            code = error.exit_code
            why = translated(error.message)
            terminal.show_error(_("photo {number}: {message}", number=number, message=why), error.hint)
            continue
        if ready.assessment.reason is not None and not anyway:
            refused = REFUSED
            detail, advice = REFUSALS[ready.assessment.reason]
            terminal.note(
                _("photo {number} would be refused: {why}; {advice}", number=number, why=_(detail), advice=_(advice))
            )
            continue
        releases.append(ready.release)
        names.append(photo_name(photo))
    return releases, names, code or refused


def _write(out: Path, arrays: dict[str, NDArray[Any]]) -> None:
    import numpy as np

    content = io.BytesIO()  # a device such as /dev/null takes bytes and no seeking
    np.savez(content, allow_pickle=False, **arrays)
    try:
        if out.exists() and not out.is_file():
            out.write_bytes(content.getvalue())
        else:
            with atomic.atomic_write(Path(os.path.realpath(out))) as draft:
                atomic.create(draft, content.getvalue())  # for its owner alone, as the release is
    except OSError as error:
        raise ConfigError(f"cannot write {out} ({error.strerror})", hint="choose another --out") from None


def _rebuilding(releaser: Releaser) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """What makes pictures ``(n, side, side, 3) uint8`` of releases ``(n, ...)``.

    Raises:
        ConfigError: the bundle has no attack decoder for this preset.
    """
    import numpy as np

    spec, bundle = releaser.preset.spec, releaser.bundle
    info = bundle.manifest.attack_decoder
    if spec.encrypted:
        raise ConfigError(
            f"nothing can be rebuilt from preset {spec.preset}: what leaves is a ciphertext",
            hint="leave --rebuilt out" + (f", or give --privacy one of: {', '.join(info.presets)}" if info else ""),
        )
    decoder = bundle.open_attack_decoder()
    if decoder is None or info is None or spec.preset not in info.presets:
        raise ConfigError(
            f"the bundle has no attack decoder for preset {spec.preset}",
            hint="leave --rebuilt out, or make one: python -m training.bundle.attack_decoder",
        )

    def rebuild(releases: NDArray[Any]) -> NDArray[np.uint8]:
        made = (decoder.rebuild(spec, release, malignant=False) for release in releases)
        return np.array([found.picture for found in made if found], np.uint8).reshape(-1, info.side, info.side, 3)

    return rebuild
