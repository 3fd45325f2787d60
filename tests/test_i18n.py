"""Catalogues are whole, and none of them can make a text fail; the language is found as people choose it."""

from __future__ import annotations

import ast
import json
import re
import threading
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from securesplit import i18n
from securesplit.cli.main import run
from securesplit.errors import ConfigError
from securesplit.i18n import gettext, ngettext
from securesplit.transport.wire import Fault
from tests import catalogues
from tests.conftest import REPO

CATALOGUES = sorted(i18n.FOLDER.glob("*.po"))
DUTCH = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "error: {message}"
msgstr "fout: "
"{message}"

#, fuzzy
msgid "hint: {hint}"
msgstr "raad: {hint}"

msgid "the photo is blurred"
msgstr "de foto is {onscherp}"

msgid "{n} photo"
msgid_plural "{n} photos"
msgstr[0] "{n} foto"
msgstr[1] "{n} foto's"

#~ msgid "old"
#~ msgstr "oud"
"""


@pytest.fixture
def dutch(tmp_path: Path) -> Path:
    (tmp_path / "nl.po").write_text(DUTCH, encoding="utf-8")
    return tmp_path


def _entries(path: Path) -> list[i18n.Entry]:
    return [entry for entry in i18n.parse(path.read_text(encoding="utf-8")) if entry["msgid"]]


def _forms(entry: i18n.Entry) -> list[str]:
    return [text for keyword, text in entry.items() if keyword.startswith("msgstr")]


def test_korean_comes_with_the_package() -> None:
    assert [path.stem for path in CATALOGUES] == ["ko"]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_every_message_has_a_translation(path: Path) -> None:
    """`make messages` brings a catalogue up to date; what it leaves empty is to be filled in."""
    assert path.read_text(encoding="utf-8") == catalogues.updated(path), "run make messages"
    missing = [entry["msgid"] for entry in _entries(path) if not all(_forms(entry))]
    assert not missing, missing


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_placeholders_are_those_of_the_english_text(path: Path) -> None:
    for entry in _entries(path):
        english = [entry[keyword] for keyword in ("msgid", "msgid_plural") if keyword in entry]
        wanted = set().union(*map(i18n.placeholders, english))
        for form in _forms(entry):
            assert i18n.placeholders(form) == wanted, form


def test_one_korean_word_stands_for_one_term() -> None:
    """A passphrase and a ciphertext once had the same one, on a page that shows both."""
    terms = {"ciphertext": "암호문", "passphrase": "비밀 문구", "borderline": "경계선", "frontier": "절충 곡선"}
    others = (
        "픽셀",
        "네트워크",
        "그냥 찍",
    )  # pixels are 화소, neural networks 신경망; 찍다 is to guess, and to take a photo
    for entry in _entries(i18n.FOLDER / "ko.po"):
        english, korean = entry["msgid"].lower(), " ".join(_forms(entry))
        said = {word for term, word in terms.items() if term in english}
        assert not said or said == {word for word in terms.values() if word in korean}, entry["msgid"]
        assert "DNS" in english.upper() or not any(word in korean for word in others), entry["msgid"]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_most_causes_of_errors_have_a_translation(path: Path) -> None:
    """One without is shown in English; `make messages` has none of them."""
    wanted, known = catalogues.errors(), {entry["msgid"] for entry in _entries(path)}
    assert len(wanted) > 100
    assert len(wanted & known) >= 0.9 * len(wanted), sorted(wanted - known)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_whatever_is_wrong_with_a_photo_has_a_translation(path: Path) -> None:
    """These are what people meet; some with no two long words in a row once escaped the search."""
    wanted = catalogues.errors({"imaging"})
    assert "the WebP is truncated" in wanted
    assert wanted <= {entry["msgid"] for entry in _entries(path)}


def test_korean_particles_follow_no_command_that_ends_in_a_value() -> None:
    """`--bind tcp://127.0.0.1:5555(으)로` would be copied with the particle."""
    command = re.compile(r"--[\w-]+ \{\w+\}(?![\s).,`]|$)")
    found = [form for entry in _entries(i18n.FOLDER / "ko.po") for form in _forms(entry) if command.search(form)]
    assert not found, found


def test_causes_are_found_behind_names_and_conditions() -> None:
    """In the function, in a tuple, on both sides of a condition."""
    source = """
