"""Channel pruning as in DISCO (Singh et al., CVPR 2021): a filter chooses for each photo which channels are sent.

A small network scores the channels of a photo's release, and those of the lowest scores become zero; the choice has the
gradient of the scores' sigmoid. Filter and encoder learn together against a decoder, whose error counts up to that of
the class mean: without that bound the release collapses (ADR 094). DISCO trains its filter alone against the adversary,
behind an encoder of the task's own.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from training.release.guarded import losses, parts
from training.studies.defences.adversarial import DECODER, AgainstDecoder
from training.studies.defences.defence import Defence, Shape, plain

PRUNED = 0.5
"""Share of the channels that are not sent."""


class PruneChannels(layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Keep the channels of the highest scores; the gradient is that of the scores' sigmoid.

    Args:
        kept: how many.
    """

    def __init__(self, kept: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept = kept

    def call(self, release: Any, scores: Any) -> Any:
        """``(n, h, w, c)`` and ``(n, c)`` -> ``(n, h, w, c)``."""
        soft = ops.sigmoid(scores)
        least = ops.min(ops.top_k(soft, self.kept)[0], axis=-1, keepdims=True)
        hard = ops.cast(soft >= least, "float32")
        mask = soft + ops.stop_gradient(hard - soft)
        return release * mask[:, None, None, :]


class Disco(AgainstDecoder):
    """The adversarial encoder with a filter of channels behind it."""

    def make_encoder(self, cut_shape: Shape, size: int, channels: int) -> keras.Model:
        """With the filter."""
        encoder = parts.encoder(cut_shape, size, channels, self.blocks)
        pooled = layers.GlobalAveragePooling2D()(encoder.input)
        scores = layers.Dense(channels)(layers.Dense(64, activation="silu")(pooled))
        kept = max(1, round(channels * (1 - PRUNED)))
        return keras.Model(encoder.input, PruneChannels(kept)(encoder.output, scores), name="encoder")

    def penalty(self, _batch: dict[str, Any], _sent: Any, ratios: dict[str, Any]) -> Any:
        """What the decoder wins."""
        return losses.gain(ratios[DECODER])


DEFENCE = Defence("disco", "channel pruning as in DISCO", "Singh et al. 2021", plain(Disco))
