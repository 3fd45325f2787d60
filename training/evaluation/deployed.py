"""Measure a bundle as it is deployed: LiteRT halves, integer releases, exact noise.

Nothing here touches Keras: photo -> head -> release -> tail -> logit, as on a device and a worker. The tail of an
encrypted preset is evaluated in the open, on the integers that a device would encrypt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec, release, saturate, to_grid
from training.data.dataset import Split, centre_square

SECRET = b"securesplit evaluation secret 01"
"""32 bytes that key the noise of a measurement: one that is repeated shows the same draw."""
DRAWS = 16
"""Of the noise of each photo: one alone moves an AUC by tenths of a point (ADR 127)."""

Embeddings = Mapping[str, Sequence[NDArray[np.float32]]]
"""By preset, the embedding of every photo."""


def draws_of(spec: ReleaseSpec) -> list[bytes]:
    """The secrets whose noise a release is measured with: `DRAWS` of them, or one where it has no noise."""
    return [bytes([draw]) + SECRET[1:] for draw in range(DRAWS if spec.sigma_per_clip else 1)]


def embed(bundle: Bundle, split: Split) -> Embeddings:
    """What the head makes of every photo; photos wider than high are cut to their centre square."""
    head = bundle.open_head()
    embedded = [head(photo) for photo in centre_square(split.pixels)]
    return {name: [found[name] for found in embedded] for name in bundle.presets}


def drawn_logits(
    bundle: Bundle,
    spec: ReleaseSpec,
    split: Split,
    embeddings: Sequence[NDArray[np.float32]],
    secrets: Sequence[bytes],
) -> NDArray[np.float32]:
    """Logits of malignant under draws of the noise, ``(draws * n,) float32``, all photos of a draw together.

    Args:
        bundle: with both halves.
        spec: of the preset, with whatever noise.
        split: photos wider than high are cut to their centre square.
        embeddings: of that preset, see `embed`.
        secrets: 32 bytes each; every one is a draw.
    """
    answer = ReleaseAnswers(bundle, split)
    return np.concatenate([answer(spec, embeddings, NoiseSource(secret)) for secret in secrets]).astype(np.float32)


def measured_logits(
    bundle: Bundle, split: Split, presets: Sequence[str] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Logits by preset as figures are measured, ``(draws * n,) float32``: under each of `draws_of`, a draw together.

    Args:
        bundle: with both halves.
        split: photos wider than high are cut to their centre square.
        presets: of the bundle; None: all.
    """
    embeddings = embed(bundle, split)
    specs = {name: bundle.presets[name].spec for name in (bundle.presets if presets is None else presets)}
    return {name: drawn_logits(bundle, spec, split, embeddings[name], draws_of(spec)) for name, spec in specs.items()}


def noise_free_logits(bundle: Bundle, name: str, embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits of one preset, ``(n,) float32``, had the device added no noise; all else as it is deployed."""
    tail, spec = bundle.open_measured_tail(threads=2), bundle.presets[name].spec
    sent = [saturate(to_grid(embedding, spec), spec) for embedding in embeddings]
    return np.array([float(tail(name, each[None])[0]) for each in sent], np.float32)


class ReleaseAnswers:
    """Embeddings -> releases with their noise -> logits of the tail; equal releases are computed once."""

    def __init__(self, bundle: Bundle, split: Split) -> None:
        self._identity, self._tail = bundle.identity, bundle.open_measured_tail(threads=2)
        self._photos = centre_square(split.pixels)
        self._known: dict[tuple[str, bytes], float] = {}

    def __call__(
        self, spec: ReleaseSpec, embeddings: Sequence[NDArray[np.float32]], source: NoiseSource
    ) -> list[float]:
        """One logit a photo."""
        logits = []
        for photo, embedding in zip(self._photos, embeddings, strict=True):
            sent = release(embedding, spec, source.sampler(photo, self._identity, spec))
            key = spec.preset, sent.tobytes()
            if key not in self._known:
                self._known[key] = float(self._tail(spec.preset, sent[None])[0])
            logits.append(self._known[key])
        return logits
