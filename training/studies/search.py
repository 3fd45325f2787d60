r"""Search learning rate, dropout, batch size and strength of augmentation with optuna (Akiba et al. 2019).

    python -m training.studies.search --config dermoscopy --set backbone=mobilenet_v2 --set side=96 --set photos=1500 \
        --set epochs=3 --set ema=0 --weights WEIGHTS --data DIR --out build/search --trials 20

Every trial trains the configuration with other values and reports its validation figure after each epoch; one that
falls behind the median of the others at the same epoch, the second or a later one, is stopped. One whose network
diverges is noted as that: it counts, can never be the best, and its values are not tried again. Trials stand in
``search.db`` (SQLite), so a search that was killed resumes, and the trial it was killed in is tried again. A search
that is affordable on two cores uses a small backbone, few pixels, few photos and few epochs, as above: it ranks
settings of *that*, and the report says so.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from securesplit.errors import ConfigError
from training import command
from training.data.dataset import Dataset
from training.network.arguments import common_arguments, starts_from
from training.network.config import LAST, Config, named
from training.network.train import train
from training.network.validation import DivergedError
from training.studies import begun, search_report

STARTUP_TRIALS = 4  # drawn at random, and never stopped early
FIRST_JUDGED_EPOCH = 2  # in the first one the learning rate still rises


def suggest(trial: optuna.Trial, config: Config) -> Config:
    """`config` with the values of `trial`."""
    return replace(
        config,
        learning_rate=trial.suggest_float("learning_rate", 1e-5, 3e-3, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        batch=trial.suggest_categorical("batch", search_report.BATCHES),
        strength=trial.suggest_float("strength", 0.0, 1.5, step=0.25),
    )


class TrialReporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Tells the trial its figure after each epoch, and stops it where it falls behind."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        self._trial, self._monitor = trial, monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raises `optuna.TrialPruned` where the trial falls behind."""
        self._trial.report((logs or {})[self._monitor], epoch + 1)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def open_study(out: Path, seed: int) -> optuna.Study:
    """The study in ``search.db`` under `out`, made where it is not there."""
    out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{(out / 'search.db').resolve()}",
        study_name="search",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=FIRST_JUDGED_EPOCH),
    )
    begun = len(study.get_trials(deepcopy=False))  # a sampler of the same seed would draw the first trials once more
    study.sampler = optuna.samplers.TPESampler(seed=seed + begun, n_startup_trials=STARTUP_TRIALS)
    return study


def take_up(study: optuna.Study) -> list[int]:
    """Close the trials that a kill left running, and line their values up again; return their numbers."""
    left = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    for trial in left:
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return [trial.number for trial in left]


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to an answer: complete, or stopped early, as those are that diverged."""
    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def search(config: Config, data: Dataset, out: Path, *, trials: int, keep_runs: bool = False, **options: Any) -> Any:
    """Continue until `trials` trials have come to an answer; return the study.

    Args:
        config: what is searched around; its seed is the search's too.
        data: the photos of every trial.
        out: folder of the search.
        trials: complete or stopped early, those of earlier sessions included.
        keep_runs: keep each trial's run folder (weights included).
        options: for `training.network.train.train`.

    Raises:
        ConfigError: the configuration monitors no figure, `out` holds a search around another configuration, or of
            other photos, or no trial came to its end.
    """
    if config.monitor == LAST:
        raise ConfigError("a search goes by a figure, and monitor=last names none", hint="--set monitor=auc")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(out, config.seed)
    around = begun.around(data, **config.to_json(), **starts_from(options))
    begun.check_goes_on(out, "search", study.user_attrs.get("around", around), around)
    study.set_user_attr("around", around)
    for number in take_up(study):
        print(f"trial {number} was interrupted and is tried again", flush=True)

    def objective(trial: optuna.Trial) -> float:
        monitor, run = f"val_{config.monitor}", out / f"trial-{trial.number}"
        keras.backend.clear_session()
        try:
            best = train(suggest(trial, config), data, run, extra=[TrialReporter(trial, monitor)], verbose=0, **options)
        except DivergedError:
            trial.set_user_attr(search_report.DIVERGED, value=True)
            raise optuna.TrialPruned from None  # the sampler learns from those; of failed ones it would not
        finally:
            if not keep_runs:
                shutil.rmtree(run, ignore_errors=True)
        return float(best[monitor])

    while len(counted(study)) < trials:
        study.optimize(objective, n_trials=1)
        print(search_report.line(study.get_trials(deepcopy=False)[-1]), flush=True)
        search_report.write(study, out)
    search_report.write(study, out)
    if trials and not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        hint = "give another --out and a smaller network, or --precision float32"
        raise ConfigError(f"none of {len(counted(study))} trials came to its end", hint=hint)
    return study


@contextlib.contextmanager
def database_told(out: Path) -> Iterator[None]:
    """Within the block, what the database of the search under `out` cannot do is an error for people.

    Raises:
        ConfigError: it cannot be read or written.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = getattr(error.__cause__ or error, "orig", None) or error  # what SQLite says, without the statement
        hint = "may it be read and written, and is the disk full? The same command goes on where it was"
        raise ConfigError(f"cannot use {out / 'search.db'} ({reason})", hint=hint) from None


def main() -> None:
    """Command line."""
    parser = common_arguments(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/search"))
    parser.add_argument("--trials", type=command.whole(1), default=20, help="in all, with those of earlier sessions")
    parser.add_argument("--keep-runs", action="store_true", help="keep the weights of every trial")
    args: Mapping[str, Any] = vars(parser.parse_args())
    data = Dataset.read(args["data"], args["out"] / "pixels")
    with database_told(args["out"]):
        study = search(
            *(named(args["config"], args["set"]), data, args["out"]),
            **{name: args[name] for name in ("trials", "keep_runs", "weights", "start", "precision")},
        )
        print(f"best: {study.best_params}, {study.best_value:.4f}; {args['out']}/search.md, search.json, search.png")


if __name__ == "__main__":
    command.run(main)
