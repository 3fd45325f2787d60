"""Random views of the training photos, as Keras preprocessing layers: inside `tf.data`, or on any Keras backend.

The widths of ``student`` are ours, for the student project says of its augmentation only that it balanced the classes.
``dermoscopy`` adds any turn (a mole has no upright), zoom, and light with a colour cast, because the hospitals of the
public collections differ in colour and a network learns the hospital before it learns the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class Recipe:
    """How far a view may differ from its photo; shares of the photo's side, of a turn, and of the light."""

    flip: str
    turn: float
    shift: float
    zoom: float
    saturation: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    cast: float = 0.0


PLAIN: dict[str, Any] = {"dtype": "float32"}  # pixels keep their precision, whatever the network computes in
RECIPES = {
    "student": Recipe("horizontal", turn=0.05, shift=0.05, zoom=0.1),
    "dermoscopy": Recipe(
        *("horizontal_and_vertical", 0.5, 0.1, 0.28), saturation=0.25, contrast=0.25, brightness=0.12, cast=0.08
    ),
}


class Light(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Random saturation, contrast, brightness and colour cast of each photo, in operations that are cheap on a CPU."""

    def __init__(self, recipe: Recipe, strength: float, seed: int, **kwargs: Any) -> None:
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


def layers(name: str, strength: float, seed: int) -> list[keras.layers.Layer]:
    """Layers from frames ``(n, h, w, 3) float32`` in 0..255 to squares ``(n, h, h, 3)``; w ≥ h.

    Args:
        name: a key of `RECIPES`, or ``none`` for the centre square alone.
        strength: times the widths of the recipe; flips and, in ``dermoscopy``, any turn stay.
        seed: of the randomness.
    """
    if name == "none":
        return []
    recipe, fill = RECIPES[name], {"fill_mode": "reflect", "interpolation": "bilinear", **PLAIN}
    shift = min(0.5, recipe.shift * strength)
    turn = recipe.turn if recipe.turn == 0.5 else min(0.5, recipe.turn * strength)
    zoom = min(0.9, recipe.zoom * strength)
    stack: list[keras.layers.Layer] = [keras.layers.RandomFlip(recipe.flip, seed=seed, **PLAIN)]
    if shift:
        stack.append(keras.layers.RandomTranslation(shift, shift, seed=seed + 1, **fill))
    if turn:
        stack.append(keras.layers.RandomRotation(turn, seed=seed + 2, **fill))
    if zoom:
        stack.append(keras.layers.RandomZoom((-zoom, 0.0), seed=seed + 3, **fill))
    if recipe.cast and strength:
        stack.append(Light(recipe, strength, seed + 4, **PLAIN))
    return stack


class Views:
    """Frames -> random squares of the network's size, by `layers`, a crop and a resize.

    Args:
        name: a key of `RECIPES`, or ``none``.
        strength: see `layers`.
        frame: height and width of a photo in memory.
        side: of the squares that the network takes.
        seed: of the randomness.
    """

    def __init__(self, name: str, strength: float, frame: tuple[int, int], side: int, seed: int) -> None:
        height, width = frame
        self._random = layers(name, strength, seed)
        left = (width - height) // 2
        self._square = keras.layers.Cropping2D(((0, 0), (left, width - height - left)), **PLAIN)
        self._resize = keras.layers.Resizing(side, side, interpolation="bilinear", **PLAIN) if side != height else None

    def square(self, frames: Any) -> Any:
        """``(n, h, w, 3) float32`` -> random ``(n, h, h, 3)``."""
        for layer in self._random:
            frames = layer(frames, training=True) if not isinstance(layer, Light) else layer(frames)
        return self._square(frames)

    def fit(self, squares: Any) -> Any:
        """``(n, h, h, 3)`` -> ``(n, side, side, 3)``."""
        return squares if self._resize is None else self._resize(squares)
