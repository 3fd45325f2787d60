"""An attack of your own: photos as a kernel-weighted mix of the attacker's, least squares in the dual (kernel ridge).

As an entry point of a package it runs in `securesplit audit --attack NAME`; here it is scored by hand.
"""

import numpy as np

from securesplit import Bundle, Releaser
from securesplit.audit import baselines, metrics
from securesplit.audit.setting import AttackerKnowledge, Releases
from securesplit.imaging.synthetic import draw_lesion
from securesplit.privacy.release import from_grid

AUXILIARY, TARGETS, SIDE = 40, 8, 32


def kernel_ridge(known: AttackerKnowledge, observed: Releases, sigma: float, seed: int) -> metrics.Photos:
    """Rebuild photos; `securesplit.audit.setting.Reconstruction` says what the arguments are."""
    flat, centre = known.noise_free.reshape(len(known.noise_free), -1), known.noise_free.mean(0).ravel()
    own, seen = flat - centre, observed.reshape(len(observed), -1) - centre
    mean, kernel = known.photos.mean(0), own @ own.T
    penalty = 0.1 * np.trace(kernel) / len(own) + sigma**2 * own.shape[1]
    weights = seen @ own.T @ np.linalg.inv(kernel + penalty * np.eye(len(own)))
    rebuilt: metrics.Photos = np.clip(mean + np.tensordot(weights, known.photos - mean, 1), 0, 1).astype(np.float32)
    return rebuilt


def exposed(preset: str) -> tuple[Releases, metrics.Photos]:
    """What the preset releases of synthetic lesions, in embedding units, and the lesions at the attack's resolution."""
    releaser = Releaser(Bundle.load(), bytes(32), privacy=preset)
    ready = [releaser.release(draw_lesion(seed, 2 * SIDE), with_noise=False) for seed in range(AUXILIARY + TARGETS)]
    photos = np.stack([draw_lesion(seed, SIDE) for seed in range(AUXILIARY + TARGETS)]) / 255
    return from_grid(np.stack([each.release for each in ready]), releaser.preset.spec), photos.astype(np.float32)


def main() -> None:
    """Score the attack on the undefended cut."""
    releases, photos = exposed("none")
    known = AttackerKnowledge(photos[:AUXILIARY], releases[:AUXILIARY], np.zeros(AUXILIARY, bool))
    rebuilt = kernel_ridge(known, releases[AUXILIARY:], sigma=0.0, seed=1)
    baseline = baselines.mean_image(known, TARGETS)
    skill = metrics.skill(photos[AUXILIARY:], rebuilt, baseline)
    print(f"skill over the mean image on `none`: {skill.mean:.2f} ({skill.low:.2f} to {skill.high:.2f})")


if __name__ == "__main__":
    main()
