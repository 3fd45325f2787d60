"""The network of a configuration, its losses and its optimizer; no TensorFlow here, so that any backend trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from securesplit.model import backbones
from training.batch_norm import freeze_batch_norm, train_batch_norm
from training.config import Config
from training.finetune import add_ends

LOSS_WEIGHTS = {"malignant": 1.0, "cut_malignant": 0.5, "dx": 0.5, "cut_dx": 0.25}


def build_model(config: Config, weights: Path | None = None) -> keras.Model:
    """The network of `config`: ``(n, side, side, 3)`` pixels in 0..255 -> logits by name, ``malignant`` among them.

    Args:
        config: names backbone, ends and what batch norm does.
        weights: ImageNet weights of the backbone; None: random ones.

    Raises:
        ConfigError: no such backbone, it takes no photos this small, or the weights are not its own.
    """
    backbone = backbones.build(config.backbone, config.side, weights, unit_scale=config.pixels == "0..1")
    (freeze_batch_norm if config.batch_norm == "frozen" else train_batch_norm)(backbone)
    if config.ends == "cut":
        return add_ends(backbone, config.backbone, config.dropout)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    dropped = keras.layers.Dropout(config.dropout, name="dropout")(pooled)
    logit = keras.layers.Dense(1, dtype="float32", name="malignant")(dropped)
    return keras.Model(backbone.input, {"malignant": logit}, name=config.backbone)


def compile_model(model: keras.Model, config: Config, steps: int) -> None:
    """Give `model` the losses and the optimizer of `config`; `steps` is batches an epoch."""
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, max(1, steps * (config.epochs - 1)), alpha=0.01, warmup_target=rate, warmup_steps=steps
        )
    averaged = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = (
        keras.optimizers.Adam(rate, **averaged)
        if config.optimizer == "adam"
        else keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, clipnorm=1.0, **averaged)
    )
    smooth = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    diagnosis = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    names = list(model.output)
    model.compile(
        optimizer,
        loss={name: smooth if "malignant" in name else diagnosis for name in names},
        loss_weights={name: LOSS_WEIGHTS[name] for name in names},
    )
    optimizer.build(model.trainable_variables)
