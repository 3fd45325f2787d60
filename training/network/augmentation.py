"""Random views of the training photos, as Keras preprocessing layers: inside `tf.data`, or on any Keras backend.

The widths of ``student`` are ours, for the student project says of its augmentation only that it balanced the classes.
``dermoscopy`` adds any turn (a mole has no upright), zoom, and light with a colour cast, because the hospitals of the
public collections differ in colour and a network learns the hospital before it learns the lesion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class AugmentationRecipe:
    """How far a view may differ from its photo; shares of the photo's side, of a turn, and of the light.

    Attributes:
        sharpness: a view is blurred or sharpened by up to this share of what a 3×3 mean takes away.
        frame: share of the views that get the round dark frame of a dermatoscope.
    """

    flip: str
    turn: float
    shift: float
    zoom: float
    saturation: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    cast: float = 0.0
    sharpness: float = 0.0
    frame: float = 0.0


ANY_TURN = 0.5
PLAIN: dict[str, Any] = {"dtype": "float32"}  # pixels keep their precision, whatever the network computes in
RECIPES = {
    "student": AugmentationRecipe("horizontal", turn=0.05, shift=0.05, zoom=0.1),
    "dermoscopy": AugmentationRecipe(
        *("horizontal_and_vertical", ANY_TURN, 0.1, 0.28), saturation=0.25, contrast=0.25, brightness=0.12, cast=0.08
    ),
    "cameras": AugmentationRecipe(
        *("horizontal_and_vertical", ANY_TURN, 0.1, 0.35),
        saturation=0.4,
        contrast=0.4,
        brightness=0.2,
        cast=0.15,
        sharpness=0.9,
        frame=0.25,
    ),
}


class RandomAffine(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Random flip, shift, turn and zoom of each photo about its centre; beyond its edges a photo is its mirror image.

    One transform, hence one interpolation: several would blur the photo several times.
    """

    def __init__(self, recipe: AugmentationRecipe, strength: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.shift = min(0.5, recipe.shift * strength)
        self.turn = recipe.turn if recipe.turn == ANY_TURN else min(ANY_TURN, recipe.turn * strength)
        self.zoom = min(0.9, recipe.zoom * strength)
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, photos: Any) -> Any:
        """``(n, h, w, 3) float32`` -> the same."""
        count, height, width = ops.shape(photos)[0], photos.shape[1], photos.shape[2]
        angle = 2 * math.pi * self._uniform(count, -self.turn, self.turn)
        scale = self._uniform(count, 1 - self.zoom, 1)
        across = scale * self._sign(count, "horizontal")
        down = scale * self._sign(count, "vertical")
        x, y = (width - 1) / 2, (height - 1) / 2
        rows = []
        for to_x, to_y, middle in (
            (across * ops.cos(angle), -down * ops.sin(angle), x),
            (across * ops.sin(angle), down * ops.cos(angle), y),
        ):
            shift = height * self._uniform(count, -self.shift, self.shift)
            rows += [to_x, to_y, middle - to_x * x - to_y * y + shift]
        transform = ops.stack([*rows, *[ops.zeros_like(angle)] * 2], axis=1)
        return ops.image.affine_transform(photos, transform, interpolation="bilinear", fill_mode="reflect")

    def _sign(self, count: Any, direction: str) -> Any:
        flipped = -1.0 if direction in self.recipe.flip else 1.0
        return ops.where(self._uniform(count, 0, 1) < 0.5, flipped, 1.0)

    def _uniform(self, count: Any, low: float, high: float) -> Any:
        return keras.random.uniform((count,), low, high, seed=self.seeds)


