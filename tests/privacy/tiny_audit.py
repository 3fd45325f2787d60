"""``securesplit`` with the tiny audit in place of the quick one: ``python -m tests.privacy.tiny_audit audit ...``."""

from __future__ import annotations

import sys

from securesplit.audit import profile
from securesplit.cli.main import main
from securesplit_testing.audits import TINY

if __name__ == "__main__":
    profile.QUICK = TINY
    sys.exit(main())
