"""Files that are there whole or not at all, whoever is killed or writes the same file meanwhile."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def draft(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` when the block ends without an error, and goes otherwise.

    No two processes have the same draft, so several machines that share a folder may make one file at once: the last
    one's stays. The draft's name ends as `file`'s does, which says its format to whoever looks at it.
    """
    own = file.with_name(f"partial-{secrets.token_hex(8)}-{file.name}")
    try:
        yield own
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)


def write_whole(file: Path, text: str) -> None:
    """Write `text` to `file`, or leave it as it was."""
    with draft(file) as own:
        own.write_text(text, encoding="utf-8")
