"""The index of decisions, made from their first lines: ``python docs/adr_index.py`` writes docs/adr/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "adr"
INDEX = "README.md"
HEAD = re.compile(r"# (\d{3}): (.+)\n\n- Status: (.+)\n- Date: (\d{4}-\d{2}-\d{2})\n\n")
INTRODUCTION = """# Decisions

Why things are as they are (architecture decision records). A decision that no longer holds is superseded, not deleted.
Begin a new one with a copy of [the template](000-template.md), then run `python docs/adr_index.py`.

| number | decision | status | date |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Decision:
    """The first lines of one record."""

    file: str
    number: str
    title: str
    status: str
    date: str

    @classmethod
    def read(cls, path: Path) -> Decision:
        """Raises ValueError where the first lines are not as in the template."""
        found = HEAD.match(path.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{path.name} does not begin like docs/adr/000-template.md")
        return cls(path.name, *found.groups())

    def row(self) -> str:
        """A line of the index."""
        return f"| {self.number} | [{self.title}]({self.file}) | {self.status} | {self.date} |\n"


def decisions() -> list[Decision]:
    """All records but the template, by number."""
    return [Decision.read(path) for path in sorted(FOLDER.glob("[0-9]*.md")) if not path.name.startswith("000-")]


def index() -> str:
    """The text of docs/adr/README.md."""
    return INTRODUCTION + "".join(decision.row() for decision in decisions())


if __name__ == "__main__":
    (FOLDER / INDEX).write_text(index(), encoding="utf-8")
