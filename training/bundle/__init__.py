"""From trained networks to a bundle: export, calibration, the attack decoder, the shipped bundle."""