class ColorJitter(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Random saturation, contrast, brightness and colour cast of each photo, in operations that are cheap on a CPU."""

    def __init__(self, recipe: AugmentationRecipe, strength: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.strength = strength
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, photos: Any) -> Any:
        """``(n, h, w, 3) float32`` in 0..255 -> the same."""
        count = ops.shape(photos)[0]
        grey = ops.mean(photos, axis=-1, keepdims=True)
        photos = grey + (photos - grey) * self._factor((count, 1, 1, 1), self.recipe.saturation)
        mean = ops.mean(photos, axis=(1, 2), keepdims=True)
        photos = mean + (photos - mean) * self._factor((count, 1, 1, 1), self.recipe.contrast)
        light = self._factor((count, 1, 1, 3), self.recipe.cast) * self._factor(
            (count, 1, 1, 1), self.recipe.brightness
        )
        return ops.clip(photos * light, 0.0, 255.0)

    def _factor(self, shape: tuple[Any, ...], half_width: float) -> Any:
        half = half_width * self.strength
        return keras.random.uniform(shape, 1 - half, 1 + half, seed=self.seeds)


class Camera(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Random sharpness of each photo, and the round dark frame of a dermatoscope around some of them.

    Collections differ in both, and in how many of their lesions are malignant, so a network could learn either instead.
    """

    def __init__(self, recipe: AugmentationRecipe, strength: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sharpness = min(1.0, recipe.sharpness * strength)
        self.frame = recipe.frame
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, photos: Any) -> Any:
        """``(n, h, w, 3) float32`` in 0..255 -> the same."""
        count, height, width = ops.shape(photos)[0], photos.shape[1], photos.shape[2]
        share = keras.random.uniform((count, 1, 1, 1), -self.sharpness / 2, self.sharpness, seed=self.seeds)
        blurred = ops.average_pool(photos, 3, strides=1, padding="same")
        photos = ops.clip(photos + share * (blurred - photos), 0.0, 255.0)
        y, x = (ops.arange(length, dtype="float32") / height for length in (height, width))
        radius, down, across, wanted = (
            keras.random.uniform((count, 1, 1), low, high, seed=self.seeds)
            for low, high in ((0.46, 0.68), (0.45, 0.55), (0.45, 0.55), (0, 1))
        )
        middle = width / height / 2 - 0.5
        distance = ops.sqrt((y[None, :, None] - down) ** 2 + (x[None, None, :] - middle - across) ** 2)
        outside = ops.clip((distance - radius) * height / 2, 0.0, 1.0) * ops.cast(wanted < self.frame, "float32")
        return photos * (1 - outside[..., None])


class HairOverlay(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Dark hairs drawn over each photo, from none to `most`: parabolas anywhere, one to three pixels of 150 wide.

    Hairs lie over many moles and say nothing about them; drawing some teaches a network to look past them (the winners
    of SIIM-ISIC 2020 pasted photographed ones, Ha, Liu, Liu, arXiv:2010.05351).
    """

    def __init__(self, most: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, photos: Any) -> Any:
        """``(n, h, w, 3) float32`` in 0..255 -> the same."""
        count, height, width = ops.shape(photos)[0], photos.shape[1], photos.shape[2]
        y, x = (ops.arange(length, dtype="float32") / height for length in (height, width))
        wanted = keras.random.uniform((count, 1, 1), 0, self.most + 1, seed=self.seeds)
        for number in range(self.most):
            turn, left, top, bend, thick, dark = (
                keras.random.uniform((count, 1, 1), low, high, seed=self.seeds)
                for low, high in ((0, 6.2832), (0, width / height), (0, 1), (-1, 1), (0.004, 0.01), (0.1, 0.4))
            )
            along = ops.cos(turn) * (x[None, None, :] - left) + ops.sin(turn) * (y[None, :, None] - top)
            across = ops.cos(turn) * (y[None, :, None] - top) - ops.sin(turn) * (x[None, None, :] - left)
            distance = ops.abs(across - bend * along**2) / ops.sqrt(1 + (2 * bend * along) ** 2)
            drawn = ops.cast(wanted >= number + 1, "float32") * ops.clip(1.5 - distance / thick, 0.0, 1.0)
            photos = photos * (1 - (drawn * (1 - dark))[..., None])
        return photos


def layers(name: str, strength: float, seed: int, hairs: int = 0) -> list[keras.layers.Layer]:
    """Layers from frames ``(n, h, w, 3) float32`` in 0..255 to squares ``(n, h, h, 3)``; w ≥ h.

    Args:
        name: a key of `RECIPES`, or ``none`` for the centre square alone.
        strength: times the widths of the recipe; flips and, in ``dermoscopy``, any turn stay.
        seed: of the randomness.
        hairs: at most so many are drawn over a frame.
    """
    if name == "none":
        return []
    recipe = RECIPES[name]
    stack: list[keras.layers.Layer] = [RandomAffine(recipe, strength, seed, **PLAIN)]
    if recipe.cast and strength:
        stack.append(ColorJitter(recipe, strength, seed + 1, **PLAIN))
    if recipe.sharpness and strength:
        stack.append(Camera(recipe, strength, seed + 3, **PLAIN))
    if hairs:
        stack.append(HairOverlay(hairs, seed + 2, **PLAIN))
    return stack


class Views:
    """Frames -> random squares of the network's size, by `layers`, a crop and a resize.

    Args:
        name: a key of `RECIPES`, or ``none``.
        strength: see `layers`.
        frame: height and width of a photo in memory.
        side: of the squares that the network takes.
        seed: of the randomness.
        hairs: see `layers`.
    """

    def __init__(
        self, name: str, strength: float, frame: tuple[int, int], side: int, seed: int, hairs: int = 0
    ) -> None:
        height, width = frame
        self.layers = layers(name, strength, seed, hairs)
        left = (width - height) // 2
        self._square = keras.layers.Cropping2D(((0, 0), (left, width - height - left)), **PLAIN)
        self._resize = keras.layers.Resizing(side, side, interpolation="bilinear", **PLAIN) if side != height else None

    def square(self, frames: Any) -> Any:
        """``(n, h, w, 3) float32`` -> random ``(n, h, h, 3)``."""
        for layer in self.layers:
            frames = layer(frames)
        return self._square(frames)

    def fit(self, squares: Any) -> Any:
        """``(n, h, h, 3)`` -> ``(n, side, side, 3)``."""
        return squares if self._resize is None else self._resize(squares)
