"""From trained networks to a bundle: export, calibration, presets with halves of their own, the attack decoder."""
