r"""DINOv2 ViT-S/14 as a teacher: a network learned from photos without labels (Oquab et al. 2023, arXiv:2304.07193).

    python -m training.network.dinov2 --safetensors model.safetensors --out build/dinov2.weights.h5

takes the weights that Hugging Face has as ``facebook/dinov2-small`` (Apache-2.0). ``--set backbone=dinov2_small`` then
trains it, and ``training.network.accelerated --teacher dinov2_small:NPZ`` has it teach. It is no backbone of a bundle:
it costs sixteen times what EfficientNetV2B0 does, and has no cut that a release is made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.model.formats import WEIGHTS
from training import command
from training.data.photo import SIDE
from training.output import write_weights

NAME = "dinov2_small"
WIDTH, HEADS, BLOCKS, PATCH = 384, 6, 12, 14
EPSILON = 1e-6
ENLARGED = 1.5
"""A photo is enlarged so far before it is cut into patches: 150 pixels become 224, 16 patches in a row."""

MASK = "embeddings.mask_token"
"""Of pre-training alone."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tokens(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """``(n, g, g, c)`` patches -> ``(n, 1 + g², c)``: a class token, then the patches, each with its position."""

    def build(self, shape: Any) -> None:
        """Zeros, until weights are loaded."""
        self.class_token = self.add_weight(shape=(1, 1, shape[-1]), name="class_token")
        self.positions = self.add_weight(shape=(1, 1 + shape[1] * shape[2], shape[-1]), name="positions")

    def call(self, patches: Any) -> Any:
        """See the class."""
        count, grid, width = ops.shape(patches)[0], patches.shape[1], patches.shape[-1]
        first = ops.broadcast_to(self.class_token, (count, 1, width))
        return ops.concatenate([first, ops.reshape(patches, (count, grid * grid, width))], axis=1) + self.positions


class LayerScale(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Every channel times a learned factor (Touvron et al., ICCV 2021)."""

    def build(self, shape: Any) -> None:
        """Ones, until weights are loaded."""
        self.factors = self.add_weight(shape=(shape[-1],), initializer="ones", name="factors")

    def call(self, tokens: Any) -> Any:
        """See the class."""
        return tokens * self.factors


class TokenMap(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """``(n, 1 + g², c)`` tokens -> ``(n, g, g, 2c)``: every patch beside the class token.

    The mean over places is then the mean patch beside the class token, which is what linear probes of DINOv2 take.
    """

    def call(self, tokens: Any) -> Any:
        """See the class."""
        count, places, width = ops.shape(tokens)[0], tokens.shape[1] - 1, tokens.shape[2]
        grid = round(places**0.5)
        both = ops.concatenate([tokens[:, 1:], ops.broadcast_to(tokens[:, :1], (count, places, width))], axis=-1)
        return ops.reshape(both, (count, grid, grid, 2 * width))


def build(side: int, weights: Path | None = None) -> keras.Model:
    """``(n, side, side, 3)`` pixels in 0..255 -> ``(n, g, g, 768)``, the last feature map.

    Args:
        side: height and width of the photo in pixels.
        weights: what `main` wrote for the same `side`; None: random ones.

    Raises:
        ConfigError: the weights are not its own.
    """
    grid = patches_in_a_row(side)
    photo = keras.Input((side, side, 3), name="photo")
    height = grid * PATCH
    x = keras.layers.Resizing(height, height, interpolation="bilinear", dtype="float32", name="enlarge")(photo)
    mean, std = (255 * np.array(values) for values in (IMAGENET_MEAN, IMAGENET_STD))
    x = keras.layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), dtype="float32", name="preprocess")(x)
    x = Tokens(name="tokens")(keras.layers.Conv2D(WIDTH, PATCH, PATCH, name="patches")(x))
    for number in range(BLOCKS):
        x = _block(x, f"block{number}")
    x = keras.layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    network = keras.Model(photo, TokenMap(name="map")(x), name=NAME)
    if weights is not None:
        try:
            network.load_weights(str(weights))
        except (ValueError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ConfigError(f"{NAME} cannot be built: {reason}", hint="check side and weights") from None
    return network


def patches_in_a_row(side: int) -> int:
    """Of a photo of `side` pixels, once it is enlarged."""
    return max(1, round(side * ENLARGED / PATCH))


def _block(x: Any, name: str) -> Any:
    """Attention, then two dense layers, each beside what goes past it."""
    layers = keras.layers
    normed = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm1")(x)
    seen = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"{name}_attention")(normed, normed)
    x = layers.Add(name=f"{name}_attended")([x, LayerScale(name=f"{name}_scale1")(seen)])
    wide = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm2")(x)
    wide = layers.Dense(4 * WIDTH, name=f"{name}_dense1")(wide)
    wide = layers.Activation("gelu", name=f"{name}_gelu")(wide)
    dense = layers.Dense(WIDTH, name=f"{name}_dense2")(wide)
    return layers.Add(name=f"{name}_add")([x, LayerScale(name=f"{name}_scale2")(dense)])


