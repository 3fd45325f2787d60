"""Train the preset `guarded` on photos' cut maps, with the head as it is, and attack it at the end.

    python -m training.release.guarded --data ../shared/data/ham10000 --run build/guarded [--network NET.npz]

Two CPU cores are enough. The head's maps are computed once (`training.release.cut_maps`); then an encoder learns to
keep the diagnosis against adversaries (`training.release.guarded_press`) under a controller
(`training.release.guarded_controller`), then decoder and the worker's network learn to read its release
(`training.release.guarded_tail`). A run that was interrupted resumes where it last wrote a checkpoint. Into RUN go
``guarded.npz``, the float16 weights as ``PART.NUMBER``, and ``guarded.json`` with every figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from securesplit.atomic import atomic_write
from securesplit.errors import ConfigError
from training import command
from training.data.dataset import Dataset, Split
from training.network.model import shipped_network
from training.network.weights_npz import load_weights_npz
from training.output import write_json
from training.release import guarded_attack
from training.release.cut_maps import cut_maps
from training.release.guarded_attack import Holdings
from training.release.guarded_controller import Controller
from training.release.guarded_press import Array, Batches, CutViews, Press, Terms
from training.release.guarded_tail import TailStage

DRAWS = 3
"""Of the noise, in every evaluation."""
TEACHER_SHARE = 0.7
"""Of the target that is the undefended network's probability; the rest is the label."""
Held = tuple[CutViews, Holdings]
"""Photos, and what an attacker holds of them."""
EVERY = 50
"""Steps between two lines and two checkpoints."""
VIEW_SEED = 7
"""Of the random views, which all runs share."""


def network_of(args: argparse.Namespace) -> keras.Model:
    """The undefended network: of an archive, or else of the bundle that ships."""
    if args.network is None:
        from securesplit.model import Bundle
        from securesplit.model.bundle import DEFAULT_FOLDER
        from training.network import warm_start

        return warm_start.network_of(Bundle.load(DEFAULT_FOLDER))
    network = shipped_network(args.backbone)
    load_weights_npz(network, args.network)
    return network


def views_of(network: keras.Model, split: Split, args: argparse.Namespace, views: int) -> CutViews:
    """Cached views of a split's photos, `views` of them random."""
    found = cut_maps(network, args.cut, split.pixels, args.cache, recipe=args.views, views=views, seed=VIEW_SEED)
    lesions = np.array([photo.lesion for photo in split.photos])
    labels = split.malignant.astype(np.int32)
    return CutViews(found.maps, found.thumbs, np.tile(labels, views + 1), found.logits, np.tile(lesions, views + 1))


class Checkpoint:
    """All variables of a stage and its step, in one archive.

    Args:
        file: of the archive.
        variables: in an order that is the same in every process.
    """

    def __init__(self, file: Path, variables: list[Any]) -> None:
        self.file, self.variables = file, variables

    def save(self, step: int, **values: float) -> None:
        """Write everything, whole or not at all."""
        arrays = {str(place): np.asarray(variable) for place, variable in enumerate(self.variables)}
        with atomic_write(self.file) as own, own.open("wb") as stream:
            np.savez(stream, allow_pickle=False, step=step, **values, **arrays)

    def load(self) -> dict[str, float]:
        """Give the variables what was written: step and values; step 0 where nothing was.

        Raises:
            ConfigError: the archive is of other settings.
        """
        if not self.file.is_file():
            return {"step": 0}
        with np.load(self.file, allow_pickle=False) as archive:
            stored = [archive[str(place)] for place in range(sum(name.isdigit() for name in archive.files))]
            values = {name: float(archive[name]) for name in archive.files if not name.isdigit()}
        if [weight.shape for weight in stored] != [tuple(variable.shape) for variable in self.variables]:
            raise ConfigError(f"{self.file} is of other settings", hint="give another --run")
        for variable, weight in zip(self.variables, stored, strict=True):
            variable.assign(weight)
        return values


