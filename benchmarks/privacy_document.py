"""Put an audit's figures between the two marks of a document: ``python -m benchmarks.privacy_document AUDIT_FOLDER``.

They go into ``docs/privacy.md``, or into another one by ``--document docs/guarded.md``.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from training import command

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "privacy.md"
WIDTH = 120
BEGIN, END = "<!-- audit: begin -->", "<!-- audit: end -->"


def put(audit: Path, document: Path) -> None:
    """Replace what stands between the marks of `document` by ``report.md`` of the audit."""
    lines = (audit / "report.md").read_text(encoding="utf-8").splitlines()
    tables = "".join((line if line.startswith("|") else textwrap.fill(line, WIDTH)) + "\n" for line in lines)
    text = document.read_text(encoding="utf-8")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{tables}{END}", text, flags=re.DOTALL)
    document.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("audit", type=Path, help="folder that `securesplit audit` wrote")
    parser.add_argument(
        "--document", type=Path, default=DOCUMENT, help="with the two marks; by default docs/privacy.md"
    )
    args = parser.parse_args()
    if not (args.audit / "report.md").is_file():
        parser.error(f"{args.audit} holds no report.md")
    if not args.document.is_file() or BEGIN not in args.document.read_text(encoding="utf-8"):
        parser.error(f"{args.document} has no {BEGIN}")
    put(args.audit, args.document)
