"""`certified`: an ensemble of small encoders at the cut, trained with noise in the loop, then cut into a few levels.

The members learn a score between -1 and 1 from the labels and the undefended network's own answer (distillation, Hinton
et al. 2015), each behind Gaussian noise, so that they spread the classes against it. Their mean is more accurate than
the best of them and moves less from run to run. Nothing is chosen by looking at validation photos but the thresholds
of the levels (`training.release.quantizer`); what is kept is the moving average of the weights at the end.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from securesplit.privacy.release import ReleaseSpec
from training import command
from training.network import run_record
from training.network.validation import check_finite
from training.output import write_weights
from training.release import encoders, quantizer, regularizers
from training.release.cache import AGE, Cached, targets
from training.release.preset import DIVERGED_HINT, CutNetwork, Trained
from training.release.regularizers import Adversary

NAME = "certified"
WEIGHTS = "private.weights.h5"
"""In a run folder; the name that it had before the preset got its own, so that trained members are used again."""
TEACHER_SHARE = 0.7
"""Of the target that is the undefended network's answer; the rest is the label."""
EMA_MOMENTUM = 0.98
BATCH = 128


REGULARISERS = {"class spread": 4.0, "distance correlation": 0.04, "age correlation": 0.1}
"""Of the ``certified`` that ships (ADR 049)."""


