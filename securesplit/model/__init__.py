"""Pixels -> embedding, release -> logit: the two halves of one network, as a bundle on disk."""

from securesplit.model.bundle import Bundle
from securesplit.model.manifest import Manifest
from securesplit.model.presets import Calibration, NoiseCalibration, Preset

__all__ = ["Bundle", "Calibration", "Manifest", "NoiseCalibration", "Preset"]