def fail(many, it):
    hint = "try this first" if many else f"first try {it}"
    cause, more = "a cause of it", 1
    raise PhotoError(cause if it else "no cause at all", hint=hint)
"""
    found = catalogues._errors_of(ast.parse(source))
    assert found == {"try this first", "first try {0}", "a cause of it", "no cause at all"}


@pytest.mark.parametrize("fault", Fault)
def test_why_no_worker_answered_is_in_the_language_too(fault: Fault) -> None:
    with i18n.using("ko"):
        said = i18n.translated(f"no worker answered at HOST within 3 s ({fault.value})")
        each = f"tcp://[::1]:1: {fault.value}; tcp://b:2: {fault.value}"
        several = i18n.translated(f"no worker answered at HOST within 3 s ({each})")
    assert "HOST" in said
    assert not re.search("[a-z]{2,}", said)
    assert set(re.findall("[a-z]{2,}", several)) == {"tcp"}
    assert "tcp://[::1]:1: " in several


def test_warnings_are_whole_texts_when_they_are_logged() -> None:
    """A command looks the whole of each up; one with values in it is found by its marked text with numbers."""
    found = 0
    for path in sorted((REPO / "securesplit" / "device").glob("*.py")):
        for call in (
            each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)
        ):
            if ast.unparse(call.func) == "_log.warning":
                (text,) = call.args
                assert not isinstance(text, ast.Constant | ast.JoinedStr), f"{path}:{call.lineno}"
                found += 1
    assert found > 3


def test_what_a_damaged_file_lacks_is_a_message() -> None:
    """It stands within the cause of an error as a value, which is translated only where it is marked."""
    raised = re.compile(r"_damaged\((?!where: str)(.*)\)")
    found = [
        (file.name, value)
        for file in (REPO / "securesplit" / "imaging").glob("*.py")
        for value in raised.findall(file.read_text(encoding="utf-8"))
    ]
    assert len(found) > 10
    assert [one for one in found if not one[1].startswith(("gettext_noop(", "_name("))] == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_entries_are_read_as_babel_reads_them(path: Path) -> None:
    with path.open("rb") as stream:
        theirs = {m.id: m.string for m in read_po(stream) if m.id}
    ours = {
        entry["msgid"] if "msgid_plural" not in entry else (entry["msgid"], entry["msgid_plural"]): (
            entry["msgstr"] if "msgstr" in entry else tuple(_forms(entry))
        )
        for entry in _entries(path)
    }
    assert ours == theirs


def test_messages_are_literals() -> None:
    """An f-string, or a text that is put together, is in no catalogue; a name stands for one that is marked."""
    for path in sorted((REPO / "securesplit").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id in catalogues.KEYWORDS:
                texts = call.args[:2] if call.func.id == "ngettext" else call.args[:1]
                marked = (ast.Constant, ast.Name, ast.Attribute)
                assert all(isinstance(text, marked) for text in texts), f"{path}:{call.lineno}"


def test_a_language_is_chosen_for_one_context() -> None:
    said = []
    with i18n.using("ko"):
        korean = gettext("the photo is blurred")
        thread = threading.Thread(target=lambda: said.append(gettext("the photo is blurred")))
        thread.start()
        thread.join()
    assert korean == "사진이 흐립니다"
    assert said == [gettext("the photo is blurred")] == ["the photo is blurred"]


def test_a_file_adds_a_language(dutch: Path) -> None:
    with i18n.using("nl_BE.UTF-8", dutch):
        assert i18n.language() == "nl"
        assert gettext("error: {message}", message="{x}") == "fout: {x}"
        assert [ngettext("{n} photo", "{n} photos", n) for n in (0, 1, 2)] == ["0 foto's", "1 foto", "2 foto's"]
        assert gettext("hint: {hint}", hint="x") == "hint: x", "a fuzzy entry does not count"
        assert gettext("the photo is blurred") == "the photo is blurred", "its placeholder has no value"
        assert gettext("old") == "old"


def test_the_cause_of_an_error_is_translated_with_its_values(tmp_path: Path) -> None:
    said = {
        "": "",
        "no such file": "파일이 없습니다",
        "the photo is damaged (7 of its 90 rows are blank)": "사진이 손상되었습니다(90줄 가운데 7줄이 비어 있음)",
        "the worker's certificate is not for the name a.b": "워커의 인증서는 이름 a.b의 것이 아닙니다",
        "the file cannot be reached ({0})": "파일에 접근할 수 없습니다({0})",
        "a release that did not leave stays counted: the privacy ledger L cannot be used: try again": (
            "나가지 않은 것이 내보낸 것으로 장부에 남습니다: 프라이버시 장부 L을(를) 쓸 수 없습니다: 다시 시도하세요"
        ),
        "what nobody has translated, 7 times": "what nobody has translated, 7 times",
    }
    with i18n.using("ko"):
        assert {text: i18n.translated(text) for text in said} == said
    assert {i18n.translated(text) for text in said} == set(said)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "ko_KR"}, "ko"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANGUAGE": "fr:ko:en", "LANG": "C"}, "ko"),
    ],
)
def test_the_environment_names_the_language(environment: dict[str, str], language: str) -> None:
    assert i18n.wanted(environment) == language


@pytest.mark.parametrize(
    "content",
    ["msgid ", 'msgstr "a" "b"', '"text"', "\xff", 'msgid "a"\nmsgstr "b" "c"', 'msgid "\\"', "x" * (1 << 21)],
)
def test_a_damaged_file_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "nl.po").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"nl\.po"):
        i18n.use("nl", tmp_path)


def test_flag_variable_and_file_choose_the_language_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text('lang = "ko"\n')
    settings.chmod(0o600)
    failing = ["--config", str(settings), "ledger", "--by", "week"]

    def said(*arguments: str) -> str:
        assert run(list(arguments)) == 2
        return capsys.readouterr().err.split(":")[0]

    assert said(*failing) == "오류"
    assert said(*failing, "--lang", "en") == "error"
    assert said("ledger", "--by", "week", "--lang=ko") == "오류"
    assert said("--lang", "ko", "ledger", "--by", "week") == "오류"
    assert said("ledger", "--by", "week") == "error"
    monkeypatch.setenv("SECURESPLIT_LANG", "en")
    assert said(*failing) == "error"
    own = tmp_path / "config" / "securesplit" / "locale"
    own.mkdir(parents=True)
    (own / "nl.po").write_text(DUTCH, encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert said("ledger", "--by", "week", "--lang", "nl") == "fout"
    assert run(["ledger", "--lang", "xx"]) == 2
    assert "hint: choose one of: en, ko, nl" in capsys.readouterr().err


def test_a_damaged_file_of_the_user_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "securesplit" / "locale"
    own.mkdir(parents=True)
    (own / "ko.po").write_text("msgid nonsense", encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(["ledger"]) == 0
    assert "ko.po" not in capsys.readouterr().err
    monkeypatch.setenv("LANGUAGE", "ko")
    assert run(["ledger"]) == 0, "nobody asked for it"
    said = capsys.readouterr()
    assert said.out
    assert said.err.count("warning: texts are in English: ") == said.err.count("ko.po is not a valid .po file") == 1
    assert run(["ledger", "--by", "week"]) == 2
    assert "\nerror: " in capsys.readouterr().err
    assert run(["ledger", "--lang", "ko"]) == 2
    assert "error: " in (asked := capsys.readouterr().err)
    assert "ko.po is not a valid .po file" in asked


def test_config_show_has_the_language(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SECURESPLIT_LANG", "ko")
    assert run(["config", "show", "ledger"]) == 0
    assert re.search(r"lang +ko +SECURESPLIT_LANG", capsys.readouterr().out)
    assert run(["--debug", "ledger", "--lang", "en"]) == 0
    assert "debug: lang = en (--lang)" in capsys.readouterr().err


def test_json_is_never_translated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "--format", "json", "--lang", "ko"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "securesplit.ledger/1"


def test_whole_numbers_are_written_for_people(dutch: Path) -> None:
    assert (
        gettext("{n} of {total} bytes of {file}", n=177352, total=999, file="1234.jpg")
        == "177,352 of 999 bytes of 1234.jpg"
    )
    assert ngettext("{n} photo", "{n} photos", 12345) == "12,345 photos"
    with i18n.using(i18n.ENGLISH):
        i18n.use("nl", dutch)
        assert ngettext("{n} photo", "{n} photos", 12345) == "12,345 foto's"
