"""The release as Keras layers, so that a network trains with its clip, its grid and its noise in the loop.

What the device does in exact integers (`securesplit.privacy.release`) is done here in float32 with straight-through
gradients (Bengio et al. 2013): the same clip, the same truncation, Gaussian noise of the same σ.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from securesplit.privacy.release import ReleaseSpec


class ClipNorm(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """``z · min(1, C / ‖z‖₂)`` over each photo's numbers."""

    def __init__(self, clip_norm: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clip_norm = clip_norm

    def call(self, z: Any) -> Any:
        """``(n, d) float32`` -> the same, each row of norm at most C."""
        norm = ops.sqrt(ops.sum(ops.square(z), axis=-1, keepdims=True) + 1e-12)
        return z * ops.minimum(1.0, self.clip_norm / norm)


class Squash(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """``z · C / √(C² + ‖z‖₂²)``: into the ball of radius C, smoothly.

    The hard clip has no gradient along the radius; in one dimension an encoder that starts outside never comes back
    (d = 1 stayed at AUC 0.51). Behind this layer the hard clip is still there and changes nothing.
    """

    def __init__(self, clip_norm: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clip_norm = clip_norm

    def call(self, z: Any) -> Any:
        """``(n, d) float32`` -> the same, each row of norm below C."""
        square = ops.sum(ops.square(z), axis=-1, keepdims=True)
        return z * self.clip_norm / ops.sqrt(self.clip_norm**2 + square)


class PiecewiseLinear(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Linear between given points, constant outside: ReLUs and sums only, so that it deploys and has a gradient.

    Args:
        x: rising.
        y: as many.
    """

    def __init__(self, x: NDArray[Any], y: NDArray[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.x = np.asarray(x, np.float32)
        self.y = np.asarray(y, np.float32)

    def call(self, z: Any) -> Any:
        """``(n, 1) float32`` -> ``(n, 1)``."""
        share = (z - self.x[:-1]) / np.diff(self.x)
        ramps = ops.relu(share) - ops.relu(share - 1.0)
        return self.y[0] + ops.sum(ramps * np.diff(self.y), axis=-1, keepdims=True)


class TruncateToGrid(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Towards zero onto multiples of `step`, saturated at `limit` steps; the gradient passes straight through."""

    def __init__(self, step: float, limit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.limit = limit

    def call(self, z: Any) -> Any:
        """Any shape, float32, unchanged shape."""
        bound = self.limit * self.step
        saturated = ops.clip(z, -bound, bound)
        units = saturated / self.step * (1 + 1e-6)  # float32's last digits do not cost a step
        truncated = ops.sign(units) * ops.floor(ops.abs(units)) * self.step
        return saturated + ops.stop_gradient(truncated - saturated)


class ReleaseNoise(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Gaussian noise in training **and** at inference, because the deployed release is always noisy."""

    def __init__(self, sigma: float, seed: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sigma = sigma
        self.seed = keras.random.SeedGenerator(seed)

    def call(self, z: Any) -> Any:
        """Any shape, float32, unchanged shape."""
        return z + keras.random.normal(ops.shape(z), stddev=self.sigma, seed=self.seed)


def release_layers(spec: ReleaseSpec, z: Any) -> Any:
    """What `spec` does between encoder and decoder, applied to the embedding `z`."""
    if spec.clip_norm is not None:
        z = ClipNorm(spec.clip_norm, name=f"{spec.preset}_clip")(z)
    limit = 127 if spec.dtype == "int8" else 32767
    z = TruncateToGrid(spec.step, limit, name=f"{spec.preset}_grid")(z)
    if spec.sigma_per_clip > 0 and spec.clip_norm is not None:
        z = ReleaseNoise(spec.sigma_per_clip * spec.clip_norm, name=f"{spec.preset}_noise")(z)
    return z
