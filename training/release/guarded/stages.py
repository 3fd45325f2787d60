"""The stages of `guarded`, one after the other, and the report of what came of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from securesplit.errors import ConfigError
from training.data.dataset import Split, at_random
from training.network.model import shipped_network
from training.network.validation import check_finite
from training.network.weights_npz import load_weights_npz
from training.output import write_json
from training.release.cut_maps import cut_maps
from training.release.guarded import attack, exposure, parts, weights
from training.release.guarded.attack import Holdings
from training.release.guarded.checkpoint import JOINT, PRESS, TAIL, Checkpoint
from training.release.guarded.controller import Controller
from training.release.guarded.joint import JointStage, models_of
from training.release.guarded.press import EncoderStage, Press
from training.release.guarded.tail import TailStage, copied
from training.release.guarded.views import Array, Batches, CutViews
from training.release.guarded.winnings import Terms

_Held = TypeVar("_Held", CutViews, Holdings)
DRAWS = 3
"""Of the noise, in every evaluation."""
EVERY = 50
"""Steps between two lines and two checkpoints."""
CHECKED = 5000
"""Training views of which the attacker of an early check holds the releases."""
KEPT = {"average", "baseline", "strength"}
"""Of a `Controller`, what a checkpoint holds beside the step."""
DIVERGED_HINT = "begin a new --run with another --seed, or a smaller --most"
VIEW_SEED = 7
"""Of the random views, which all runs share."""


def network_of(args: argparse.Namespace) -> keras.Model:
    """The undefended network: of an archive, or else of the bundle that ships.

    Raises:
        ConfigError: it cannot be cut so, or the maps of that cut do not shrink to a release.
    """
    if args.network is None:
        from securesplit.model import Bundle
        from securesplit.model.bundle import DEFAULT_FOLDER
        from training.network import warm_start

        network = warm_start.network_of(Bundle.load(DEFAULT_FOLDER))
    else:
        network = shipped_network(args.backbone)
        load_weights_npz(network, args.network)
    parts.stride_of(cut_shape(network, args.cut), args.size)
    return network


def views_of(network: keras.Model, split: Split, args: argparse.Namespace, views: int) -> CutViews:
    """Cached views of a split's photos, `views` of them random."""
    found = cut_maps(network, args.cut, split.pixels, args.cache, recipe=args.views, views=views, seed=VIEW_SEED)
    labels, lesions = (np.tile(each, views + 1) for each in (split.malignant.astype(np.int32), split.lesion))
    return CutViews(found.maps, found.thumbs, labels, found.logits, lesions)


def stages(network: keras.Model, args: argparse.Namespace) -> tuple[Press, TailStage]:
    """Both, not trained yet."""
    return press_of(cut_shape(network, args.cut), args), tail_of(network, args)


def cut_shape(network: keras.Model, cut: str) -> tuple[int, int, int]:
    """``(h, w, c)`` of a layer's output.

    Raises:
        ConfigError: the network has no such layer, or no map comes out of it.
    """
    found = [layer.output.shape[1:] for layer in network.layers if layer.name == cut]
    if not found or len(found[0]) != 3:
        raise ConfigError(f"the network has no layer {cut!r} with a map", hint="`securesplit cuts` lists its layers")
    height, width, channels = found[0]
    return height, width, channels


def press_of(shape: tuple[int, int, int], args: argparse.Namespace) -> Press:
    """The first stage for maps of that shape."""
    return Press(
        shape,
        args.size,
        args.channels,
        sigma=args.sigma,
        terms=Terms(args.rebuilding, args.linking, args.profiling, args.allowed),
        rebuilders=tuple(args.rebuilders),
        steps=max(1, args.press_steps),
        blocks=args.blocks,
    )


def tail_of(network: keras.Model, args: argparse.Namespace) -> TailStage:
    """The second stage."""
    return TailStage(network, args.cut, args.size, args.channels, sigma=args.sigma, steps=max(1, args.tail_steps))


