"""Training of the preset ``encrypted``: an encoder on the device, and a quadratic tail that ciphertexts can bear."""
