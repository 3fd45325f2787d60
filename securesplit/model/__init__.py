"""Pixels -> embedding, release -> logit: the two halves of one network, as a bundle on disk."""

from securesplit.model.bundle import Bundle
from securesplit.model.manifest import Calibration, Manifest, Preset, Reading

__all__ = ["Bundle", "Calibration", "Manifest", "Preset", "Reading"]
