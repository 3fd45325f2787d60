"""What the training of `guarded` presses: each adversary's error beside what its class alone would give.

Every measure is a *ratio*, error of the adversary over the error of the baseline: 1 is what the label gives away by
itself, below 1 the release gives more. `gain` is what of it counts: nothing once the adversary has no more than the
label, so no term pays for a release that says less than that. Any Keras backend; pictures are ``(n, 32, 32, 3)`` in
0..1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

GRID = 8
"""Steps of the integer grid from 0 to 1; noise and release are whole numbers of them."""
SSIM_WINDOW = 7
TEMPERATURE = 0.1
"""Of the contrast between views of one lesion and those of others."""
LEAST_VARIANCE = 1e-6
TINY = 1e-30


def on_grid(releases: Any, noise: Any) -> Any:
    """The release that is sent: `releases` in -1..1 and normal `noise`, rounded to the grid; gradients pass through.

    On a grid of 1/8 and at σ of two steps and more, a rounded normal and the discrete Gaussian that the device draws
    differ by less than training can see.

    Args:
        releases: ``(n, size, size, channels)``.
        noise: the same shape, in steps of the grid.
    """
    sent = (ops.round(releases * GRID) + ops.round(noise)) / GRID
    return releases + ops.stop_gradient(sent - releases)


def divergence(logits: Any, targets: Any) -> Any:
    """Kullback-Leibler divergence of the answer from the target, ``(n,)`` each, in nats: 0 where they agree."""
    costs = ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits))
    return ops.mean(costs + _negative_entropy(targets) + _negative_entropy(1 - targets))


def _negative_entropy(share: Any) -> Any:
    return share * ops.log(ops.maximum(share, TINY))


def luminance(pictures: Any) -> Any:
    """``(n, h, w, 3)`` -> ``(n, h, w, 1)``, ITU-R BT.601."""
    return pictures @ ops.convert_to_tensor([[0.299], [0.587], [0.114]], "float32")


def without_mean(pictures: Any) -> Any:
    """Each picture less its own mean: what is left of it when its light is not counted."""
    return pictures - ops.mean(pictures, axis=(1, 2), keepdims=True)


def ssim(first: Any, second: Any) -> Any:
    """Structural similarity of ``(n, h, w, c)`` in 0..1, in windows of 7×7, its mean (Wang et al. 2004)."""

    def mean(values: Any) -> Any:
        return ops.average_pool(values, SSIM_WINDOW, strides=1, padding="valid")

    one, two = mean(first), mean(second)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    spread = sample * (mean(first**2) + mean(second**2) - one**2 - two**2)
    together = sample * (mean(first * second) - one * two)
    similar = (2 * one * two + 0.01**2) * (2 * together + 0.03**2)
    return ops.mean(similar / ((one**2 + two**2 + 0.01**2) * (spread + 0.03**2)))


def rebuilding_ratio(kind: str, answer: Any, pictures: Any, class_means: Any) -> Any:
    """Error of a rebuilder over the error of the class mean.

    Args:
        kind: ``luminance`` scores grey pictures less their light, ``structure`` 1 - SSIM of grey ones, any other name
            the squared error in colour.
        answer: what the adversary adds to the class mean.
        pictures: ``(n, 32, 32, 3)``.
        class_means: of the class of each, the same shape.
    """
    if kind == "structure":
        truth, baseline = luminance(pictures), luminance(class_means)
        return (1 - ssim(baseline + answer, truth)) / (1 - ssim(baseline, truth))
    if kind == "luminance":
        pictures, class_means = (without_mean(luminance(images)) for images in (pictures, class_means))
        answer = without_mean(answer)
    return _error_ratio(class_means + answer - pictures, class_means - pictures)


def _error_ratio(errors: Any, baseline: Any) -> Any:
    return ops.mean(errors**2) / (ops.mean(baseline**2) + LEAST_VARIANCE)


def secrets_of(pictures: Any) -> Any:
    """``(n, 32, 32, 3)`` -> ``(n, 4)``: tone of the skin, contrast, redness and size of the lesion.

    Tone is the mean luminance of a border of three pixels, contrast what the middle is darker, redness how far red
    exceeds green and blue there, size the share of the picture that is clearly darker than the border.
    """
    grey = luminance(pictures)[..., 0]
    edge = np.ones(grey.shape[1:], np.float32)
    edge[3:-3, 3:-3] = 0
    tone = ops.sum(grey * edge, axis=(1, 2)) / edge.sum()
    middle = pictures[:, 10:-10, 10:-10]
    contrast = tone - ops.mean(grey[:, 10:-10, 10:-10], axis=(1, 2))
    redness = ops.mean(middle[..., 0] - (middle[..., 1] + middle[..., 2]) / 2, axis=(1, 2))
    size = ops.mean(ops.sigmoid(30 * (tone[:, None, None] - grey - 0.08)), axis=(1, 2))
    return ops.stack([tone, contrast, redness, size], axis=1)


def secrets_ratio(answer: Any, secrets: Any, class_means: Any) -> Any:
    """``(4,)``: squared error of the predicted properties over that of their class means, each ``(n, 4)``.

    The adversary answers in units of the spread, so that no property is too small to be learned.
    """
    baseline = secrets - class_means
    spread = ops.stop_gradient(ops.sqrt(ops.mean(baseline**2, axis=0) + LEAST_VARIANCE))
    return ops.mean((answer - baseline / spread) ** 2, axis=0)


def linking_ratio(first: Any, second: Any, labels: Any) -> Any:
    """InfoNCE between views of one lesion, over what guessing within its class would cost.

    Args:
        first: ``(n, d)`` embeddings.
        second: of another view of the same lesions, in the same order.
        labels: ``(n,)``; only lesions of one class are told apart, for the class is no secret.
    """
    alike = labels[:, None] == labels[None, :]
    scores = ops.where(alike, first @ ops.transpose(second) / TEMPERATURE, -1e9)
    costs = -ops.diagonal(ops.log_softmax(scores, axis=1))
    guess = ops.mean(ops.log(ops.sum(ops.cast(alike, "float32"), axis=1)))
    return ops.mean(costs) / (guess + LEAST_VARIANCE)


def gain(ratio: Any, allowed: float = 0.0) -> Any:
    """What an adversary gets beyond baseline and `allowed`, 0 to 1, mean of all ratios; flat where it gets no more."""
    return ops.mean(ops.relu(1 - allowed - ratio))
