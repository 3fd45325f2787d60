"""Texts for people in their language, after gettext's model: English stands in the code, ``.po`` files translate it.

    from securesplit.i18n import gettext as _, ngettext

    _("picture: {path}", path=path)
    ngettext("{n} photo", "{n} photos", n)

`securesplit/locale` holds the languages that come with the package. Another one is a file ``LANGUAGE.po`` in a folder
that the caller names; it also goes before one of the package. A message without a translation stays English.

- The language is chosen per context (`contextvars`), so a server may answer each request in another one.
- An entry whose placeholders are not those of the English text is left out: no translation can make a text fail.
- What programs read (JSON, csv, logs of the worker) is never translated.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gettext as _gettext
import io
import re
import string
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securesplit.errors import ConfigError
from securesplit.text import from_utf8

ENGLISH: Final = "en"
FOLDER: Final = Path(__file__).parent / "locale"
MAX_BYTES: Final = 1 << 20
VARIABLES: Final = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""As gettext has them, the first that is set counts."""

_TAG: Final = re.compile(r"[a-z]{2,3}(_[A-Za-z0-9]{2,8})*")
_LINE: Final = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?)\s+)?("(?:[^"\\]|\\.)*")\s*')
_FUZZY: Final = "#, fuzzy"
_NUMBERED: Final = re.compile(r"\\\{(\d)\\\}")

Entry = dict[str, str]
"""The keywords of one entry of a ``.po`` file and their texts."""


@dataclass(frozen=True)
class Catalogue:
    """The texts of one language.

    Attributes:
        language: its tag.
        texts: by message.
        patterns: of messages with numbered placeholders, the longest first, with their translations.
    """

    language: str
    texts: _gettext.NullTranslations
    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()


_ENGLISH: Final = Catalogue(ENGLISH, _gettext.NullTranslations())
_current: ContextVar[Catalogue] = ContextVar("language", default=_ENGLISH)


def gettext(message: str, /, **values: object) -> str:
    """The message in the current language, with `values` for its placeholders; whole numbers are written 1,234."""
    text = _current.get().texts.gettext(message)
    return text.format(**_written(values)) if values else text


def ngettext(one: str, many: str, n: int, /, **values: object) -> str:
    """The message in the form that `n` asks for in the current language; ``{n}`` stands for the number itself."""
    return _current.get().texts.ngettext(one, many, n).format(**_written({"n": n, **values}))


def _written(values: Mapping[str, object]) -> dict[str, object]:
    return {name: f"{value:,}" if isinstance(value, int) else value for name, value in values.items()}


def gettext_noop(message: str) -> str:
    """Mark a message whose translation is looked up later."""
    return message


def translated(text: str) -> str:
    """A text that was put together elsewhere, such as the cause of an error, in the current language.

    It is looked up as it is, else by the entry whose numbered placeholders (``a {0} cannot be read``) fit it, values
    that have a translation translated, too; where none does, it stays as it is.
    """
    catalogue = _current.get()
    if not text:  # which would be the catalogue's head
        return text
    if (found := catalogue.texts.gettext(text)) != text:
        return found
    for pattern, translation in catalogue.patterns:
        if match := pattern.fullmatch(text):
            return translation.format(*map(_translated_value, match.groups()))
    return text


def _translated_value(text: str) -> str:
    """`translated`, or what each of several workers said: ``ADDRESS: cause; ADDRESS: cause``."""
    if (found := translated(text)) != text or "; " not in text:
        return found
    named = (part.rpartition(": ") for part in text.split("; "))
    return "; ".join(f"{address}{colon}{translated(cause)}" for address, colon, cause in named)


def language() -> str:
    """The current language, such as ``ko``."""
    return _current.get().language


def use(tag: str, folder: Path | None = None) -> None:
    """Choose the language of this context from now on.

    Args:
        tag: ``en``, or one of `languages`; a region or an encoding after it (``ko_KR.UTF-8``) does not count where the
            language itself is all that there is.
        folder: of further ``.po`` files.

    Raises:
        ConfigError: there is no such language, or its file cannot be read.
    """
    found = check(tag, folder)
    files = languages(folder)
    _current.set(_load(files[found]) if found in files else _ENGLISH)


def check(tag: str, folder: Path | None = None) -> str:
    """The name under which there is that language.

    Raises:
        ConfigError: there is none.
    """
    files = languages(folder)
    if (found := _fitting(tag, files)) is None:
        known = ", ".join(sorted({ENGLISH, *files}))
        raise ConfigError(f"there is no language {tag!r}", hint=f"choose one of: {known}")
    return found


def is_usable(tag: str, folder: Path | None = None) -> bool:
    """Whether there is that language, and its file can be read: for one that nobody asked for."""
    try:
        with using(tag, folder):
            return True
    except ConfigError:
        return False


@contextlib.contextmanager
def using(tag: str, folder: Path | None = None) -> Iterator[None]:
    """`use` for the body of a ``with`` statement; raises as it does."""
    before = _current.get()
    use(tag, folder)
    try:
        yield
    finally:
        _current.set(before)