def press(stage: Press, train: CutViews, val: CutViews, args: argparse.Namespace) -> list[dict[str, float]]:
    """Train the encoder; what was printed, by line."""
    batches = Batches(train, args.batch, TEACHER_SHARE, args.seed)
    controller = Controller(args.learn, args.margin, args.most)
    checkpoint = Checkpoint(args.run / "press.npz", stage.variables)
    state = checkpoint.load()
    for name in ("average", "baseline", "strength"):
        setattr(controller, name, state.get(name, getattr(controller, name)))
    controller.steps = int(state["step"])
    lines: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    for step in range(controller.steps, args.press_steps):
        batch = {name: tf.constant(values) for name, values in batches.draw(step).items()}
        figures = stage.step(batch, tf.constant(controller.strength, tf.float32))
        controller.update(float(figures["task"]))
        sums = {name: sums.get(name, 0.0) + float(value) / EVERY for name, value in figures.items()}
        if (step + 1) % EVERY == 0:
            scores = stage.probe.predict(_sent(stage.encoder, val, args.sigma), batch_size=250, verbose=0)
            line = {"step": step + 1, "strength": controller.strength, **sums, "auc": auc(val.labels, scores[:, 0])}
            say(line)
            lines.append(line)
            sums = {}
            kept = {name: getattr(controller, name) for name in ("average", "baseline", "strength")}
            checkpoint.save(step + 1, **kept)
    return lines


def _sent(encoder: keras.Model, views: CutViews, sigma: float, seed: int = 0) -> Array:
    releases = encoder.predict(views.maps.astype(np.float32), batch_size=250, verbose=0)
    return guarded_attack.grid_noise(releases, sigma, seed)


def read(stage: TailStage, train: Holdings, targets: Array, val: Holdings, args: argparse.Namespace) -> list[Any]:
    """Train decoder and tail on releases; what was printed, by line."""
    checkpoint = Checkpoint(args.run / "tail.npz", stage.variables)
    pool = np.concatenate([np.arange(len(train.labels)), np.flatnonzero(train.labels)])
    lines, total = [], 0.0
    for step in range(int(checkpoint.load()["step"]), args.tail_steps):
        rows = np.random.default_rng([args.seed, step]).choice(pool, args.batch, replace=False)
        total += float(stage.step(tf.constant(train.releases[rows]), tf.constant(targets[rows]))) / EVERY
        if (step + 1) % EVERY == 0:
            answers = stage.answers(guarded_attack.grid_noise(val.releases, args.sigma, 0))
            lines.append({"step": step + 1, "task": total, "auc": auc(val.labels, answers)})
            say(lines[-1])
            total = 0.0
            checkpoint.save(step + 1)
    return lines