def press(stage: EncoderStage, train: CutViews, val: CutViews, args: argparse.Namespace) -> list[dict[str, float]]:
    """Train the encoder; what was printed, by line."""
    batches = Batches(train, args.batch, args.teacher_share, args.seed)
    controller = Controller(args.learn, args.margin, args.most, args.rise)
    checkpoint = Checkpoint(args.run / PRESS, stage.variables)
    state = checkpoint.load()
    for name in KEPT & state.keys():
        setattr(controller, name, state[name])
    controller.steps = int(state["step"])

    def advance(step: int) -> dict[str, Any]:
        stage.before_step(step, batches)
        figures: dict[str, Any] = stage.step(_tensors(batches.draw(step)), tf.constant(controller.strength, tf.float32))
        controller.update(float(figures["task"]))
        return figures

    def check() -> dict[str, float]:
        sent = attack.grid_noise(holdings(stage.encoder, val).releases, args.sigma, 0)
        return {"strength": controller.strength, "auc": auc(val.labels, probed(stage)(sent))}

    def save(step: int) -> None:
        checkpoint.save(step, **{name: getattr(controller, name) for name in KEPT})

    return _lines(range(controller.steps, args.press_steps), advance, check, save)


def read(stage: TailStage, train: Holdings, targets: Array, val: Holdings, args: argparse.Namespace) -> list[Any]:
    """Train decoder and tail on releases; what was printed, by line."""
    checkpoint = Checkpoint(args.run / TAIL, stage.variables)
    pool = np.concatenate([np.arange(len(train.labels)), np.flatnonzero(train.labels)])

    def advance(step: int) -> dict[str, Any]:
        rows = np.random.default_rng([args.seed, step]).choice(pool, args.batch, replace=False)
        return {"task": stage.step(tf.constant(train.releases[rows]), tf.constant(targets[rows]))}

    def check() -> dict[str, float]:
        return {"auc": auc(val.labels, stage.answers(attack.grid_noise(val.releases, args.sigma, 0)))}

    return _lines(range(int(checkpoint.load()["step"]), args.tail_steps), advance, check, checkpoint.save)


def join(stage: JointStage, train: CutViews, val: CutViews, args: argparse.Namespace) -> list[dict[str, float]]:
    """Train both earlier stages as one; what was printed, by line.

    The strength of the terms rises to its greatest within ``args.rise`` steps; what holds them back is
    ``args.allowed``.
    """
    batches = Batches(train, args.batch, args.teacher_share, args.seed)
    checkpoint = Checkpoint(args.run / JOINT, stage.variables)

    def advance(step: int) -> dict[str, Any]:
        batch = _tensors(batches.draw(args.press_steps + step))
        figures: dict[str, Any] = stage.step(batch, tf.constant(args.most * min(1, step / args.rise), tf.float32))
        return figures

    def check() -> dict[str, float]:
        return _checked(stage, train, val, args)

    return _lines(range(int(checkpoint.load()["step"]), args.joint_steps), advance, check, checkpoint.save)


def _lines(
    steps: range,
    advance: Callable[[int], Mapping[str, Any]],
    check: Callable[[], Mapping[str, float]],
    save: Callable[[int], None],
) -> list[dict[str, float]]:
    """Train; every `EVERY` steps print a line and write a checkpoint.

    Args:
        steps: those that are left.
        advance: takes one step; its figures, of which a line has the means.
        check: measures what else a line has.
        save: writes the checkpoint, given how many steps are done.

    Returns:
        what was printed.

    Raises:
        DivergedError: the task of a step is not finite.
    """
    lines: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    for step in steps:
        figures = advance(step)
        check_finite(figures["task"], hint=DIVERGED_HINT)
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + float(value) / EVERY
        if (step + 1) % EVERY == 0:
            lines.append({"step": step + 1, **sums, **check()})
            say(lines[-1])
            sums = {}
            save(step + 1)
    return lines


def _tensors(batch: Mapping[str, Array]) -> dict[str, Any]:
    return {name: tf.constant(values) for name, values in batch.items()}


