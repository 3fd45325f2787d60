"""NoPeek (Vepakomma et al., ICDM workshops 2020, arXiv 2008.09161): press the correlation of release and picture.

Its loss is α · dCor(x, z) + task, with the distance correlation (Székely et al. 2007) of a batch's photos and releases.
Here x is the picture of 32 pixels, and α what the controller finds.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from training.release.guarded.press import EncoderStage
from training.release.regularizers import distance_correlation_of
from training.studies.defences.defence import Defence, plain

TERM = "distance correlation"


class NoPeek(EncoderStage):
    """Encoder and probe, and the squared distance correlation of release and picture."""

    def ratios(self, batch: dict[str, Any], sent: Any) -> dict[str, Any]:
        """That of the batch, 0 to 1."""
        flat = (tf.reshape(values, [tf.shape(values)[0], -1]) for values in (batch["thumbs"], sent))
        return {TERM: distance_correlation_of(*flat)}

    def penalty(self, _batch: dict[str, Any], _sent: Any, ratios: dict[str, Any]) -> Any:
        """The same."""
        return ratios[TERM]


DEFENCE = Defence("nopeek", "NoPeek", "Vepakomma et al. 2020", plain(NoPeek))