def auc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve; NaN where only one class is present."""
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) > 1 else float("nan")


def holdings(encoder: keras.Model, views: CutViews) -> Holdings:
    """Releases without noise, and what they are of."""
    releases = encoder.predict(views.maps.astype(np.float32), batch_size=250, verbose=0)
    return Holdings(releases, views.thumbs.astype(np.float32), views.labels)


def answered(answer: Callable[[Array], Array], held: Holdings, sigma: float) -> float:
    """AUC with noise, the mean of `DRAWS`."""
    draws = [answer(guarded_attack.grid_noise(held.releases, sigma, seed)) for seed in range(DRAWS)]
    return float(np.mean([auc(held.labels, scores) for scores in draws]))


def attacked(known: Held, hidden: Held, splits: dict[str, Split], args: argparse.Namespace) -> dict[str, Any]:
    """What `training.release.guarded_attack` finds out about centre squares."""
    own, victims = known[1], hidden[1]
    return {
        "ridge_skill": guarded_attack.ridge_skill(own, victims, args.sigma, args.seed),
        "identified_among_1000": guarded_attack.identified(victims, args.sigma, args.seed),
        **rebuilt(own, victims, args),
        **recognised(known, hidden, splits, args.sigma, args.seed),
    }


def rebuilt(own: Holdings, victims: Holdings, args: argparse.Namespace) -> dict[str, Any]:
    """What a fresh residual decoder makes of the releases."""
    pictures, skills = guarded_attack.rebuilt_by_decoder(
        own, victims, args.sigma, epochs=args.attack_epochs, seed=args.seed
    )
    return {
        "decoder_skill_by_epoch": skills,
        "ssim_above_class_mean": guarded_attack.structure_above(pictures, victims, guarded_attack.class_means_of(own)),
        "own_original_among_300": guarded_attack.retrieval(pictures, victims),
    }


def recognised(known: Held, hidden: Held, splits: dict[str, Split], sigma: float, seed: int) -> dict[str, Any]:
    """Linking of two photos of a lesion, and attributes of person and picture.

    Attributes are told from the release, and from the undefended network's answer alone, which any release that serves
    for the diagnosis gives away.
    """
    (train, own), (val, victims) = known, hidden
    sent = {
        "own": guarded_attack.grid_noise(own.releases, sigma, seed).reshape(len(own.labels), -1),
        "victims": guarded_attack.grid_noise(victims.releases, sigma, seed + 1).reshape(len(victims.labels), -1),
    }
    diagnoses = np.array([photo.dx for photo in splits["val"].photos])
    attributes, cuts = guarded_attack.properties_of(own.thumbs)
    attributes |= of_persons(splits["train"])
    truth = guarded_attack.properties_of(victims.thumbs, cuts)[0] | of_persons(splits["val"])

    def beyond_label(from_own: Array, from_victims: Array) -> dict[str, Any]:
        return {
            name: guarded_attack.profiled(
                (from_own, own.labels, attributes[name]), (from_victims, victims.labels, truth[name]), seed=seed
            )
            for name in attributes
        }

    return {
        "linked_auc": guarded_attack.linked(
            sent["own"], train.lesions, sent["victims"], val.lesions, diagnoses, seed=seed
        ),
        "beyond_label": beyond_label(sent["own"], sent["victims"]),
        "undefended_answer_beyond_label": beyond_label(train.logits[:, None], val.logits[:, None]),
    }


def of_persons(split: Split) -> dict[str, Array]:
    """By name ``(n,)`` 0 or 1, -1 for unknown: older than 50, male, on the trunk or its back."""
    sites = {"back", "trunk", "chest", "abdomen"}
    photos = split.photos
    return {
        "age": np.array([int(float(photo.age) > 50) if photo.age else -1 for photo in photos]),
        "sex": np.array([{"male": 1, "female": 0}.get(photo.sex, -1) for photo in photos]),
        "site": np.array([int(photo.site in sites) if photo.site else -1 for photo in photos]),
    }


def multiply_adds(network: keras.Model, stages: tuple[Press, TailStage], cut: str) -> dict[str, float]:
    """For one photo: of the device, of the worker, and the device's share."""
    from securesplit.model.keras_graph import graph_of

    head = keras.Model(network.inputs[0], network.get_layer(cut).output)
    first, second = stages
    device, worker = (
        sum(node.multiply_adds for model in models for node in graph_of(model).nodes)
        for models in ((head, first.encoder), (second.decoder, second.tail))
    )
    return {"device": device, "worker": worker, "device_share": device / (device + worker)}


def write_weights(first: Press, second: TailStage, file: Path) -> None:
    """Encoder, decoder and tail as float16, called by part and number: ``encoder.0`` and so on."""
    models = {"encoder": first.encoder, "decoder": second.decoder, "tail": second.tail}
    arrays = {
        f"{name}.{place}": np.asarray(weight, np.float16)
        for name, model in models.items()
        for place, weight in enumerate(model.get_weights())
    }
    with atomic_write(file) as own, own.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def main() -> None:
    """Command line."""
    args = _parser().parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache or args.run
    keras.utils.set_random_seed(args.seed)
    network = network_of(args)
    data = Dataset.read(args.data, args.cache)
    data.check_disjoint()
    splits = {name: data.split(name, int(network.inputs[0].shape[1])) for name in ("train", "val")}
    train, val = (views_of(network, splits[name], args, views) for name, views in (("train", 1), ("val", 0)))
    report = trained(network, train, val, splits, args)
    say({"auc": report["auc"], "attacked": report["attacked"]})


