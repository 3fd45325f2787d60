"""The preset ``guarded`` of a bundle: a head that ends earlier, and a tail that does half of the network's work.

The other presets share ``head.tflite`` and ``tail.tflite``. This one is cut elsewhere, so it has halves of its own:
``guarded_head.tflite`` (device) gives its embedding, already on the grid, and the map of its cut, which
``guarded_gate.json`` reads; so the device never runs the later layers that the common gate needs.
``guarded_tail.tflite`` (worker) holds the rest of the network.

Both halves belong to the bundle's identity. A manifest that names them has a schema of its own: an earlier version
would look for the preset in the common halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from securesplit.privacy.release import ReleaseSpec

PRESET: Final = "guarded"
"""The name of the preset, and of the manifest's section."""
HEAD, TAIL, GATE = "guarded_head.tflite", "guarded_tail.tflite", "guarded_gate.json"


def check(specs: Mapping[str, ReleaseSpec], *, has_section: bool) -> None:
    """Compare the presets of a manifest with whether it has a section ``guarded``.

    Raises:
        ValueError: they contradict each other.
    """
    if has_section != (PRESET in specs):
        raise ValueError("a guarded preset needs a section guarded, and such a section the preset")
    if PRESET in specs and not specs[PRESET].sigma_per_clip:
        raise ValueError("a guarded release has no noise")
