"""Folders, patterns and standard input: which photos they stand for, in which order, and what is passed over."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from securesplit.errors import PhotoError
from securesplit.imaging import Listing, load_photo, photo_name
from securesplit.imaging.listing import MAX_DEPTH
from securesplit_testing.photo_files import lesion, saved

FILES = ["b.jpg", "a.JPG", ".hidden.jpg", "s/c.png", "s/._c.png", "s/t/d.tif", ".x/e.jpg", "notes.txt", "q[1].jpg"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no photo")
    (tmp_path / "p" / "IM000001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "p" / "BMI notes").write_bytes(b"BM is how a bitmap begins, and a text may")
    monkeypatch.chdir(tmp_path)


def names(*arguments: str) -> list[str]:
    return [photo_name(photo).replace("\\", "/") for photo in Listing(arguments)]


WHOLE = ["p/IM000001", "p/a.JPG", "p/b.jpg", "p/q[1].jpg", "p/s/c.png", "p/s/t/d.tif"]


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("p", WHOLE),
        ("./p/", WHOLE),
        ("p/**", WHOLE),
        ("p/*", WHOLE[:4]),
        ("**/*.jpg", ["p/b.jpg", "p/q[1].jpg"]),
        ("p/**/**/[cd].*", ["p/s/c.png", "p/s/t/d.tif"]),
        ("p/*/?.png", ["p/s/c.png"]),
        ("p/.h*", ["p/.hidden.jpg"]),
        ("p/q[1].jpg", ["p/q[1].jpg"]),
        ("missing.jpg", ["missing.jpg"]),
    ],
)
def test_photos_of_a_folder_or_pattern_in_the_order_of_names(argument: str, found: list[str]) -> None:
    listing = Listing([argument])
    assert [photo_name(photo).replace("\\", "/") for photo in listing] == found
    assert listing.count() == len(found)


@pytest.mark.parametrize("arguments", [None, 3, b"p", [None], ["p", 3], [b"p"], [io.BytesIO()]])
def test_what_names_no_photo_is_told_at_once(arguments: Any) -> None:
    with pytest.raises(PhotoError, match="a photo cannot be listed by") as caught:
        Listing(arguments)
    assert caught.value.hint


def test_what_is_passed_over_is_counted_and_what_is_named_is_not() -> None:
    listing = Listing(["p", "p/notes.txt"])
    assert [photo_name(photo) for photo in listing][-1] == str(Path("p/notes.txt"))
    assert listing.passed_over == 4  # two hidden files, and two texts
    assert listing.count() == len(WHOLE) + 1
    assert listing.passed_over == 4


@pytest.mark.parametrize("argument", ["p/*.gif", "empty", "s/**/nothing*"])
def test_nothing_found_is_an_error_of_that_argument(argument: str) -> None:
    Path("empty").mkdir()
    first, second = Listing([argument, "p/b.jpg"])
    with pytest.raises(PhotoError, match=r"no photo") as caught:
        load_photo(first, 64)
    assert caught.value.hint
    assert (photo_name(first), second) == (argument, Path("p/b.jpg"))


def test_links_to_folders_are_not_followed_and_those_to_files_are(tmp_path: Path) -> None:
    try:
        Path("p/s/again").symlink_to(tmp_path / "p", target_is_directory=True)
        Path("p/s/link.png").symlink_to("c.png")
        Path("p/s/broken.png").symlink_to("gone.png")
    except OSError:
        pytest.skip("this user may make no links")
    assert names("p/s") == ["p/s/broken.png", "p/s/c.png", "p/s/link.png", "p/s/t/d.tif"]


@pytest.mark.parametrize("argument", ["p/s", "p/s/**"])
def test_a_link_that_leads_nowhere_costs_no_other_photo(argument: str) -> None:
    try:
        Path("p/s/itself.png").symlink_to("itself.png")
        Path("p/s/there").symlink_to("back")
        Path("p/s/back").symlink_to("there")
        Path("p/s/long.png").symlink_to("n" * 300)
        Path("p/s/through.png").symlink_to("c.png/x")
    except OSError:
        pytest.skip("this user may make no links")
    assert names(argument) == [f"p/s/{name}.png" for name in ("c", "itself", "long", "through")] + ["p/s/t/d.tif"]
    for name in ("itself", "long", "through"):
        with pytest.raises(PhotoError) as caught:
            load_photo(f"p/s/{name}.png", 64)
        assert caught.value.hint


def test_a_folder_that_is_too_deep_is_told_of() -> None:
    os.makedirs("deep/" + "/".join(["d"] * (MAX_DEPTH + 2)))  # noqa: PTH103
    (only,) = Listing(["deep"])
    with pytest.raises(PhotoError, match="directories deep"):
        load_photo(only, 64)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_in_a_folder_is_never_waited_for() -> None:
    os.mkfifo("p/s/t/fifo")
    os.mkfifo("p/s/t/fifo.jpg")
    listing = Listing(["p/s/t"])
    assert [photo_name(photo) for photo in listing] == ["p/s/t/d.tif", "p/s/t/fifo.jpg"]
    with pytest.raises(PhotoError, match="not a regular file"):
        load_photo("p/s/t/fifo.jpg", 64)


def test_a_listing_holds_no_more_than_the_names_of_a_folder() -> None:
    for folder in range(40):
        Path(f"many/{folder:03}").mkdir(parents=True)
        for file in range(40):
            Path(f"many/{folder:03}/{'x' * 200}{file:03}.jpg").touch()
    assert Listing(["many"]).count() == 1600  # Python keeps a table of the names that it met, and its size
    tracemalloc.start()
    assert Listing(["many"]).count() == 1600
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1600 * 200 / 2


class Input(io.TextIOWrapper):
    """Standard input that is a file, or a terminal."""

    def __init__(self, content: bytes, *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content))
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_standard_input_is_a_photo_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Input(saved(lesion(100), "PNG")))
    listing = Listing(["-", "p/b.jpg", "-"])
    assert listing.count() == 3
    first, _, second = listing
    assert photo_name(first) == photo_name(second) == "-"
    assert load_photo(first, 64).std() > 5
    with pytest.raises(PhotoError, match="read already"):
        load_photo(second, 64)


@pytest.mark.parametrize(
    ("stdin", "message"),
    [(None, "closed"), (Input(b"", is_terminal=True), "a terminal"), (Input(b""), "empty")],
)
def test_standard_input_without_a_photo(stdin: Input | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    (only,) = Listing(["-"])
    with pytest.raises(PhotoError, match=message) as caught:
        load_photo(only, 64)
    assert caught.value.hint