def trained(
    network: keras.Model, train: CutViews, val: CutViews, splits: dict[str, Split], args: argparse.Namespace
) -> dict[str, Any]:
    """Run both stages and the attacks, and write weights and report."""
    first, second = stages(network, args)
    report: dict[str, Any] = {"settings": {name: str(value) for name, value in vars(args).items()}}
    report["multiply_adds"] = multiply_adds(network, (first, second), args.cut)
    report["press"] = press(first, train, val, args)
    own, victims = holdings(first.encoder, train), holdings(first.encoder, val)
    centres = slice(len(splits["train"].photos))
    known = CutViews(*_rows(train, centres)), Holdings(*_rows(own, centres))
    report["attacked"] = attacked(known, (val, victims), splits, args)
    _write(report, args.run)
    say(report["attacked"])
    report["tail"] = read(second, own, Batches(train, args.batch, TEACHER_SHARE, args.seed).targets, victims, args)
    report["auc"] = {
        "undefended": auc(val.labels, val.logits),
        "probe": answered(lambda sent: first.probe.predict(sent, batch_size=250, verbose=0)[:, 0], victims, args.sigma),
        "answer": answered(second.answers, victims, args.sigma),
    }
    write_weights(first, second, args.run / "guarded.npz")
    _write(report, args.run)
    return report


def _rows(held: CutViews | Holdings, rows: slice) -> list[Array]:
    return [values[rows] for values in vars(held).values()]


def stages(network: keras.Model, args: argparse.Namespace) -> tuple[Press, TailStage]:
    """Both, not trained yet."""
    settings = {"size": args.size, "channels": args.channels, "sigma": args.sigma}
    terms = Terms(args.rebuilding, args.linking, args.profiling, args.allowed)
    shape = tuple(network.get_layer(args.cut).output.shape[1:])
    first = Press(shape, **settings, terms=terms, rebuilders=tuple(args.rebuilders), steps=args.press_steps)
    return first, TailStage(network, args.cut, **settings, steps=args.tail_steps)


def _write(report: dict[str, Any], run: Path) -> None:
    write_json(run / "guarded.json", report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--network", type=Path, help="archive of the undefended weights (default: the bundle's)")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints, weights and figures")
    parser.add_argument("--cache", type=Path, help="folder for photos and maps (default: that of the run)")
    parser.add_argument("--backbone", default="efficientnetv2b0")
    parser.add_argument("--cut", default="block4c_add", help="last layer on the device")
    parser.add_argument("--size", type=int, default=5, help="height and width of the release")
    parser.add_argument("--channels", type=int, default=8, help="of the release")
    parser.add_argument("--sigma", type=float, default=0.3, help="of the noise; values lie in -1..1")
    parser.add_argument("--rebuilding", type=float, default=1.0, help="weight of what rebuilders win")
    parser.add_argument("--linking", type=float, default=0.5, help="weight of what linking two views wins")
    parser.add_argument("--profiling", type=float, default=0.5, help="weight of what the profiler wins")
    parser.add_argument("--allowed", type=float, default=0.03, help="share of its baseline that each may win unpressed")
    parser.add_argument("--rebuilders", nargs="+", default=["linear", "dense", "convolutional"])
    parser.add_argument("--learn", type=int, default=400, help="steps with noise alone")
    parser.add_argument("--margin", type=float, default=0.02, help="nats of the task that privacy may cost")
    parser.add_argument("--most", type=float, default=2.0, help="greatest strength of all terms but the task")
    parser.add_argument("--press-steps", type=int, default=1500)
    parser.add_argument("--tail-steps", type=int, default=400)
    parser.add_argument("--attack-epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64, help="views a step")
    parser.add_argument("--views", default="dermoscopy", help="a recipe of training.network.augmentation")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def say(line: dict[str, Any]) -> None:
    """Print at once, for the output may go into a file."""
    figures = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in line.items())
    print(time.strftime("%H:%M:%S"), *figures, flush=True)


if __name__ == "__main__":
    command.run(main)
