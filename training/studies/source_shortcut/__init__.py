"""Ways against a network that learns the source of a photo for its label, side by side, each with sources held out."""
