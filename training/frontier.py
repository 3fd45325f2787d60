"""The frontier of the ``private`` preset: accuracy against identification, by d and σ.

    python -m training.frontier --run build/efficientnetv2b0

Each point trains its own encoder and decoder on the cached cut maps of stage 2, with its noise in the loop, and is
measured on validation photos: AUC with noise, and how often the matched filter (the optimal attacker for known
candidates) picks the photo among 1,000, beside an attacker who sees only the predicted label. Finished points are
kept in the run folder and not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.privacy import accounting
from training.encoders import private_spec
from training.release_layers import release_layers
from training.train_release import Cached, load_cached, train_private

CANDIDATES = 1000
POINTS = (
    (1, 0.2),
    (1, 0.25),
    (1, 0.3),
    (1, 0.42),
    (2, 0.2),
    (2, 0.3),
    (2, 0.42),
    (2, 0.69),
    (4, 0.25),
    (4, 0.42),
    (8, 0.42),
)


def identified(clean: NDArray[np.float32], sigma: float, *, rounds: int = 20, seed: int = 1) -> float:
    """Share of photos that the matched filter picks among `CANDIDATES` random ones.

    Args:
        clean: releases before noise, ``(n, d) float32``.
        sigma: noise standard deviation, same units.
        rounds: galleries that are drawn.
        seed: of galleries and noise.
    """
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(rounds):
        gallery = clean[rng.permutation(len(clean))[:CANDIDATES]]
        noisy = gallery + rng.normal(0, sigma, gallery.shape)
        distance = ((noisy[:, None] - gallery[None]) ** 2).sum(-1)
        ties = distance <= distance.min(1, keepdims=True)  # equal candidates are guessed among
        hits.append((np.diagonal(ties) / ties.sum(1)).mean())
    return float(np.mean(hits))


def label_only(called: NDArray[np.bool_]) -> float:
    """The same for an attacker who sees only the predicted label: one guess in each of the two classes."""
    share = called.mean()
    return float(sum(1.0 for part in (share, 1 - share) if part > 0) / CANDIDATES)


def measure(train: Cached, val: Cached, run: Path, numbers: int, sigma: float, epochs: int) -> dict[str, Any]:
    """Train and measure one point."""
    spec = private_spec(numbers, sigma)
    trained = train_private(train, val, spec, run, epochs=epochs)
    embedding = trained.encoder.predict(val.maps, batch_size=256, verbose=0)
    quiet = private_spec(numbers, 0.0)
    clean = np.asarray(release_layers(quiet, embedding))
    loss = accounting.loss_of(spec.sigma_squared, spec.sensitivity, spec.size)
    return {
        "d": numbers,
        "sigma_per_clip": sigma,
        "epsilon": round(loss.epsilon(), 2),
        "val_auc": round(trained.val_auc, 4),
        "identified": round(identified(clean, sigma), 4),
        "bound": round(loss.identification_bound(CANDIDATES), 4),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--backbone", default="efficientnetv2b0")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--point", type=float, nargs=2, action="append", metavar=("D", "SIGMA"), help="instead of all")
    args = parser.parse_args()
    train, val = load_cached(args.run, args.data, args.backbone, views=args.views)
    called = val.teacher[:, 0] > np.quantile(val.teacher, 0.7)
    print(f"label-only attacker: {label_only(called):.2%} of {CANDIDATES}")
    rows = []
    for numbers, sigma in args.point or POINTS:
        rows.append(measure(train, val, args.run, int(numbers), sigma, args.epochs))
        print(json.dumps(rows[-1]), flush=True)
    (args.run / "frontier.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