def wanted(environment: Mapping[str, str], folder: Path | None = None) -> str:
    """The first language of `VARIABLES` that there is; English where they name none."""
    named = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    if named.split(".")[0] in ("C", "POSIX"):
        return ENGLISH
    files = languages(folder)
    return next(filter(None, (_fitting(tag, files) for tag in named.split(":"))), ENGLISH)


def languages(folder: Path | None = None) -> dict[str, Path]:
    """By language, the file of each catalogue; English needs none."""
    paths = [path for each in (FOLDER, folder) if each is not None for path in _files(each)]
    return {path.stem: path for path in paths if _TAG.fullmatch(path.stem)}


def _files(folder: Path) -> list[Path]:
    """The files of a folder; none where it cannot be looked at, such as another user's: texts are in English then."""
    try:
        return sorted(folder.glob("*.po"))
    except OSError:
        return []


def parse(content: str) -> list[Entry]:
    """The entries of a ``.po`` file that count: neither obsolete nor marked fuzzy.

    Raises:
        ValueError: a line is none of such a file.
    """
    entries: list[Entry] = [{}]
    keyword = ""
    for line in content.splitlines():
        if _starts_entry(line) and any(each.startswith("msgstr") for each in entries[-1]):
            entries.append({})
        if line.startswith("#,") and "fuzzy" in line:
            entries[-1][_FUZZY] = ""
        elif line.strip() and not line.startswith("#"):
            keyword, text = _keyword_and_text(line, keyword)
            entries[-1][keyword] = entries[-1].get(keyword, "") + text
    return [entry for entry in entries if "msgid" in entry and _FUZZY not in entry]


def _starts_entry(line: str) -> bool:
    return line.startswith(("#", "msgctxt", "msgid")) and not line.startswith("msgid_plural")


def _keyword_and_text(line: str, before: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None or not (match[1] or before):
        raise ValueError(f"{line[:60]!r} is not a line of such a file")
    return match[1] or before, str(ast.literal_eval(match[2]))


def placeholders(message: str) -> set[tuple[str, str | None, str | None]]:
    """Field name, conversion and format of each placeholder.

    Raises:
        ValueError: a brace is not closed.
    """
    parts = string.Formatter().parse(message)
    return {(name, conversion, style) for _, name, style, conversion in parts if name is not None}


def _fitting(tag: str, files: Iterable[str]) -> str | None:
    """``ko`` for ``ko_KR.UTF-8`` or ``ko-KR``."""
    whole = re.split(r"[.@]", tag)[0].replace("-", "_")
    return next((each for each in (whole, whole.split("_")[0].lower()) if each in {ENGLISH, *files}), None)


@functools.lru_cache(maxsize=8)
def _load(path: Path) -> Catalogue:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
        entries = list(filter(_agrees, parse(from_utf8(content))))
        return Catalogue(path.stem, _gettext.GNUTranslations(io.BytesIO(_compiled(entries))), _patterns(entries))
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", hint="check its permissions") from None
    except (ValueError, SyntaxError) as error:  # of which `from_utf8` raises one; the plural rule, or a quoted text
        raise ConfigError(f"{path} is not a valid .po file: {error}", hint="check it with msgfmt --check") from None


def _patterns(entries: Iterable[Entry]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Messages with ``{0}``, ``{1}``... in this order, as patterns of the texts that they become."""
    numbered = [entry for entry in entries if "{0}" in entry["msgid"] and "msgid_plural" not in entry]
    numbered.sort(key=lambda entry: -len(entry["msgid"]))
    return tuple((re.compile(_NUMBERED.sub("(.+)", re.escape(e["msgid"]))), e["msgstr"]) for e in numbered)


def _compiled(entries: Iterable[Entry]) -> bytes:
    """What ``msgfmt`` makes of the entries, which the standard library reads: tables of lengths and offsets, texts."""
    texts = sorted((key.encode(), value.encode()) for key, value in map(_pair, entries))
    start = 28 + 16 * len(texts)
    tables: list[bytes] = []
    body = b""
    for column in zip(*texts, strict=True):
        for text in column:
            tables.append(struct.pack("<II", len(text), start + len(body)))
            body += text + b"\0"
    head = struct.pack("<IIIIIII", 0x950412DE, 0, len(texts), 28, 28 + 8 * len(texts), 0, start)
    return head + b"".join(tables) + body


def _pair(entry: Entry) -> tuple[str, str]:
    forms = [text for keyword, text in sorted(entry.items()) if keyword.startswith("msgstr")]
    key = "\0".join(entry[keyword] for keyword in ("msgid", "msgid_plural") if keyword in entry)
    return key, "\0".join(forms)


def _agrees(entry: Entry) -> bool:
    """Whether every form is there, and asks for no other values than the English text gives."""
    forms = [text for keyword, text in entry.items() if keyword.startswith("msgstr")]
    if not forms or not all(forms) or "msgctxt" in entry:
        return False
    if not entry["msgid"]:  # the file's head
        return True
    try:
        given = set[Any]().union(*(placeholders(entry[k]) for k in ("msgid", "msgid_plural") if k in entry))
        return all(placeholders(form) <= given for form in forms)
    except ValueError:
        return False
