"""``make messages``: bring the catalogues under ``securesplit/locale`` up to date with the texts in the code.

New messages come with an empty translation, those that the code has no more go, and the order is that of the texts, so
that two branches seldom touch the same lines. `tests/test_i18n.py` refuses an empty translation.
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from securesplit import i18n
from tests.conftest import REPO

METHODS = [("**.py", "python"), ("**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "gettext_noop": None, "ngettext": (1, 2)}
HEAD = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: {language}\\n"
"Plural-Forms: {plural_forms}\\n"

"""


def messages() -> Catalog:
    """Every message in the code."""
    found = Catalog()
    for _, _, message, _, _ in extract_from_dir(
        REPO / "securesplit", METHODS, keywords=KEYWORDS, directory_filter=None
    ):
        found.add(message)
    return found


def updated(path: Path) -> str:
    """The content of a catalogue with the messages that there are now."""
    with path.open("rb") as stream:
        known = read_po(stream, locale=path.stem)
    catalog = Catalog(locale=path.stem)
    for message in messages():
        if message.id:
            before = known.get(message.id)
            catalog.add(message.id, before.string if before is not None else None)
    written = io.BytesIO()
    write_po(written, catalog, width=120, sort_output=True, omit_header=True)
    head = HEAD.format(language=path.stem, plural_forms=known.plural_forms)
    return head + written.getvalue().decode().strip() + "\n"


def main() -> None:
    """Update them all."""
    for path in sorted(i18n.FOLDER.glob("*.po")):
        path.write_text(updated(path), encoding="utf-8")


if __name__ == "__main__":
    main()
