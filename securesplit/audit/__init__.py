"""``securesplit audit``: run the attacks against a bundle, on a user's own photos, and report what they got.

photos -> observations (what each preset releases) -> suite (attacks, resumable) -> judge -> JSON, plots, one HTML page.
Needs the extra ``securesplit[audit]``; A2 and A4 also need TensorFlow (``securesplit[train]``).
"""
