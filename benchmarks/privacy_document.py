"""Put an audit's figures into docs/privacy.md: ``python -m benchmarks.privacy_document AUDIT_FOLDER``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "privacy.md"
BEGIN, END = "<!-- audit: begin -->", "<!-- audit: end -->"


def put(audit: Path) -> None:
    """Replace what stands between the marks by ``report.md`` of the audit."""
    tables = (audit / "report.md").read_text(encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{tables}{END}", text, flags=re.DOTALL)
    DOCUMENT.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audit", type=Path, help="folder that `securesplit audit` wrote")
    chosen = parser.parse_args().audit
    if not (chosen / "report.md").is_file():
        parser.error(f"{chosen} holds no report.md")
    put(chosen)
