"""The index of decisions, made from their first lines: ``python docs/adr_index.py`` writes docs/adr/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "adr"
INDEX = "README.md"
HEAD = re.compile(r"# (\d{3}): (.+)\n\n- Status: (.+)\n- Date: (\d{4}-\d{2}-\d{2})\n\n")
INTRODUCTION = """# Decisions

Why things are as they are (architecture decision records). A decision that no longer holds is superseded, not deleted,
and its status says by which; `private` in records up to 100 is the preset `certified` of today. Begin a new one with a
copy of [the template](000-template.md), then run `python docs/adr_index.py`.

"""
BEGIN_WITH = {
    "095": "the packages, and who may import whom",
    "040": "where a network can be split at all",
    "104": "the default preset: how a worker computes on what it cannot read",
    "119": "why that is the default",
    "006": "the preset with a proven bound, now `certified`: one integer of six values",
    "031": "why asking again reveals nothing new",
    "010": "the channel, and why it is no TLS stream",
    "020": "why requests are computed in processes that hold no key",
    "032": "how privacy is measured",
    "167": "which network ships, and why",
}
"""Ten records that explain the most, in the order in which they are best read, with what each is about."""
TABLE = "| number | decision | status | date |\n|---|---|---|---|\n"


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
    every = {decision.number: decision for decision in decisions()}
    first = "".join(f"| [{every[n].title}]({every[n].file}) | {about} |\n" for n, about in BEGIN_WITH.items())
    return (
        f"{INTRODUCTION}## Ten to begin with\n\n| decision | about |\n|---|---|\n{first}"
        f"\n## All\n\n{TABLE}{''.join(decision.row() for decision in every.values())}"
    )


if __name__ == "__main__":
    (FOLDER / INDEX).write_text(index(), encoding="utf-8")
