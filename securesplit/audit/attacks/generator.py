"""A generator of photos, learned from the attacker's own: the prior of A9.

A variational autoencoder (Kingma and Welling, ICLR 2014) of small convolutions whose observation noise is its own error
(σ-VAE, Rybkin et al., ICML 2021), so that no weight between likelihood and prior is guessed. Its latent numbers
are standard normal under the prior. TensorFlow is imported where it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.metrics import Photos
from securesplit.audit.setting import ShouldContinue, always

LATENT = 64
BATCH = 32
RATE = 2e-3
WIDTHS = (64, 48, 32)
"""Channels of the feature maps at an eighth, a quarter and half of the photos' side."""
SIDE_STEP = 8
"""A generator draws photos whose side is a multiple of it."""
CHUNK = 250
"""Photos that are encoded or drawn at once."""

Latents = NDArray[np.float32]
"""``(n, LATENT)``."""


@dataclass(frozen=True)
class Generator:
    """What draws photos.

    Args:
        encoder: photos ``(n, side, side, 3)`` -> means and log-variances of their latent numbers, both ``(n, LATENT)``.
        first: latent numbers -> feature maps ``(n, side / SIDE_STEP, side / SIDE_STEP, WIDTHS[0])``.
        rest: those feature maps -> photos in [0, 1].
    """

    encoder: Any
    first: Any
    rest: Any

    def encode(self, photos: Photos) -> Latents:
        """The means of the latent numbers of photos."""
        return _in_chunks(lambda some: self.encoder(some, training=False)[0], photos)

    def draw(self, latents: Latents) -> Photos:
        """The photos of latent numbers."""
        return _in_chunks(lambda some: self.rest(self.first(some, training=False), training=False), latents)


def _in_chunks(network: Callable[[NDArray[np.float32]], Any], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it makes of them; Keras's own ``predict`` would compile a function, and warn of it, for every generator."""
    chunks = (inputs[at : at + CHUNK] for at in range(0, len(inputs), CHUNK))
    return np.concatenate([np.asarray(network(chunk), np.float32) for chunk in chunks])


def untrained(side: int) -> Generator:
    """Of random weights, for photos of that many pixels, a multiple of `SIDE_STEP`."""
    from keras import Input, Model, layers

    same: dict[str, Any] = {"padding": "same", "activation": "silu"}
    photo = Input((side, side, 3))
    x = layers.Conv2D(24, 4, strides=2, **same)(photo)
    for width in WIDTHS[::-1][1:]:
        x = layers.Conv2D(width, 4, strides=2, **same)(x)
    x = layers.Dense(256, activation="silu")(layers.Flatten()(x))
    encoder = Model(photo, [layers.Dense(LATENT)(x), layers.Dense(LATENT, bias_initializer="zeros")(x)])

    latent = Input((LATENT,))
    cells = side // SIDE_STEP
    x = layers.Dense(cells * cells * WIDTHS[0])(latent)
    first = Model(latent, layers.Reshape((cells, cells, WIDTHS[0]))(x))

    maps = Input((cells, cells, WIDTHS[0]))
    x = layers.Activation("silu")(maps)
    for width in WIDTHS[1:]:
        x = layers.Conv2DTranspose(width, 4, strides=2, **same)(x)
    colours = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(x)
    return Generator(encoder, first, Model(maps, colours))


def trained(photos: Photos, *, updates: int, seed: int, should_continue: ShouldContinue = always) -> Generator | None:
    """Fit one to photos; None: there was no time for all updates.

    Args:
        photos: ``(n, side, side, 3)``.
        updates: steps of Adam.
        seed: of weights, order and latent noise.
        should_continue: asked before each step.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    generator = untrained(photos.shape[1])
    models = (generator.encoder, generator.first, generator.rest)
    weights = [weight for model in models for weight in model.trainable_variables]
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, updates, alpha=0.02))
    adam.build(weights)
    noise = tf.random.Generator.from_seed(seed)

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: Any) -> None:
        with tf.GradientTape() as tape:
            loss = _loss(tf, generator, batch, noise)
        adam.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    rng = np.random.default_rng(seed)
    for _ in range(updates):
        if not should_continue():
            return None
        batch = photos[rng.integers(0, len(photos), BATCH)]
        step(tf.constant(batch[:, :, ::-1] if rng.random() < 0.5 else batch))
    return generator


def _loss(tf: Any, generator: Generator, batch: Any, noise: Any) -> Any:
    """The negative evidence lower bound a photo, less constants, with the variance that is best for the batch."""
    mean, log_variance = generator.encoder(batch, training=True)
    latent = mean + tf.exp(log_variance / 2) * noise.normal(tf.shape(mean))
    error = tf.reduce_mean(tf.square(generator.rest(generator.first(latent)) - batch))
    numbers = int(np.prod(batch.shape[1:]))
    divergence = tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - log_variance - 1, axis=1) / 2
    return numbers / 2 * tf.math.log(error + 1e-6) + tf.reduce_mean(divergence)
