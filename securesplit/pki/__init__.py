"""Certificates on disk: their profile, the folder they lie in, issuing, revoking, enrolling, and reading them back."""
