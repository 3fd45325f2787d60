"""`make bench`: how ratios are judged, what a page says, and a run of a few peers in seconds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.performance import figures, inputs, page, plot, process_tree
from benchmarks.performance.__main__ import PUBLISHED, judge, main
from benchmarks.performance.comparing import changes
from benchmarks.performance.results import Row, Run, load, save
from securesplit.imaging import load_square
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle

REPO = Path(__file__).resolve().parents[1]
MACHINE = {"processor": "x", "cores": 2, "memory_gb": 1, "system": "Linux", "python": "3", "packages": {}}


def run_of(*ratios: float, rate: float = 100.0, request_bytes: float = 102.0) -> Run:
    """A run whose rounds have these ratios of ours to the reference, on a machine that gets slower by the round."""
    slower = [10.0 * (1 + n) for n in range(len(ratios))]
    theirs = [{"p50_ms": ms, "per_core_8": 100.0} for ms in slower]
    ours = [
        {"p50_ms": r * ms, "per_core_8": rate, "request_bytes": request_bytes}
        for r, ms in zip(ratios, slower, strict=True)
    ]
    rows = [
        Row("bare", "tail none", "", rounds=theirs, latency={"p50_ms": 10.0}),
        Row("ours", "tail none", "", is_ours=True, rounds=ours, latency={"p50_ms": 10.0}),
    ]
    return Run(MACHINE, "2026-11-26T08:00:00+00:00", [1.0] * len(ratios), rows, {"tail none": "bare"})


BEFORE = run_of(1.0, 1.01, 0.99)


@pytest.mark.parametrize(
    ("now", "figures"),
    [
        (run_of(1.0, 1.02, 1.01), []),
        (run_of(1.08, 1.09, 1.08), []),  # sure, but allowed
        (run_of(1.2, 1.21, 1.19), ["p50_ms"]),
        (run_of(0.7, 1.9, 1.0), []),  # 18 % worse on the mean, and rounds that say nothing
        (run_of(1.2), []),  # one round: no noise is known
        (run_of(0.5, 0.51, 0.5), []),
        (run_of(1.0, 1.0, 1.0, rate=80.0), ["per_core_8"]),  # a rate gets worse by falling
        (run_of(1.0, 1.0, 1.0, rate=130.0), []),
        (run_of(1.0, 1.0, 1.0, request_bytes=120.0), ["request_bytes"]),
    ],
)
def test_a_regression_is_beyond_what_is_allowed_and_beyond_noise(now: Run, figures: list[str]):
    assert [change.figure for change in changes(BEFORE, now) if change.is_regression] == figures
    assert len(judge(BEFORE, now)) == len(figures)


def test_ratios_of_another_processor_are_not_compared():
    now = replace(run_of(2.0, 2.0, 2.0), machine=MACHINE | {"processor": "y"})
    assert judge(BEFORE, now) == []
    assert judge(None, run_of(2.0, 2.0, 2.0)) == []


@pytest.mark.parametrize("is_drawn", [True, False])
def test_all_peers_show_the_network_the_same_square(tmp_path: Path, is_drawn: bool) -> None:
    """Of drawn photos a fifth are seen closer by the default bundle, and peers show the centre square of any."""
    bundle = Bundle.load()
    side, framing = bundle.manifest.side, bundle.manifest.framing
    for seed in range(4):
        Image.fromarray(draw_lesion(seed, 600)[75:525]).save(tmp_path / f"{seed}.jpg", quality=92)
    own = [load_square(tmp_path / f"{seed}.jpg", side, framing).crop.by for seed in range(4)]
    assert set(own) == {"centre", "lesion"}
    given = inputs.prepare(tmp_path / "in", bundle, None if is_drawn else tmp_path, photos=4, networks=False)
    assert len(given.photos) == (4 if is_drawn else own.count("centre"))
    for photo in given.photos:
        assert (given.pixels(photo)[0] == load_square(photo, side, framing).pixels).all()


def test_what_got_worse_is_published_with_its_reason_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("build/bench", "benchmarks", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    save(BEFORE, PUBLISHED)
    before = PUBLISHED.read_text()
    save(run_of(1.2, 1.21, 1.19), Path("build/bench/performance.json"))
    arguments = ["--kept", "--publish", "--only", "nobody"]
    monkeypatch.setattr(inputs, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(plot, "draw", lambda _, file: file.touch())
    assert main(arguments) == 1
    assert PUBLISHED.read_text() == before
    assert main([*arguments, "--accept", "the gate reads more."]) == 0
    said = (tmp_path / "docs/performance.md").read_text()
    assert "Worse than in the run before: the gate reads more." in said
    assert "- ours (tail none): p50_ms +20%" in said


def test_rows_that_do_not_mean_the_same_are_not_compared():
    now = run_of(2.0, 2.0, 2.0)
    changed = replace(now, rows=[replace(row, meaning="handshakes not counted") for row in now.rows])
    assert judge(BEFORE, changed) == []
    assert judge(changed, changed) == []
    assert judge(changed, replace(changed, rows=list(run_of(5.0, 5.0, 5.0).rows))) == []
    assert len(judge(BEFORE, now)) == 1


def served(name: str, rate: float, p99_ms: float, *, is_ours: bool = False) -> Row:
    """A row of the short tail."""
    rounds = [{"per_core_8": rate, "per_core_64": 2 * rate}]
    return Row(name, "tail certified", "", is_ours, rounds, {"p50_ms": 1.0, "p99_ms": p99_ms})


def test_figures_are_taken_against_the_best_that_one_would_deploy():
    """The bare server is faster than all and does not count; who is best in one figure need not be in another."""
    rows = [
        served("asyncio and ssl, no queue", 9_000.0, 1.0),
        served("LitServe", 1_000.0, 30.0),
        served("LitServe, batches", 800.0, 20.0),
        Row("Triton", "tail certified", "", missing="not installed"),
        served("securesplit", 2_500.0, 15.0, is_ours=True),
    ]
    found = list(figures.figures(replace(BEFORE, rows=rows)))
    assert [(one.wanted, one.had, one.is_reached) for one in found] == [
        ("≥ 2 ×", "2.50 ×", True),
        ("≥ 2 ×", "2.50 ×", True),
        ("≤ 0.50 ×", "0.75 ×", False),
        ("≥ 3,000", "5,000", True),
    ]
    assert "against LitServe, batches" in found[2].what
    assert "| **no** |" in page.document(replace(BEFORE, rows=rows))


def test_a_photo_is_compared_with_the_function_and_the_fastest_unsplit_network():
    def row(name: str, *ms: float, request_bytes: float = 0.0) -> Row:
        rounds = [{"p50_ms": each, "request_bytes": request_bytes} for each in ms]
        return Row(name, "photo", "", rounds=rounds, latency={"p50_ms": ms[0]})

    rows = [
        row("Keras predict, pickle, TCP", 100.0, request_bytes=19_300.0),
        row("TensorFlow function, whole network", 20.0, 40.0),
        row("LiteRT, whole network", 8.0, 16.0),
        row("ONNX Runtime, whole network", 9.0, 9.0),
        row("securesplit, none", 9.0, 18.0),
        row("securesplit, compact", 10.0, 20.0),
        row("securesplit, certified", 99.0, request_bytes=100.0),
    ]
    found = [(one.wanted, one.had, one.is_reached) for one in figures.figures(replace(BEFORE, rows=rows))]
    assert found == [
        ("≤ 0.50 ×", "0.45 ×", True),
        ("≤ 9.4 ms", "9 ms", True),
        ("≤ 0.50 ×", "0.50 ×", True),
        ("≤ 9.4 ms", "10 ms", False),
        ("≤ 1/150", "1/193", True),
    ]


@pytest.mark.parametrize(
    ("is_ours", "reason", "fails"),
    [
        (True, "it ended: no", True),
        (True, "the bundle has no preset encrypted", False),
        (False, "not installed: no network", False),
    ],
)
def test_only_a_row_of_ours_that_is_missing_fails(is_ours: bool, reason: str, fails: bool):
    now = replace(BEFORE, rows=[*BEFORE.rows, Row("other", "photo", "", is_ours=is_ours, missing=reason)])
    assert bool(judge(BEFORE, now)) == fails
    assert f"- other: {reason}" in page.document(now)


def test_a_run_is_read_as_it_was_kept(tmp_path: Path):
    save(BEFORE, tmp_path / "run.json")
    kept = load(tmp_path / "run.json")
    assert kept is not None
    assert page.document(kept) == page.document(BEFORE)
    assert load(tmp_path / "none.json") is None


def test_the_document_is_that_of_the_published_run():
    published = load(REPO / PUBLISHED)
    assert published is not None
    assert (REPO / "docs/performance.md").read_text() == page.document(published)


def test_a_tree_has_processes_that_a_process_started():
    command = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(4 * 10**7)); input()'])"
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        while process_tree.cpu_s(process.pid) < 0.1 or len(process_tree.tree(process.pid)) < 2:
            assert process.poll() is None
        assert process_tree.memory_mb(process.pid) > 5
        process.stdin.write("\n")


def test_a_quick_run_measures_real_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """A real worker and a real HTTPS server, asked by real clients whose answers are checked."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.chdir(tmp_path)
    assert main(["--quick"]) == 0
    run = load(tmp_path / "build/bench/performance.json")
    assert run is not None
    assert {row.task for row in run.rows} == {"photo", "tail none", "tail certified", "encrypted"}
    for row in run.rows:
        assert not row.missing
        (figures,) = row.rounds
        assert figures["p50_ms"] > 0
        assert figures["request_bytes"] > 90
        assert row.task == "encrypted" or figures["worker_memory_mb"] > 10
    printed = capsys.readouterr().out
    assert "**securesplit, certified**" in printed
    assert "Not measured" not in printed
