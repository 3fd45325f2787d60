"""What `training.network.compiled.Objective` makes of a hint, asked on JAX: ``... hinted FILE`` writes it as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.training import tiny  # the backbone
from training.network.compiled import Objective
from training.network.config import Config
from training.network.model import build_model
from training.output import write_json

SIDE, COUNT = 48, 16
CONFIG = Config(tiny.NAME, side=SIDE, views="none", outputs="auxiliary", batch_norm="frozen", dropout=0.0)


def main() -> None:
    """Write the losses, and the distance as it is and with a map that gives the teacher's own features."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    network, teacher = (build_model(CONFIG) for _ in range(2))
    teacher.set_weights(network.get_weights())
    malignant, dx = rng.random((COUNT, 1)).astype(np.float32), np.eye(7, dtype=np.float32)[rng.integers(0, 7, COUNT)]
    targets = {"malignant": malignant, "cut_malignant": malignant, "dx": dx, "cut_dx": dx}
    weights = dict.fromkeys(targets, np.ones(COUNT, np.float32))
    told = {}
    for name, hint in (("without", 0.0), ("with", 0.5)):
        objective = Objective(network, CONFIG, (SIDE, SIDE), [teacher], hint)
        objective.build()
        told[name] = float(objective((frames, targets, weights, np.zeros((COUNT, 1))), training=False))
    shown = frames.astype(np.float32)
    features = np.asarray(objective.network(shown)["pooled_features"])
    told["far"] = float(objective.distance(features, shown))
    scale = 1 / np.sqrt(features.var(0) + 1e-6)
    objective.map.set_weights([np.diag(scale), -features.mean(0) * scale])
    told["alike"] = float(objective.distance(features, shown))
    write_json(Path(sys.argv[1]), told)
