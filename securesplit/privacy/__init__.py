"""Embedding -> release: clip, grid, exact noise; what it promises, what was spent, and the attacks that test it."""

from typing import Final

PRIVACY_LOGGER: Final = "securesplit.privacy"
"""Where people are told of what they would not expect of their privacy; without any logging set up, Python writes such
warnings to stderr."""
