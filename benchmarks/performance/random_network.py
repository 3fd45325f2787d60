"""InceptionResNetV2 with random weights, for its time alone. Loads TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model.backbones import BACKBONES

NAME = "inception_resnet_v2"
SIDE = 150
CUT = BACKBONES[NAME].cut
_SEED = 1


def build(pixels: NDArray[Any]) -> Any:
    """Photo ``(n, 150, 150, 3)`` of pixels in 0..255 -> logit ``(n, 1)``, whose mean is 0 and spread 1 on these photos.

    Args:
        pixels: ``(n, 150, 150, 3)``, of several photos.
    """
    import keras

    from securesplit.model.splitting import load_network

    keras.utils.set_random_seed(_SEED)
    network = load_network(NAME, SIDE)
    logits = network.predict(pixels.astype(np.float32), verbose=0)
    last = network.layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([kernel / logits.std(), (bias - logits.mean()) / logits.std()])
    return network
