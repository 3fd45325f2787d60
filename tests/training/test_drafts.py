from pathlib import Path

import pytest

from training.drafts import draft, write_whole


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