def _checked(stage: JointStage, train: CutViews, val: CutViews, args: argparse.Namespace) -> dict[str, float]:
    """What a run is stopped by early: AUC of the answer and of the probe, and what a ridge inverse rebuilds."""
    few = only(train, at_random(len(train.labels), CHECKED))
    own, victims = (holdings(stage.first.encoder, views) for views in (few, val))
    sent = attack.grid_noise(victims.releases, args.sigma, 0)
    return {
        "auc": auc(val.labels, stage.second.answers(sent)),
        "probe": auc(val.labels, probed(stage.first)(sent)),
        "ridge": attack.ridge_skill(own, victims, args.sigma, args.seed),
    }


def auc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve; NaN where only one class is present.

    Raises:
        DivergedError: a score is not finite.
    """
    check_finite(scores, hint=DIVERGED_HINT)
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) > 1 else float("nan")


def holdings(encoder: keras.Model, views: CutViews) -> Holdings:
    """Releases without noise, and what they are of."""
    releases = encoder.predict(views.maps.astype(np.float32), batch_size=250, verbose=0)
    return Holdings(releases, views.thumbs.astype(np.float32), views.labels)


def answered(answer: Callable[[Array], Array], held: Holdings, sigma: float) -> float:
    """AUC with noise, the mean of `DRAWS`."""
    return float(np.mean([auc(held.labels, scores) for scores in answers_of(answer, held, sigma)]))


def answers_of(answer: Callable[[Array], Array], held: Holdings, sigma: float) -> list[Array]:
    """``(n,)`` logits for each of `DRAWS`."""
    return [answer(attack.grid_noise(held.releases, sigma, seed)) for seed in range(DRAWS)]


def probed(stage: EncoderStage) -> Callable[[Array], Array]:
    """What the probe answers to noised releases, ``(n,)``."""
    return lambda sent: np.asarray(stage.probe.predict(sent, batch_size=250, verbose=0)[:, 0])


def trained(
    network: keras.Model, train: CutViews, val: CutViews, splits: dict[str, Split], args: argparse.Namespace
) -> dict[str, Any]:
    """Run all stages and the attacks, and write weights and report."""
    first, second = stages(network, args)
    undefended = copied(second.tail) if args.blends else None
    if args.start:
        weights.load(models_of(first, second), args.start)
    report: dict[str, Any] = {"settings": {name: str(value) for name, value in vars(args).items()}}
    report["multiply_adds"] = multiply_adds(network, (first, second), args.cut)
    report["press"] = press(first, train, val, args)
    own, victims = holdings(first.encoder, train), holdings(first.encoder, val)
    targets = Batches(train, args.batch, args.teacher_share, args.seed).targets
    report["tail"] = read(second, own, targets, victims, args)
    if args.joint_steps:
        report["joint"] = join(
            JointStage(first, second, steps=args.joint_steps, undefended=undefended), train, val, args
        )
        own, victims = holdings(first.encoder, train), holdings(first.encoder, val)
    report["auc"] = {
        "undefended": auc(val.labels, val.logits),
        "probe": answered(probed(first), victims, args.sigma),
        "answer": answered(second.answers, victims, args.sigma),
    }
    weights.save(models_of(first, second), args.run / "guarded.npz")
    write_json(args.run / "guarded.json", report)
    centres = slice(len(splits["train"].photos))
    known = only(train, centres), only(own, centres)
    report["attacked"] = exposure.attacked(known, (val, victims), splits, args)
    say(report["attacked"])
    write_json(args.run / "guarded.json", report)
    return report


def only(held: _Held, rows: slice | Array) -> _Held:
    """The same of some of the photos."""
    return type(held)(*(values[rows] for values in vars(held).values()))


def multiply_adds(network: keras.Model, stages: tuple[EncoderStage, TailStage], cut: str) -> dict[str, float]:
    """For one photo: of the device, of the worker, and the device's share."""
    from securesplit.model.keras_graph import graph_of

    head = keras.Model(network.inputs[0], network.get_layer(cut).output)
    first, second = stages
    device, worker = (
        sum(node.multiply_adds for model in models for node in graph_of(model).nodes)
        for models in ((head, first.encoder), (second.decoder, second.tail))
    )
    return {"device": device, "worker": worker, "device_share": device / (device + worker)}


def say(line: dict[str, Any]) -> None:
    """Print at once, for the output may go into a file."""
    figures = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in line.items())
    print(time.strftime("%H:%M:%S"), *figures, flush=True)
