"""Adversarial training against one decoder, as ResSFL trains its feature extractor (Li et al., CVPR 2022).

The decoder minimises the squared error of its picture; the encoder minimises task + λ · SSIM(picture, photo). λ is what
the controller finds. The decoder here sees the true label too.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from training.release.guarded import losses, parts
from training.release.guarded.press import EncoderStage
from training.studies.defences.defence import Defence, plain

DECODER = "convolutional"


class AgainstDecoder(EncoderStage):
    """Encoder and probe against one decoder of `training.release.guarded.parts.adversaries`."""

    def make_adversaries(self, size: int, channels: int) -> dict[str, keras.Model]:
        """The decoder."""
        return {DECODER: parts.adversaries(size, channels)[DECODER]}

    def ratios(self, batch: dict[str, Any], sent: Any) -> dict[str, Any]:
        """Its squared error over that of the class mean."""
        return {DECODER: self.rebuilding_ratio(DECODER, batch, sent)}

    def penalty(self, batch: dict[str, Any], sent: Any, _ratios: dict[str, Any]) -> Any:
        """The similarity of its picture to the photo."""
        told = [sent, tf.cast(batch["labels"], tf.float32)[:, None]]
        return losses.ssim(batch["class_means"] + self.adversaries[DECODER](told), batch["thumbs"])


DEFENCE = Defence("adversarial", "adversarial training", "ResSFL, Li et al. 2022", plain(AgainstDecoder))
