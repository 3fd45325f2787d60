"""Random weights drawn by NumPy while Keras builds a network: on JAX every shape is else a program to compile.

EfficientNetV2B0 has some 300 weights; building it takes half a minute of compiling that the weights which it is then
given make useless.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from keras import initializers
from numpy.typing import NDArray


@contextmanager
def drawn_by_numpy(seed: int) -> Iterator[None]:
    """Within, kernels of new layers are Glorot uniform, drawn from `seed`; zeros and ones are NumPy's too."""
    rng = np.random.default_rng(seed)

    def glorot(_initializer: Any, shape: tuple[int, ...], dtype: Any = None, **_: Any) -> NDArray[np.float32]:
        places = math.prod(shape[:-2])
        limit = math.sqrt(6 / (places * sum(shape[-2:])))
        return rng.uniform(-limit, limit, shape).astype(dtype or np.float32)

    def constant(value: float) -> Any:
        def call(_initializer: Any, shape: tuple[int, ...], dtype: Any = None, **_: Any) -> NDArray[np.float32]:
            return np.full(shape, value, dtype or np.float32)

        return call

    with (
        mock.patch.object(initializers.VarianceScaling, "__call__", glorot),
        mock.patch.object(initializers.Zeros, "__call__", constant(0.0)),
        mock.patch.object(initializers.Ones, "__call__", constant(1.0)),
    ):
        yield
