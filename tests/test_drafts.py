from pathlib import Path

import pytest

from securesplit.drafts import draft, folder_draft, write_whole
from securesplit.errors import ConfigError


def test_two_that_make_one_file_at_once_both_succeed(tmp_path: Path) -> None:
    file = tmp_path / "pixels.npy"
    with draft(file) as slow:
        slow.write_text("slow")
        with draft(file) as fast:
            fast.write_text("fast")
        assert file.read_text() == "fast"
    assert file.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_whole(file, "before")
    with pytest.raises(TypeError), draft(file) as own:
        own.write_text(1)  # type: ignore[arg-type]  # opens it, and fails
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_draft_ends_as_its_file_does(tmp_path: Path) -> None:
    with draft(tmp_path / "best.weights.h5") as own:
        assert own.name.endswith("-best.weights.h5")
        own.touch()


def test_a_folder_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "teacher"
    with pytest.raises(TypeError), folder_draft(folder) as own:
        (own / "head.tflite").write_text(1)  # type: ignore[arg-type]  # opens it, and fails
    assert not folder.exists()
    folder.mkdir()
    with folder_draft(folder) as own:
        (own / "head.tflite").touch()
        assert not any(folder.iterdir())
    assert [file.name for file in folder.iterdir()] == ["head.tflite"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mole.jpg").touch()
    with pytest.raises(ConfigError, match="is not empty"), folder_draft(tmp_path):
        pytest.fail("there is no draft")
    with pytest.raises(ConfigError, match="cannot write"), folder_draft(tmp_path / "mole.jpg" / "bundle"):
        pytest.fail("there is no draft")