def load_safetensors(network: keras.Model, file: Path) -> None:
    """Give a network of `build` the weights of a published ``Dinov2Model``; its grid of positions is resampled.

    Raises:
        ConfigError: the file cannot be read, or holds no such weights: less, more, or of other shapes.
    """
    published = _Published(file)
    try:
        _load(network, published)
    except ValueError as error:  # of another shape
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(f"{file} does not fit: {reason}", hint=_WANTED) from None
    published.check_used()


def _load(network: keras.Model, published: _Published) -> None:
    patches = published["embeddings.patch_embeddings.projection.weight"].transpose(2, 3, 1, 0)
    network.get_layer("patches").set_weights([patches, published["embeddings.patch_embeddings.projection.bias"]])
    positions = _resampled(published["embeddings.position_embeddings"], patches_in_a_row(network.input_shape[1]))
    network.get_layer("tokens").set_weights([published["embeddings.cls_token"], positions])
    for number in range(BLOCKS):
        for layer, values in _block_weights(published, f"encoder.layer.{number}."):
            network.get_layer(f"block{number}_{layer}").set_weights(values)
    network.get_layer("norm").set_weights(published.pair("layernorm"))


def _block_weights(published: _Published, prefix: str) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    for number in (1, 2):
        yield f"norm{number}", published.pair(f"{prefix}norm{number}")
        yield f"scale{number}", [published[f"{prefix}layer_scale{number}.lambda1"]]
        yield f"dense{number}", published.dense(f"{prefix}mlp.fc{number}")
    into = [published.dense(f"{prefix}attention.attention.{name}") for name in ("query", "key", "value")]
    by_head = [values.reshape(*values.shape[:-1], HEADS, -1) for pair in into for values in pair]
    kernel, bias = published.dense(f"{prefix}attention.output.dense")
    yield "attention", [*by_head, kernel.reshape(HEADS, -1, WIDTH), bias]


def _resampled(positions: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """``(1, 1 + g², c)`` -> ``(1, 1 + grid², c)``; the class token keeps its own."""
    before = round((positions.shape[1] - 1) ** 0.5)
    squares = positions[:, 1:].reshape(1, before, before, WIDTH)
    resized = ops.image.resize(squares, (grid, grid), interpolation="bicubic", antialias=False)
    return np.concatenate([positions[:, :1], np.asarray(resized).reshape(1, grid * grid, WIDTH)], axis=1)


_WANTED = "give model.safetensors of dinov2-small"


class _Published:
    """The weights of a safetensors file by name, beneath whatever the model was part of."""

    def __init__(self, file: Path) -> None:
        import safetensors.numpy  # of the train extra, for this command alone

        try:
            self._values = safetensors.numpy.load_file(file)
        except (OSError, safetensors.SafetensorError) as error:
            raise ConfigError(f"cannot read {file}: {error}", hint=_WANTED) from None
        self._file, self._used = file, {MASK}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        found = [key for key in self._values if f".{key}".endswith(f".{name}")]
        if len(found) != 1:
            raise ConfigError(f"{self._file} does not hold {name}", hint=_WANTED)
        self._used.add(name)
        return np.asarray(self._values[found[0]], np.float32)

    def check_used(self) -> None:
        """Refuse another network of this family, which has more blocks, or tokens beside the patches.

        Raises:
            ConfigError: names a weight that was not asked for.
        """
        for key in sorted(self._values):
            part = f".{key}"
            of_network = ".embeddings." in part or ".encoder." in part
            if of_network and not any(part.endswith(f".{name}") for name in self._used):
                raise ConfigError(f"{self._file} also holds {key}, which {NAME} has not", hint=_WANTED)

    def pair(self, name: str) -> list[NDArray[np.float32]]:
        """Weight and bias."""
        return [self[f"{name}.weight"], self[f"{name}.bias"]]

    def dense(self, name: str) -> list[NDArray[np.float32]]:
        """Kernel ``(inputs, outputs)`` and bias of a linear layer."""
        weight, bias = self.pair(name)
        return [weight.T, bias]


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--safetensors", type=Path, required=True, help="model.safetensors of facebook/dinov2-small")
    parser.add_argument(
        "--side", type=command.whole(1), default=SIDE, help="height of a photo in pixels, which the network takes"
    )
    parser.add_argument("--out", type=Path, required=True, help="a file whose name ends in .weights.h5")
    args = parser.parse_args()
    if not args.out.name.endswith(WEIGHTS):
        raise ConfigError(f"{args.out} does not end in {WEIGHTS}", hint="Keras tells its files of weights by that")
    network = build(args.side)
    load_safetensors(network, args.safetensors)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(network, args.out)


if __name__ == "__main__":
    command.run(main)
