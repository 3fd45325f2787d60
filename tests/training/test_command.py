"""How every command of the training ends: with the exit code of its error, and no traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from training import command


def ends_with(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        command.run(main)
    return caught.value.code, capsys.readouterr().err


def test_files_that_the_system_refuses_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for use in ((tmp_path / "none").rmdir, (tmp_path / "file" / "below").mkdir, (tmp_path / "file").rmdir):
        code, told = ends_with(use, capsys)
        assert code == 2
        assert told.startswith(f"error: {tmp_path}")
        assert "hint: " in told


@pytest.mark.parametrize("said", ["No space left on device", "Can't write (file write failed,\nbuf = 0x7fe4ba4ce568)"])
def test_a_full_disk_has_no_name(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And h5py, which writes weights, words of its own."""

    def full() -> None:
        raise OSError(errno.ENOSPC, said)

    assert ends_with(full, capsys) == (2, "error: No space left on device\nhint: free some space on the disk\n")


class OutOfMemoryError(RuntimeError):
    """As PyTorch has it."""


@pytest.mark.parametrize(
    "error", [MemoryError(), OutOfMemoryError("CUDA out of memory"), RuntimeError("RESOURCE_EXHAUSTED: 2 GiB"), None]
)
def test_too_little_memory_is_no_fault_of_ours(error: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
    def too_much() -> None:
        if error is not None:
            raise error
        tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
        tensorflow.zeros([1 << 30, 1 << 20])

    code, told = ends_with(too_much, capsys)
    assert code == 2
    assert "too little memory" in told
    assert "hint: " in told


def test_an_error_that_no_system_told_is_a_fault_of_ours() -> None:
    def wrong() -> None:
        raise OSError("not of the system")

    with pytest.raises(OSError, match="not of the system"):
        command.run(wrong)


def test_who_interrupts_is_promised_no_epoch_by_commands_that_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    code, told = ends_with(interrupted, capsys)
    assert code == 130
    assert told == "error: interrupted\nhint: --help says whether the same command goes on where it was\n"
