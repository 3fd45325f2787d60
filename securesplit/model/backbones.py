"""The backbones by name, each ending in its last feature map, with the cut that ships by default.

The one table of the training, the splitter and the benchmarks. Scaling is part of the network, so that a head takes
pixels in 0..255 whatever its backbone wants. Keras is loaded when a network is built, not before, on whatever backend
it is set to.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesplit.errors import ConfigError


@dataclass(frozen=True)
class Backbone:
    """A keras.applications network: its builder, the scale of its input and its default cut.

    ``scale`` and ``offset`` map pixels 0..255 to what the network was pre-trained on; the EfficientNetV2 builder does
    that inside (``scales_inside``).
    """

    builder: str
    cut: str
    scale: float = 1.0
    offset: float = 0.0
    scales_inside: bool = False


PREPROCESS = "preprocess"
"""The layer that scales pixels."""
BACKBONES = {
    "efficientnetv2b0": Backbone("EfficientNetV2B0", cut="block6b_add", scales_inside=True),
    "mobilenet_v2": Backbone("MobileNetV2", cut="block_13_expand_relu", scale=1 / 127.5, offset=-1.0),
    "inception_v3": Backbone("InceptionV3", cut="mixed7", scale=1 / 127.5, offset=-1.0),
    "inception_resnet_v2": Backbone("InceptionResNetV2", cut="block17_10_ac", scale=1 / 127.5, offset=-1.0),
    "xception": Backbone("Xception", cut="block14_sepconv1_act", scale=1 / 127.5, offset=-1.0),
}


def build(name: str, side: int, weights: Path | None, *, unit_scale: bool = False) -> Any:
    """The named network without its top: ``(n, side, side, 3)`` pixels in 0..255 -> last feature map.

    Args:
        name: a key of `BACKBONES`.
        side: height and width of the photo in pixels.
        weights: a Keras ``.weights.h5`` of the same network, or None for random weights.
        unit_scale: scale pixels by 1/255, whatever the ImageNet weights of the network expect.

    Raises:
        ConfigError: no such backbone, it takes no photos this small, or the weights are not its own.
    """
    if name not in BACKBONES:
        raise ConfigError(f"no backbone is called {name!r}", hint=f"choose one of {', '.join(BACKBONES)}")
    import keras

    spec = BACKBONES[name]
    photo = scaled = keras.Input((side, side, 3), name="photo")
    scale, offset = (1 / 255, 0.0) if unit_scale else (spec.scale, spec.offset)
    if (scale, offset) != (1.0, 0.0):
        scaled = keras.layers.Rescaling(scale, offset, name=PREPROCESS)(photo)
    own = {"include_preprocessing": False} if unit_scale and spec.scales_inside else {}
    if weights is not None and not weights.is_file():
        raise ConfigError(f"{name} cannot be built: no such file: {weights}", hint="check --weights")
    try:
        model = getattr(keras.applications, spec.builder)(include_top=False, weights=None, input_tensor=scaled, **own)
        if weights is not None:
            with warnings.catch_warnings(action="ignore"):  # of containers that it skips, before what it cannot load
                model.load_weights(str(weights))
    except (ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ConfigError(f"{name} cannot be built: {reason}", hint="check side and weights") from None
    return model
