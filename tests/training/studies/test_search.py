"""A search that is killed in the middle of a trial resumes, and its report says what was found. Needs TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_isic, listed
from tests.training.forked import LINE, Forks
from tests.training.full_disk import largest_file
from training.network.config import Config, named

NEEDED = ("tensorflow", "optuna")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason="the train extra is not installed"),
]


def states(file: Path) -> list[str]:
    if not file.is_file():
        return []
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        try:
            return [state for (state,) in database.execute("select state from trials order by number")]
        except sqlite3.OperationalError:  # its tables are not there yet
            return []


def test_the_first_epoch_stops_no_trial_and_the_second_may(tmp_path: Path) -> None:
    search = pytest.importorskip("training.studies.search")  # it loads optuna and Keras
    study = search.open_study(tmp_path, seed=1)
    for _ in range(search.STARTUP_TRIALS):
        earlier = study.ask()
        for epoch in (1, 2):
            earlier.report(0.8, epoch)
        study.tell(earlier, 0.8)
    trial = study.ask()
    trial.report(0.3, 1)
    assert not trial.should_prune()
    trial.report(0.3, 2)
    assert trial.should_prune()


@pytest.mark.parametrize("how", ["full", "damaged"])
def test_a_database_that_cannot_be_used_is_an_error_with_a_hint(tmp_path: Path, how: str) -> None:
    search = pytest.importorskip("training.studies.search")

    def use() -> None:
        study = search.open_study(tmp_path, seed=1)
        with largest_file(1 << 17):
            for number in range(200):
                study.enqueue_trial({"dropout": number / 1000}, user_attrs={"text": "x" * 1000})

    if how == "damaged":
        (tmp_path / "search.db").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=r"cannot use .*search\.db \(") as caught, search.database_told(tmp_path):
        use()
    assert "is the disk full" in caught.value.hint


def test_a_search_of_other_photos_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = pytest.importorskip("training.studies.search")
    monkeypatch.setattr(search.search_report, "write", lambda *_: None)  # there is no trial to report
    config, (mine, others) = named("dermoscopy"), (listed(name) for name in "ab")
    search.open_study(tmp_path, config.seed).set_user_attr("around", config.to_json())
    for _ in range(2):  # at first as earlier ones are, which do not name their photos
        found = search.search(config, mine, tmp_path, trials=0)
        assert found.user_attrs["around"]["data_sha256"] == mine.digest
    with pytest.raises(ConfigError, match="of other photos"):
        search.search(config, others, tmp_path, trials=0)


def test_a_trial_that_diverges_counts_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = pytest.importorskip("training.studies.search")
    validation = pytest.importorskip("training.network.validation")
    config, data = named("dermoscopy"), listed("a")
    tried: list[float] = []

    def train(tried_config: Config, *_: object, extra: list[Any], **__: object) -> dict[str, float]:
        """Diverges after the best first epoch of all; the trial after it, and the others, come to their end."""
        tried.append(tried_config.learning_rate)
        if len(tried) == 2:
            extra[0].on_epoch_end(0, {"val_auc": 0.99})
            validation.figures(split, np.array([0.1, np.nan]))
        return {"val_auc": 0.7 + len(tried) / 100}

    split = data.photos["val"]
    monkeypatch.setattr(search, "train", train)
    study = search.search(config, data, tmp_path, trials=4)
    assert len(tried) == 4
    assert study.best_trial.number == 3
    report = json.loads((tmp_path / "search.json").read_text())
    assert [trial["state"] for trial in report["trials"]] == ["complete", "diverged", "complete", "complete"]
    row = (tmp_path / "search.md").read_text().splitlines()[-1]
    assert row.startswith("| 1 ")
    assert row.endswith("| 0.9900 | diverged after epoch 1 |")
    search.search(config, data, tmp_path, trials=4)
    assert len(tried) == 4, "what diverged is not tried again"


def test_a_search_in_which_all_diverge_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = pytest.importorskip("training.studies.search")
    validation = pytest.importorskip("training.network.validation")
    monkeypatch.setattr(search, "train", lambda *_, **__: validation.figures([], np.array([np.inf])))
    with pytest.raises(ConfigError, match="none of 2 trials came to its end"):
        search.search(named("dermoscopy"), listed("a"), tmp_path, trials=2)


def test_a_search_without_a_figure_is_refused(tmp_path: Path) -> None:
    search = pytest.importorskip("training.studies.search")
    with pytest.raises(ConfigError, match="goes by a figure") as caught:
        search.search(named("dermoscopy", ["monitor=last"]), listed("a"), tmp_path, trials=2)
    assert caught.value.hint == "--set monitor=auc"


def test_a_killed_search_goes_on_and_reports(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    out = tmp_path / "search"
    settings = ("backbone=tiny", "side=48", "outputs=final", "balance=equal", "per_class=40", "epochs=2")
    command = [
        *(*LINE, "training.studies.search", "--data", str(tmp_path / "data")),
        *("--out", str(out), "--trials", "3"),
        *(part for setting in settings for part in ("--set", setting)),
    ]
    forks.kill(command, once=lambda: states(out / "search.db")[1:] == ["RUNNING"])
    done = forks.run(command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "trial 1 was interrupted and is tried again" in done.stdout
    found = states(out / "search.db")
    assert found[1] == "FAIL"
    assert len([state for state in found if state in ("COMPLETE", "PRUNED")]) == 3
    report = json.loads((out / "search.json").read_text())
    trials = {trial["trial"]: trial for trial in report["trials"]}
    assert set(trials) == {0, 2, 3}
    assert trials[3]["parameters"] not in (trials[0]["parameters"], trials[2]["parameters"])
    assert report["around"]["backbone"] == "tiny"
    assert report["best"]["figure"] == max(max(t["figure_by_epoch"].values()) for t in trials.values())
    lines = (out / "search.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith(("| 0 ", "| 2 ", "| 3 "))]) == 3
    assert np.asarray(Image.open(out / "search.png")).std() > 10
    assert not list(out.glob("trial-*"))
    other = forks.run([*command, "--set", "side=40"])
    assert other.returncode == 2
    assert "a search around another configuration" in other.stderr
