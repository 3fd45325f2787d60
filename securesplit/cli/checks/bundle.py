"""The bundle: hashes, whether its parts load, and how long the head takes here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from securesplit.cli.checks import Finding, failure, ok, warning
from securesplit.errors import SecureSplitError

if TYPE_CHECKING:
    from securesplit.model import Bundle

REPEATS = 5
SLOW_MS = 500.0  # ten times what the default head takes on one old core
SEED = 7  # of the lesion that is drawn
UNDEFENDED = "none"  # one of the presets that share a head


def check_bundle(folder: Path | None, privacy: str | None = None) -> Iterator[Finding]:
    """That the manifest is whole, that each part that is here has its hash and loads, and that `privacy` can be used.

    Args:
        folder: of the bundle; None for the one in the package.
        privacy: what the settings ask for; None for nothing.
    """
    from securesplit.device.release_step import choose_preset
    from securesplit.model import Bundle

    try:
        bundle = Bundle.load(folder)
        presets = f"presets {', '.join(bundle.presets)}"
        yield ok("bundle", f"{bundle.manifest.name} in {bundle.folder}, {bundle.id}, {presets}")
        heads = _heads(bundle)
        yield from (_head(bundle, *each) for each in heads)
        if (bundle.folder / "tail.tflite").exists():
            bundle.open_tail()
            yield ok("bundle", "the tail has its hash and loads")
        else:
            yield ok("bundle", "no tail here, a device needs none")
        yield from (_gate(bundle, *each) for each in heads)
        yield _attack_decoder(bundle)
        choose_preset(bundle, privacy)
    except SecureSplitError as error:
        yield failure("bundle", error)


def is_encrypted(folder: Path | None, privacy: str | None) -> bool:
    """Whether that choice, or the bundle's default, is a preset that is encrypted; arguments as `check_bundle`."""
    from securesplit.device.release_step import choose_preset
    from securesplit.model import Bundle

    try:
        return choose_preset(Bundle.load(folder), privacy).spec.encrypted
    except SecureSplitError:
        return False


def _heads(bundle: Bundle) -> list[tuple[str, str]]:
    """What a head and its gate are called beyond that, and a preset that they are opened for."""
    from securesplit.model.guarded_preset import PRESET

    own = [] if bundle.manifest.guarded is None else [(f" of preset {PRESET}", PRESET)]
    return [("", UNDEFENDED), *own]


def _head(bundle: Bundle, of: str, preset: str) -> Finding:
    from securesplit.imaging.synthetic import draw_lesion

    head, pixels = bundle.open_head(preset=preset), draw_lesion(SEED, bundle.manifest.side)
    times = []
    for _ in range(REPEATS + 1):  # the first one warms the runtime up
        started = time.perf_counter()
        head(pixels)
        times.append(1e3 * (time.perf_counter() - started))
    taken = median(times[1:])
    message = f"the head{of} has its hash and takes {taken:.1f} ms (median of {REPEATS})"
    if taken > SLOW_MS:
        return warning("bundle", message, "this machine is busy or slow; a smaller bundle may suit it")
    return ok("bundle", message)


def _gate(bundle: Bundle, of: str, preset: str) -> Finding:
    gate = bundle.open_gate(bundle.open_head(preset=preset), preset)
    if gate is None:
        return ok("bundle", f"no gate{of}: photos are refused by their pixels only")
    reasons = ", ".join(gate.classes[1:])
    return ok("bundle", f"the gate{of} has its hash and refuses photos for {reasons}")


def _attack_decoder(bundle: Bundle) -> Finding:
    decoder, info = bundle.open_attack_decoder(), bundle.manifest.attack_decoder
    if decoder is None or info is None:
        return ok("bundle", "no attack decoder: what a release gives away cannot be shown")
    skills = ", ".join(f"{name} {figures.skill:.2f}" for name, figures in info.presets.items())
    return ok("bundle", f"the attack decoder has its hash and loads (skill over the class mean: {skills})")


def synthetic_release(bundle: Bundle) -> NDArray[Any]:
    """The release of a synthetic lesion under the default preset, with noise under a secret made for it alone.

    It concerns nobody, so it needs no place in the ledger and leaves the device's own secret alone. In the place of a
    preset that is encrypted stands the first that is not: a key made for it would cost the worker 27 MB.
    """
    from securesplit.imaging.synthetic import draw_lesion
    from securesplit.privacy.noise import NoiseSource
    from securesplit.privacy.release import release

    specs = [preset.spec for preset in (bundle.preset(), *bundle.presets.values())]
    spec, pixels = next(spec for spec in specs if not spec.encrypted), draw_lesion(SEED, bundle.manifest.side)
    source = NoiseSource(secrets.token_bytes(32))
    embedding = bundle.open_head(preset=spec.preset)(pixels)[spec.preset]
    return release(embedding, spec, source.sampler(pixels, bundle.identity, spec))
