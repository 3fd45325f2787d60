"""The list of workers that are not asked: people may read and shorten it, and a request never goes past it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from securesplit import atomic
from securesplit.device.distrusted import LIST, DistrustedWorkers
from securesplit.errors import CredentialError, WorkerError

CLINIC, OTHER = "tcp://clinic:5555", "tcp://[2001:db8::1]:5555"


def test_who_is_on_it_is_refused_and_nobody_else(tmp_path: Path) -> None:
    workers = DistrustedWorkers(tmp_path)
    workers.check(CLINIC)
    workers.add(CLINIC)
    with pytest.raises(WorkerError, match="tcp://clinic:5555 is not asked any more") as caught:
        DistrustedWorkers(tmp_path).check(CLINIC)
    assert str(tmp_path / LIST) in str(caught.value.hint)
    for other in ("tcp://clinic:555", "tcp://clinic:55555", OTHER):
        workers.check(other)


def test_a_line_that_is_removed_lifts_it(tmp_path: Path) -> None:
    workers = DistrustedWorkers(tmp_path)
    for worker in (CLINIC, OTHER):
        workers.add(worker)
    lines = (tmp_path / LIST).read_text().splitlines(keepends=True)
    (tmp_path / LIST).write_text(lines[1])
    workers.check(CLINIC)
    with pytest.raises(WorkerError):
        workers.check(OTHER)


@pytest.mark.parametrize(
    "content",
    [
        f"\n{CLINIC}\n\n",
        f"  {CLINIC}\r\n",
        f"{CLINIC} nonsense\n",
        f"{OTHER}\n{CLINIC}",
        f"\xef\xbb\xbf{CLINIC}\n",  # some editors begin so
    ],
)
def test_what_people_or_disks_make_of_a_line_still_holds(content: str, tmp_path: Path) -> None:
    (tmp_path / LIST).write_bytes(content.encode("latin-1"))
    with pytest.raises(WorkerError):
        DistrustedWorkers(tmp_path).check(CLINIC)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp500"])
def test_a_list_in_another_encoding_asks_nobody(encoding: str, tmp_path: Path) -> None:
    """As an editor on Windows may save it; it is not to read as a list without this worker."""
    written = f"{CLINIC} 2026-11-28 \xe9\n".encode(encoding)
    (tmp_path / LIST).write_bytes(written)
    with pytest.raises(CredentialError, match="is not text in UTF-8") as caught:
        DistrustedWorkers(tmp_path).check(OTHER)
    assert "save it as UTF-8" in caught.value.hint
    assert (tmp_path / LIST).read_bytes() == written


@pytest.mark.parametrize("left", [OTHER, f"{OTHER} 2026-11-2", "tcp://cli"])
def test_a_line_without_an_end_takes_no_other_with_it(left: str, tmp_path: Path) -> None:
    """As an editor leaves it, or a disk that was full."""
    (tmp_path / LIST).write_text(left)
    DistrustedWorkers(tmp_path).add(CLINIC)
    assert [*DistrustedWorkers(tmp_path).found()] == [left.split(maxsplit=1)[0], CLINIC]


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"tcp://worker-{n}:5555" for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: DistrustedWorkers(tmp_path).add(name), names))
    assert sorted(DistrustedWorkers(tmp_path).found()) == sorted(names)


@pytest.mark.skipif(os.name != "posix", reason="a folder cannot be in its place")
def test_a_list_that_cannot_be_read_or_written_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / LIST).mkdir()
    with pytest.raises(CredentialError, match="cannot read"):
        DistrustedWorkers(tmp_path).check(CLINIC)
    with pytest.raises(CredentialError, match="cannot write"):
        DistrustedWorkers(tmp_path).add(CLINIC)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="whoever tests may write everything")
def test_a_list_that_can_be_read_alone_asks_nobody(tmp_path: Path) -> None:
    """No worker could be added to it, so that each photo would tell its bit."""
    (tmp_path / LIST).touch(0o400)
    with pytest.raises(CredentialError, match="cannot read and write"):
        DistrustedWorkers(tmp_path).check(CLINIC)


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialError), DistrustedWorkers(tmp_path / "gone").judging(CLINIC):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_program_that_was_stopped_while_it_judged_holds_no_other_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "LOCK_WAIT_S", 0.1)
    with DistrustedWorkers(tmp_path).judging(CLINIC):
        with pytest.raises(CredentialError, match="is in use: another process has kept it") as caught:
            DistrustedWorkers(tmp_path).judging(CLINIC).__enter__()
        assert "Ctrl-Z" in caught.value.hint
    with DistrustedWorkers(tmp_path).judging(CLINIC):
        pass
