"""``make messages``: bring the catalogues under ``securesplit/locale`` up to date with the texts in the code.

New messages come with an empty translation, those that the code has no more go, and the order is that of the texts, so
that two branches seldom touch the same lines. `tests/test_i18n.py` refuses an empty translation.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
from collections.abc import Collection
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from securesplit import i18n
from tests.conftest import REPO

METHODS = [("**.py", "python"), ("**.html", "jinja2")]
ERRORS = {"PhotoError", "UnreachableError", "TrustError", "WorkerError", "BudgetError", "OutputError"}
TABLES = {"SERVER_REFUSED", "CLIENT_REFUSED"}
ERRORS_IN = {"imaging", "transport", "privacy", "channel", "pki", "device", "errors.py", "cli"}
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


def errors(parts: Collection[str] = ERRORS_IN) -> set[str]:
    """Causes and hints of errors that a photo or a worker gives a person, values as ``{0}``, ``{1}``...

    They are found without a mark where they are raised. One without a translation is shown in English, so
    `make messages` keeps those that are there and adds none.

    Args:
        parts: folders and files of the package in which they are raised.
    """
    found = set()
    for path in sorted((REPO / "securesplit").rglob("*.py")):
        if path.relative_to(REPO / "securesplit").parts[0] in parts:
            found |= _errors_of(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _errors_of(tree: ast.Module) -> set[str]:
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name, value in _named(target, node.value):
                    named.setdefault(name, []).append(value)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ERRORS]
    given = [text for call in calls for text in (*call.args[:1], *(k.value for k in call.keywords if k.arg == "hint"))]
    given += [text for table in TABLES & set(named) for value in named[table] for text in _cells(value)]
    texts = {_template(found) for text in given for found in _meant(text, named)}
    return {text for text in texts if " " in text and re.search(r"[a-z]{2,}", text)}


def _named(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    """Names and what is assigned to each; of a tuple, one after the other."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [pair for each in zip(target.elts, value.elts, strict=False) for pair in _named(*each)]
    return [(target.id, value)] if isinstance(target, ast.Name) else []


def _meant(text: ast.expr, named: dict[str, list[ast.expr]]) -> list[ast.expr]:
    """What a text may be: both sides of a condition, and whatever a name is anywhere in the module."""
    if isinstance(text, ast.IfExp):
        return [found for side in (text.body, text.orelse) for found in _meant(side, named)]
    if isinstance(text, ast.Name):
        return [side for value in named.get(text.id, []) for side in _meant(value, {})]
    return [text]


def _cells(table: ast.expr) -> list[ast.expr]:
    """Cause and hint of each row: ``NUMBER: (reason, cause, hint)``."""
    rows = table.values if isinstance(table, ast.Dict) else []
    return [cell for row in rows if isinstance(row, ast.Tuple) for cell in row.elts[1:]]


def _template(text: ast.expr) -> str:
    """A literal, or an f-string with its values numbered; anything else is none."""
    if isinstance(text, ast.Constant):
        return str(text.value).replace("{name}", "{0}")
    parts = text.values if isinstance(text, ast.JoinedStr) else []
    numbers = itertools.count()
    return "".join(str(part.value) if isinstance(part, ast.Constant) else f"{{{next(numbers)}}}" for part in parts)


def updated(path: Path) -> str:
    """The content of a catalogue with the messages that there are now."""
    with path.open("rb") as stream:
        known = read_po(stream, locale=path.stem)
    catalog = Catalog(locale=path.stem)
    for message in messages():
        if message.id:
            before = known.get(message.id)
            catalog.add(message.id, before.string if before is not None else None)
    for message_id in sorted(errors()):
        if (before := known.get(message_id)) is not None and before.string:
            catalog.add(message_id, before.string)
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
