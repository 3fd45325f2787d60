"""What ``import securesplit`` offers, before any of it is used."""

from __future__ import annotations

import json
import subprocess
import sys


def test_shells_and_notebooks_complete_public_names():
    """In a process of its own, for a name that was used is listed anyway."""
    code = "import json, securesplit; print(json.dumps([dir(securesplit), securesplit.__all__]))"
    listed, public = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert set(public) <= set(listed)
