"""Batches whose photos are mixed with one another: mixup and CutMix, on any Keras backend.

Every photo is mixed with the next one of its batch; targets and weights are blended by the same shares.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.network.config import Config


def beta(shape: tuple[Any, ...], alpha: float, seeds: keras.random.SeedGenerator) -> Any:
    """Draws of the symmetric Beta distribution of `alpha`."""
    one, other = (keras.random.gamma(shape, alpha, seed=seeds) for _ in range(2))
    return one / (one + other + 1e-9)


class Mixing:
    """Mixup (Zhang et al., ICLR 2018) or CutMix (Yun et al., ICCV 2019), whichever `config` wants.

    Args:
        config: its ``mixup`` or ``cutmix`` is the alpha of the Beta distribution of a photo's own share;
            mixup's is folded into 0.5..1.
        seed: of the randomness.
    """

    def __init__(self, config: Config, seed: int) -> None:
        self._mixup, self._cutmix = config.mixup, config.cutmix
        self.seeds = keras.random.SeedGenerator(seed)

    def __call__(self, photos: Any, targets: dict[str, Any], weights: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Mix one batch.

        Args:
            photos: ``(b, h, w, 3) float32``.
            targets: by output, ``(b, k)``.
            weights: by output, ``(b,)``.
        """
        if self._mixup:
            share = beta((ops.shape(photos)[0],), self._mixup, self.seeds)
            share = ops.maximum(share, 1 - share)
            photos = _blend(photos, share)
        elif self._cutmix:
            photos, share = self._cut(photos)
        else:
            return photos, targets, weights
        return photos, *({name: _blend(v, share) for name, v in group.items()} for group in (targets, weights))

    def _cut(self, photos: Any) -> tuple[Any, Any]:
        """A box of each photo is the next one's; the share that is left is counted in whole pixels."""
        count, height, width = ops.shape(photos)[0], photos.shape[1], photos.shape[2]
        half = ops.sqrt(1 - beta((count,), self._cutmix, self.seeds)) / 2
        inside = []
        for length in (height, width):
            middle = keras.random.uniform((count, 1), seed=self.seeds)
            places = (ops.arange(length, dtype="float32") + 0.5)[None] / length
            inside.append(ops.abs(places - middle) < half[:, None])
        box = ops.cast(ops.logical_and(inside[0][:, :, None], inside[1][:, None, :]), "float32")
        other = ops.roll(photos, 1, axis=0)
        return photos + box[..., None] * (other - photos), 1 - ops.mean(box, axis=(1, 2))


def _blend(values: Any, share: Any) -> Any:
    values = ops.cast(values, "float32")
    part = ops.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
    return part * values + (1 - part) * ops.roll(values, 1, axis=0)
