"""What the adversaries of `guarded` win, on any Keras backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from training.release.guarded import losses, parts


@dataclass(frozen=True)
class Terms:
    """Weights of what the adversaries win, at full strength: over the class mean, chance, and the class.

    Attributes:
        rebuilding: weight of the mean gain of those that rebuild the picture.
        linking: of the one that tells views of one lesion from others.
        profiling: of the one that predicts properties of the picture.
        allowed: what each of them may win without being pressed, a share of its baseline.
    """

    rebuilding: float = 1.0
    linking: float = 0.5
    profiling: float = 0.5
    allowed: float = 0.0


def adversaries(rebuilders: Sequence[str], size: int, channels: int) -> dict[str, keras.Model]:
    """The named rebuilders, a ``linker`` and a ``profiler``."""
    known = parts.adversaries(size, channels)
    others = {"linker": parts.reidentifier(size, channels), "profiler": parts.profiler(size, channels)}
    return {name: known[name] for name in rebuilders} | others


def rebuilding_ratio(kind: str, adversary: keras.Model, batch: Mapping[str, Any], sent: Any) -> Any:
    """Error of an adversary that rebuilds the picture over that of the class mean, see `losses.rebuilding_ratio`."""
    return losses.rebuilding_ratio(kind, adversary(_told(batch, sent)), batch["thumbs"], batch["class_means"])


def ratios(models: Mapping[str, keras.Model], batch: Mapping[str, Any], sent: Any) -> dict[str, Any]:
    """By adversary of `adversaries`: its error over that of the class alone (`training.release.guarded.losses`).

    Args:
        models: of `adversaries`.
        batch: of `training.release.guarded.views.Batches`, whose second half shows the lesions of the first again.
        sent: ``(n, size, size, channels)``, what is sent for it.
    """
    found = {
        name: rebuilding_ratio(name, model, batch, sent)
        for name, model in models.items()
        if name not in {"linker", "profiler"}
    }
    linked, half = models["linker"](sent), len(batch["labels"]) // 2
    found["linker"] = losses.linking_ratio(linked[:half], linked[half:], batch["labels"][:half])
    answer = models["profiler"](_told(batch, sent))
    found["profiler"] = losses.secrets_ratio(answer, batch["secrets"], batch["secret_means"])
    return found


def _told(batch: Mapping[str, Any], sent: Any) -> list[Any]:
    return [sent, ops.cast(batch["labels"], "float32")[:, None]]


def penalty(found: Mapping[str, Any], terms: Terms) -> Any:
    """What all of them win, given `ratios`."""
    gains = {name: losses.gain(ratio, terms.allowed) for name, ratio in found.items()}
    others = terms.linking * gains.pop("linker") + terms.profiling * gains.pop("profiler")
    return terms.rebuilding * sum(gains.values()) / max(1, len(gains)) + others
