"""What is trained behind the network for each preset: encoders, noise in the loop, quantizer, adversaries."""
