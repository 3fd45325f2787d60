"""`training.train` as a command: killed and resumed, on two machines, other backends, refused.

The commands run with a tiny backbone (`tests.training.tiny`); the four real ones are built in `tests.model`.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.model import Bundle
from tests.conftest import REPO
from tests.training.drawn_photos import draw_folders, draw_isic
from tests.training.forked import LINE, PATIENCE_S, Forks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"),
]


def command(folder: Path, run: str, *settings: str, config: str = "dermoscopy") -> list[str]:
    values = [part for setting in ("backbone=tiny", "side=48", "batch=4", *settings) for part in ("--set", setting)]
    places = ["--data", str(folder / "data"), "--run", str(folder / run)]
    return [*LINE, "training.train", "--config", config, *values, *places]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, from the start."""
    return subprocess.run(
        command,
        cwd=REPO,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,  # most of it is the import of TensorFlow
        check=False,
    )


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def epochs_of(run: Path) -> list[int]:
    return [int(row["epoch"]) for row in history(run)]


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def test_a_run_killed_within_an_epoch_ends_like_any_other(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    arguments = command(
        tmp_path, "run", "epochs=3", "outputs=final", "balance=equal", "per_class=8"
    )  # 4 steps an epoch
    killed = forks.run(arguments, {"TINY_KILLED_AFTER": "6"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    begun, history_file = record(tmp_path / "run"), tmp_path / "run" / "history.csv"
    assert begun["status"] == "running"
    assert epochs_of(tmp_path / "run") == [0]
    with history_file.open("a") as log:  # as if killed between the second epoch and its backup
        log.write("1" + history_file.read_text().splitlines()[1].removeprefix("0") + "\n")
    done = forks.run(arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert epochs_of(tmp_path / "run") == [0, 1, 2]
    resumed = record(tmp_path / "run")
    assert [session["first_epoch"] for session in resumed["sessions"]] == [1, 2]
    assert resumed["status"] == "finished"
    assert resumed["made_from"] == begun["made_from"]


def test_one_command_from_raw_folders_to_a_student_bundle(forks: Forks, tmp_path: Path) -> None:
    draw_folders(tmp_path / "data", benign=24, malignant=16)
    arguments = command(tmp_path, "run", "epochs=2", config="student")
    done = forks.run([*arguments, "--bundle", str(tmp_path / "bundle"), "--licence", "CC0"])
    assert done.returncode == 0, done.stderr[-3000:]
    made = record(tmp_path / "run")
    assert made["made_from"]["config"]["seed"] == 1
    assert [len(made["made_from"][name]) for name in ("data_sha256", "photos_sha256")] == [64, 64]
    session = made["sessions"][0]
    assert {"tensorflow", "keras", "python"} <= set(session["versions"])
    assert session["hardware"]["cores"] == os.cpu_count()
    assert session["seconds"] > 0
    assert made["result"] == json.loads((tmp_path / "run" / "best.weights.json").read_text())
    assert list((tmp_path / "run" / "tensorboard" / "train").glob("events*"))
    bundle = Bundle.load(tmp_path / "bundle")
    assert (bundle.manifest.licence, bundle.manifest.cut, bundle.manifest.side) == ("CC0", "middle", 48)
    quality = bundle.preset("none").quality
    assert set(quality) == {"parity", "validation", "test"}
    head, tail = bundle.open_head(), bundle.open_tail()
    spec = bundle.preset("none").spec
    cut = head(np.zeros((48, 48, 3), np.uint8))["none"]
    assert np.isfinite(tail("none", np.rint(cut / spec.step).astype(spec.dtype)[None])).all()
    again = forks.run([*arguments, "--bundle", str(tmp_path / "bundle")])
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    other = forks.run([*arguments, "--set", "batch=8"])
    assert other.returncode == 2
    assert "holds a run of other config (batch=4)" in other.stderr
    assert "hint: give another --run" in other.stderr
    assert "Traceback" not in other.stderr


def test_a_start_that_is_refused_leaves_no_run(forks: Forks, tmp_path: Path) -> None:
    """Else whoever corrects a slip is told that the folder holds a run of another configuration."""
    draw_isic(tmp_path / "data")
    (tmp_path / "no.weights.h5").write_bytes(b"no weights")
    for slip in (
        ["--set", "freeze=nowhere"],
        ["--set", "backbone=nothing"],
        ["--set", "hold_out=nobody"],
        ["--set", "teacher_share=0.5", "--set", "taught_sources=nobody"],
        ["--start", str(tmp_path / "no.weights.h5")],
        ["--weights", str(tmp_path / "no.weights.h5")],
        ["--teacher", str(tmp_path)],
    ):
        refused = forks.run([*command(tmp_path, "run", "epochs=1"), *slip])
        assert refused.returncode in (2, 3), refused.stderr[-3000:]
        assert "hint: " in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "run" / "run.json").exists(), slip


def test_two_machines_on_the_loopback_train_one_network(tmp_path: Path, free_port: Callable[[], int]) -> None:
    draw_isic(tmp_path / "data")
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    arguments = command(tmp_path, "run", "epochs=2", "batch=4", "balance=equal")
    with contextlib.ExitStack() as stack:
        processes = []
        for index in range(2):
            cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "3"}
            log = stack.enter_context((tmp_path / f"{index}.log").open("w"))
            processes.append(subprocess.Popen(arguments, cwd=REPO, env=environment, stdout=log, stderr=log))
            stack.callback(processes[-1].kill)
        codes = [process.wait(PATIENCE_S) for process in processes]
    logs = [(tmp_path / f"{index}.log").read_text() for index in range(2)]
    assert codes == [0, 0], logs
    sums = [line for log in logs for line in log.splitlines() if line.startswith("weights ")]
    assert len(sums) == 2
    assert sums[0] == sums[1]
    assert epochs_of(tmp_path / "run") == [0, 1]
    hardware = record(tmp_path / "run")["sessions"][0]["hardware"]
    assert (hardware["machines"], hardware["strategy"]) == (2, "CollectiveAllReduceStrategy")


def test_two_devices_of_a_machine_learn_what_one_learns(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    plain = ("optimizer=adam", "schedule=constant", "learning_rate=1e-3", "dropout=0", "views=none", "pixels=0..1")
    plain += ("mixup=0", "ema=0")
    settings = ("epochs=2", "balance=equal", "per_class=16", *plain)  # 8 steps an epoch; four losses
    for devices in ("1", "2"):
        done = forks.run(command(tmp_path, devices, *settings), {"TINY_DEVICES": devices})
        assert done.returncode == 0, done.stderr[-3000:]
    assert record(tmp_path / "2")["sessions"][0]["hardware"]["strategy"] == "MirroredStrategy"
    one, two = ([{k: v for k, v in row.items() if "loss" in k} for row in history(tmp_path / n)] for n in "12")
    assert len(one[0]) == 5
    assert one[1]["loss"] < one[0]["loss"] - 0.01
    for epoch in (0, 1):
        assert two[epoch] == pytest.approx(one[epoch], rel=1e-5)


def test_two_devices_with_a_teacher_clipping_and_averaged_weights(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    done = forks.run(command(tmp_path, "run", "epochs=2", "teacher_share=0.5", "ema=0.9"), {"TINY_DEVICES": "2"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert epochs_of(tmp_path / "run") == [0, 1]


def test_another_backend_trains_the_same_network(tmp_path: Path) -> None:
    backend = next((name for name in ("jax", "torch") if importlib.util.find_spec(name)), None)
    if backend is None:
        pytest.skip("neither jax nor torch is installed")
    draw_isic(tmp_path / "data")
    done = run(command(tmp_path, "run", "epochs=2", "views=dermoscopy", "teacher_share=0.5"), KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr[-3000:]
    assert record(tmp_path / "run")["sessions"][0]["backend"] == backend
    assert epochs_of(tmp_path / "run") == [0, 1]


def test_stages_of_unfreezing_go_on_from_the_weights_before(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    first = forks.run(command(tmp_path, "first", "epochs=1", "freeze=middle"))
    assert first.returncode == 0, first.stderr[-3000:]
    start = tmp_path / "first" / "best.weights.h5"
    tricks = ("epochs=1", "mixup=0.2", "focal=2", "hairs=2", "histology_weight=1.5", "ema=0.9", "freeze=stem")
    second = [*command(tmp_path, "second", *tricks), "--start", str(start)]
    done = forks.run(second)
    assert done.returncode == 0, done.stderr[-3000:]
    stems = [kernel_of(tmp_path / name / "best.weights.h5", "conv2d") for name in ("first", "second")]
    assert (stems[0] == stems[1]).all()  # held in both
    ends = [kernel_of(tmp_path / name / "best.weights.h5", "dense_1") for name in ("first", "second")]
    assert (ends[0] != ends[1]).any()
    assert len(record(tmp_path / "second")["made_from"]["start"]) == 64
    for wrong, message in (("nowhere.weights.h5", "no weights in"), ("second/run.json", "does not fit")):
        refused = forks.run([*command(tmp_path, "third", "epochs=1"), "--start", str(tmp_path / wrong)])
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_saved_epoch_was_measured_on_averaged_weights(forks: Forks, tmp_path: Path) -> None:
    """The kept weights are the average's, and the backup holds those that training resumes from."""
    draw_isic(tmp_path / "data")
    done = forks.run(command(tmp_path, "run", "epochs=1", "ema=0.99", "balance=equal", "per_class=40"))
    assert done.returncode == 0, done.stderr[-3000:]
    kept = kernel_of(tmp_path / "run" / "best.weights.h5", "conv2d")
    with_rest = kernel_of(tmp_path / "run" / "resume" / "after-1.weights.h5", "conv2d")
    averages = average_of(tmp_path / "run" / "resume" / "after-1.weights.h5", kept.shape)
    assert (kept != with_rest).any()
    assert any(np.array_equal(kept, average) for average in averages)


def average_of(weights: Path, shape: tuple[int, ...]) -> list[Any]:
    """Everything of the optimizer in a backup that has this shape."""
    import h5py

    with h5py.File(weights) as file:
        return [np.asarray(v) for v in file["optimizer/vars"].values() if v.shape == shape]


def kernel_of(weights: Path, layer: str) -> Any:
    import h5py

    with h5py.File(weights) as file:
        return np.asarray(file[f"layers/{layer}/vars/0"])


def test_mixed_precision_keeps_weights_and_answers_in_float32(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    done = forks.run([*command(tmp_path, "run", "epochs=1", "ema=0.9"), "--precision", "mixed_bfloat16"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert record(tmp_path / "run")["sessions"][0]["precision"] == "mixed_bfloat16"
    import h5py

    with h5py.File(tmp_path / "run" / "best.weights.h5") as weights:
        kinds: list[str] = []
        weights["layers"].visititems(lambda _, item: kinds.append(str(getattr(item, "dtype", ""))))
    assert "float32" in kinds
    assert not any("float16" in kind for kind in kinds)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "backbone=vgg"], 2, "no backbone is called 'vgg'"),
        (["--config", "other"], 2, "no configuration is called 'other'"),
        (["--at", "block5e_add"], 2, "--bundle names none"),
        (["--licence", "CC0-1.0"], 2, "--bundle names none"),
        (["--data", "/nowhere"], 3, "there is no folder /nowhere"),
    ],
)
def test_refusals_have_a_hint_and_no_traceback(
    forks: Forks, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    draw_isic(tmp_path / "data")
    done = forks.run([*command(tmp_path, "run"), *arguments])
    assert done.returncode == code
    assert message in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