@dataclass(frozen=True)
class CertifiedRecipe:
    """How the members are trained.

    Args:
        members: size of the ensemble.
        epochs: over all cached views.
        noise: standard deviation in the loop, in units of the score.
        levels: values of a release before its noise.
        regularisers: by name, of `training.release.regularizers.NAMES`, the weight of each term of the loss.
        learning_rate: at the start; it falls as a cosine.
        seed: of weights, order and noise.
    """

    members: int = 6
    epochs: int = 4
    noise: float = 0.15
    levels: int = field(default_factory=lambda: encoders.CERTIFIED_LEVELS)
    regularisers: Mapping[str, float] = field(default_factory=REGULARISERS.copy)
    learning_rate: float = 7e-4
    seed: int = 2

    def to_json(self) -> dict[str, Any]:
        """Every field, as notes beside weights and manifests hold them, where the members are ``towers``."""
        return {"towers" if name == "members" else name: value for name, value in asdict(self).items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this preset."""
    default = CertifiedRecipe()
    parser.add_argument(*("--certified-epochs", "--private-epochs"), type=command.whole(1), default=default.epochs)
    parser.add_argument(
        "--levels",
        type=command.whole(2),
        default=default.levels,
        help="values of a release of the preset certified before noise",
    )
    parser.add_argument(
        "--sigma", type=command.positive, default=encoders.CERTIFIED_SIGMA, help="σ/C of the preset certified"
    )
    parser.add_argument(
        *("--members", "--towers"),
        type=command.whole(1),
        default=default.members,
        help="encoders of the preset certified, averaged",
    )
    parser.add_argument(
        "--regulariser",
        type=_weighted,
        action="append",
        metavar="NAME=WEIGHT",
        help=f"of the preset certified, may be repeated, of {', '.join(regularizers.NAMES)} (default: those that ship)",
    )


def _weighted(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    if name not in regularizers.NAMES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(regularizers.NAMES)}")
    return name, command.not_negative(weight)


def train(cut: CutNetwork, args: argparse.Namespace) -> Trained:
    """Both ends, by the options."""
    recipe = CertifiedRecipe(
        members=args.members,
        epochs=args.certified_epochs,
        levels=args.levels,
        regularisers=dict(args.regulariser or REGULARISERS),
    )
    spec = encoders.certified_spec(args.levels, args.sigma)
    return train_certified(cut.train, cut.val, cut.secrets, spec, cut.run, recipe)


def train_certified(
    train: Cached, val: Cached, secrets: NDArray[np.float32], spec: ReleaseSpec, run: Path, recipe: CertifiedRecipe
) -> Trained:
    """Both ends of `certified`, ready to export.

    Args:
        train: cached views of the training photos.
        val: of the validation photos, on which the levels are fitted.
        secrets: `training.release.cache.secrets_of` the training photos; used by regularisers only.
        spec: the release, one integer.
        run: folder for the weights; members that were trained there by the same recipe are used again.
        recipe: how.
    """
    score = train_score(train, secrets, run / WEIGHTS, recipe)
    fitted = quantizer.fit(scores_of(score, val), val.malignant[:, 0] > 0, recipe.levels, float(spec.sigma_squared))
    encoder, decoder = encoders.certified_encoder(score, fitted, spec), encoders.certified_decoder(fitted, spec)
    return Trained(spec, encoder, decoder, fitted.auc, recipe.to_json())


def scores_of(score: keras.Model, cached: Cached) -> NDArray[np.float64]:
    """``(n,)``.

    Raises:
        DivergedError: one of them is not finite.
    """
    found = np.asarray(score.predict(cached.maps, batch_size=256, verbose=0)[:, 0], np.float64)
    check_finite(found, hint=DIVERGED_HINT)
    return found


def train_score(train: Cached, secrets: NDArray[np.float32], file: Path, recipe: CertifiedRecipe) -> keras.Model:
    """The ensemble's score, trained; or from `file` where that is of this recipe, these maps and these secrets."""
    settings = _of_members(recipe) | {"train": train.digest, "secrets": hashlib.sha256(secrets.tobytes()).hexdigest()}
    if run_record.finished(file, settings) is not None:
        score = encoders.certified_score(_members(train, recipe))
        score.load_weights(str(file))
        return score
    score, _ = trained_score(train, secrets[train.photo], recipe)
    write_weights(score, file)
    run_record.finish(file, settings, {})
    return score


def _of_members(recipe: CertifiedRecipe) -> dict[str, Any]:
    """What the members depend on: everything but the levels, which are fitted afterwards."""
    return {name: value for name, value in recipe.to_json().items() if name != "levels"}


def _members(train: Cached, recipe: CertifiedRecipe) -> list[keras.Model]:
    keras.utils.set_random_seed(recipe.seed)
    return [encoders.certified_member(train.maps.shape[1:]) for _ in range(recipe.members)]


def trained_score(
    train: Cached, secrets: NDArray[np.float32], recipe: CertifiedRecipe
) -> tuple[keras.Model, list[float]]:
    """Minimise the mean of the members' losses and the regularisers.

    Args:
        train: cached views.
        secrets: ``(n, q)``, of each view.
        recipe: how.

    Returns:
        The ensemble's score, and each epoch's mean loss.

    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    members = _members(train, recipe)
    score = encoders.certified_score(members)
    scales = [keras.Variable([4.0, 0.0], name=f"scale_{i}") for i in range(len(members))]
    term, extra = regulariser(score, secrets.shape[1] + train.thumbnail[0].size, recipe)
    variables = [v for member in members for v in member.trainable_variables] + scales + extra
    steps = max(1, len(train.maps) // BATCH) * recipe.epochs
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps, alpha=0.01)
    adam = keras.optimizers.AdamW(schedule, 1e-2, clipnorm=1.0, use_ema=True, ema_momentum=EMA_MOMENTUM)
    adam.build(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(maps: Any, target: Any, malignant: Any, secret: Any) -> Any:
        with tf.GradientTape() as tape:
            clean = [member(maps, training=True) for member in members]
            seen = [z + tf.random.normal(tf.shape(z), stddev=recipe.noise) for z in clean]
            answers = [z * scale[0] + scale[1] for z, scale in zip(seen, scales, strict=True)]
            losses = [tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=a) for a in answers]
            mean, noisy = tf.add_n(clean) / len(clean), tf.add_n(seen) / len(seen)
            loss = tf.reduce_mean(tf.add_n(losses)) / len(members) + term(maps, mean, noisy, secret, malignant)
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    history = []
    for epoch in range(recipe.epochs):
        losses = [step(*map(tf.constant, batch)) for batch in _batches(train, secrets, recipe.seed + epoch)]
        history.append(float(np.mean(losses)))
        check_finite(history[-1], hint=DIVERGED_HINT)
        print(f"certified epoch {epoch + 1}: loss {history[-1]:.4f}", flush=True)
    adam.finalize_variable_values(variables)
    return score, history


def _batches(train: Cached, secrets: NDArray[np.float32], seed: int) -> Any:
    """Shuffled ``(maps, target, malignant, secrets and thumbnail)``, float32."""
    soft = targets(train)
    mixed = (1 - TEACHER_SHARE) * soft[:, :1] + TEACHER_SHARE * soft[:, 1:]
    flat = train.thumbnail.reshape(len(train.thumbnail), -1).astype(np.float32)
    hidden = np.concatenate([secrets, (flat - flat.mean(0)) / (flat.std(0) + 1e-6)], axis=1)
    order = np.random.default_rng(seed).permutation(len(train.maps))
    for rows in np.array_split(order, max(1, len(order) // BATCH)):
        yield train.maps[rows].astype(np.float32), mixed[rows], train.malignant[rows], hidden[rows]


Term = Callable[[Any, Any, Any, Any, Any], Any]


def regulariser(score: keras.Model, hidden: int, recipe: CertifiedRecipe) -> tuple[Term, list[Any]]:
    """The recipe's terms of (maps, score, noisy score, secrets, malignant), summed, and the variables that they train.

    Raises:
        ValueError: there is no regulariser of some name.
    """
    found = [(weight, *_term(name, score, hidden)) for name, weight in recipe.regularisers.items()]
    return lambda *batch: sum(w * term(*batch) for w, term, _ in found), [v for *_, own in found for v in own]


def _term(name: str, score: keras.Model, hidden: int) -> tuple[Term, list[Any]]:
    if name == "distance correlation":
        return lambda _m, z, _n, secret, y: regularizers.distance_correlation(z, secret, y), []
    if name == "age correlation":
        return lambda _m, z, _n, secret, y: regularizers.distance_correlation(z, secret[:, AGE], y), []
    if name == "class spread":
        return lambda _m, z, _n, _s, y: regularizers.class_spread(z, y), []
    if name == "jacobian":
        return lambda maps, *_: regularizers.jacobian(score, maps), []
    if name == "adversary":
        adversary = Adversary(hidden)
        return lambda _m, _z, noisy, secret, y: adversary.loss(noisy, secret, y), adversary.network.trainable_variables
    raise ValueError(f"no regulariser {name}; there are {', '.join(regularizers.NAMES)}")
