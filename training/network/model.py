"""The network of a configuration, its losses and its optimizer; no TensorFlow here, so that any backend trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from securesplit.errors import ConfigError
from securesplit.model import backbones
from training.data.photo import DX_CLASSES, SIDE
from training.network import dinov2
from training.network.batch_norm import freeze_batch_norm, train_batch_norm
from training.network.config import Config

DIAGNOSIS_WEIGHT = 0.5
"""Of the loss of an output for the seven diagnoses, beside that of the one for malignant."""


def build_model(config: Config, weights: Path | None = None) -> keras.Model:
    """The network of `config`: ``(n, side, side, 3)`` pixels in 0..255 -> logits by name, ``malignant`` among them.

    Args:
        config: names backbone, outputs and what batch norm does.
        weights: ImageNet weights of the backbone; None: random ones.

    Raises:
        ConfigError: no such backbone, it takes no photos this small, or the weights are not its own.
    """
    if config.backbone == dinov2.NAME:
        backbone = dinov2.build(config.side, weights)
    else:
        backbone = backbones.build(config.backbone, config.side, weights, unit_scale=config.pixels == "0..1")
    (freeze_batch_norm if config.batch_norm == "frozen" else train_batch_norm)(backbone)
    if config.outputs == "auxiliary":
        return add_outputs(backbone, config.backbone, config.dropout)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    dropped = keras.layers.Dropout(config.dropout, name="dropout")(pooled)
    logit = keras.layers.Dense(1, dtype="float32", name="malignant")(dropped)
    return keras.Model(backbone.input, {"malignant": logit}, name=config.backbone)


def shipped_network(backbone: str, side: int = SIDE) -> keras.Model:
    """The kind of network that the shipped bundle is made from, with random weights: `backbone` with all outputs."""
    return build_model(Config(backbone, side=side, outputs="auxiliary", batch_norm="frozen"))


def add_outputs(backbone: keras.Model, name: str, dropout: float) -> keras.Model:
    """`backbone`, called `name` in `securesplit.model.backbones`, with supervised outputs at two places.

    One is the usual one after the last feature map, the other stands straight at the cut, so that the map which the
    release is made from already separates the lesions. A backbone that no bundle is made from has the first alone.

    Returns:
        ``(n, side, side, 3)`` pixels in 0..255 -> ``{"malignant", "cut_malignant": (n, 1) logits,
        "dx", "cut_dx": (n, 7) logits}``. The layer of the cut keeps its own name.
    """
    outputs = _outputs("", keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output), dropout)
    if name in backbones.BACKBONES:
        at = backbone.get_layer(backbones.BACKBONES[name].cut).output
        cut = keras.layers.GlobalAveragePooling2D(name="cut_pool")(at)
        outputs |= _outputs("cut_", keras.layers.Dense(128, "silu", name="cut_hidden")(cut), dropout)
    return keras.Model(backbone.input, outputs, name=name)


def _outputs(prefix: str, features: Any, dropout: float) -> dict[str, Any]:
    features = keras.layers.Dropout(dropout, name=f"{prefix}dropout")(features)
    return {
        f"{prefix}malignant": keras.layers.Dense(1, dtype="float32", name=f"{prefix}malignant")(features),
        f"{prefix}dx": keras.layers.Dense(len(DX_CLASSES), dtype="float32", name=f"{prefix}dx")(features),
    }


def freeze_until(network: keras.Model, layer: str) -> None:
    """Hold every layer up to `layer`; what is held costs no backward pass.

    Raises:
        ConfigError: the network has no such layer.
    """
    names = [found.name for found in network.layers]
    if layer not in names:
        raise ConfigError(
            f"the network has no layer {layer!r} to freeze up to", hint="`securesplit cuts` lists the layers of a model"
        )
    for held in network.layers[: names.index(layer) + 1]:
        held.trainable = False


def compile_model(model: keras.Model, config: Config, steps: int) -> None:
    """Give `model` the losses and the optimizer of `config`; `steps` is batches an epoch."""
    optimizer = build_optimizer(config, steps)
    smooth = {"from_logits": True, "label_smoothing": config.label_smoothing}
    malignant = (
        keras.losses.BinaryFocalCrossentropy(gamma=config.focal, **smooth)
        if config.focal
        else keras.losses.BinaryCrossentropy(**smooth)
    )
    diagnosis = keras.losses.CategoricalCrossentropy(**smooth)
    names = list(model.output)
    model.compile(
        optimizer,
        loss={name: malignant if "malignant" in name else diagnosis for name in names},
        loss_weights={name: loss_weight(name, config) for name in names},
    )
    optimizer.build(model.trainable_variables)


def build_optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of `config` with its schedule and moving average; `steps` is batches an epoch."""
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, max(1, steps * (config.epochs - 1)), alpha=0.01, warmup_target=rate, warmup_steps=steps
        )
    averaged = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, **averaged)
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, clipnorm=1.0, **averaged)


def loss_weight(output: str, config: Config) -> float:
    """Of the loss of an output of the network, by its name."""
    of_label = DIAGNOSIS_WEIGHT if output.endswith("dx") else 1.0
    return of_label * (config.cut_weight if output.startswith("cut_") else 1.0)


def photo_losses(name: str, target: Any, logits: Any, config: Config) -> Any:
    """The loss of the output `name` for each photo, ``(b,)``; focal loss is left to `compile_model`."""
    smooth = {"from_logits": True, "label_smoothing": config.label_smoothing}
    of_kind = keras.losses.binary_crossentropy if "malignant" in name else keras.losses.categorical_crossentropy
    return of_kind(target, logits, **smooth)
