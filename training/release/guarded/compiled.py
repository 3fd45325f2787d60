"""The game of `guarded` against its adversaries as compiled steps on one accelerator (JAX)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import jax
import keras
import numpy as np
from jax import numpy as jnp
from keras import ops
from numpy.typing import NDArray

from securesplit.audit.patches import area_weights
from training.data.pack import PackedPhotos
from training.network.augmentation import Views
from training.network.compiled import STEPS
from training.release.cut_maps import THUMB, thumbs_of
from training.release.guarded import losses, parts, winnings
from training.release.guarded.losses import GRID, divergence, on_grid
from training.release.guarded.views import means_by_class
from training.release.guarded.winnings import Terms

ATTACKS = 2
"""Steps of the adversaries for one of the defender."""
ATTACK_RATE = 1e-3
TAIL_RATE = 0.1
"""Of the worker's network, beside the rate of everything that starts from nothing."""
WEIGHT_DECAY = 1e-4
MOMENTUM = 0.999
"""Of the moving average of the defender's weights, which is what a run ends with."""
CHUNK = 250
Values = list[Any]


class Undefended:
    """Photo -> map at the cut and logit, by the weights that the network has now: what learns may share its variables.

    Args:
        network: undefended.
        cut: name of the last layer on the device.
    """

    def __init__(self, network: keras.Model, cut: str) -> None:
        self.model = keras.Model(network.inputs[0], [network.get_layer(cut).output, network.output["malignant"]])
        self.values = copied(self.model.variables)


@dataclass(frozen=True)
class Players:
    """All networks of the game; `parts` says what each maps to what."""

    encoder: keras.Model
    decoder: keras.Model
    tail: keras.Model
    probe: keras.Model
    adversaries: dict[str, keras.Model]

    @classmethod
    def of(cls, network: keras.Model, args: argparse.Namespace) -> Self:
        """Not trained yet, but for the tail, which is `network` behind the cut and shares its weights."""
        middle = network.get_layer(args.cut).output
        shape = tuple(middle.shape[1:])
        return cls(
            parts.encoder(shape, args.size, args.channels, args.blocks),
            parts.decoder(shape, args.size, args.channels),
            keras.Model(middle, network.output["malignant"], name="tail"),
            parts.probe(args.size, args.channels),
            winnings.adversaries(args.rebuilders, args.size, args.channels),
        )

    @property
    def defending(self) -> dict[str, keras.Model]:
        """By the name that they have in an archive of `training.release.guarded.weights`."""
        return {"encoder": self.encoder, "decoder": self.decoder, "tail": self.tail, "probe": self.probe}

    def answers(self, sent: Any) -> tuple[Any, Any]:
        """Logits ``(n,)`` of the worker's network and of the probe, which has no say in what is sent."""
        answer = self.tail(self.decoder(sent, training=False), training=False)[:, 0]
        return ops.cast(answer, "float32"), self.probe(ops.stop_gradient(sent), training=False)[:, 0]


class Group:
    """Variables that one optimizer moves.

    Args:
        optimizer: its rate is replaced at every step.
        variables: trainable ones.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Values) -> None:
        self.optimizer, self.variables = optimizer, variables
        optimizer.build(variables)
        self._rate_at = [v.path.split("/")[-1] for v in optimizer.variables].index("learning_rate")

    def state(self) -> tuple[Values, Values]:
        """Weights and slots, copied, for a step takes the state before it over."""
        return copied(self.variables), copied(self.optimizer.variables)

    def moved(self, state: tuple[Values, Values], slopes: Values, rate: Any) -> tuple[Values, Values]:
        """The state after one step."""
        weights, slots = state
        slots = [rate if place == self._rate_at else slot for place, slot in enumerate(slots)]
        moved: tuple[Values, Values] = self.optimizer.stateless_apply(slots, slopes, weights)
        return moved


def copied(variables: Values) -> Values:
    """Their values."""
    return [jnp.array(variable.value, copy=True) for variable in variables]


class Game:
    """The state of a run on the accelerator, and its compiled steps.

    Args:
        undefended: gives maps and targets.
        players: of the same network.
        photos: to learn from; they are copied to the accelerator once.
        args: of `training.release.guarded.accelerated.arguments`.
    """

    def __init__(
        self, undefended: Undefended, players: Players, photos: PackedPhotos, args: argparse.Namespace
    ) -> None:
        self._args, self.players = args, players
        self._undefended = undefended.model
        self._terms = Terms(args.rebuilding, args.linking, args.profiling, args.allowed)
        side = int(undefended.model.inputs[0].shape[1])
        self._views = Views(args.views, 1.0, photos.pixels.shape[1:3], side, args.seed)
        self._seeds = [variable for layer in self._views.layers for variable in layer.variables]
        self._shrinking = area_weights(side, THUMB)
        new = [players.encoder, players.decoder, players.probe]
        attacking = [v for model in players.adversaries.values() for v in model.trainable_variables]
        self._groups = {
            "new": Group(_defending_optimizer(), [v for model in new for v in model.trainable_variables]),
            "tail": Group(_defending_optimizer(), players.tail.trainable_variables),
            "adversaries": Group(keras.optimizers.Adam(ATTACK_RATE), attacking),
        }
        self._data = jax.device_put({**_known(photos), "undefended": undefended.values})
        groups = {name: group.state() for name, group in self._groups.items()}
        mean = {name: [jnp.array(v, copy=True) for v in groups[name][0]] for name in ("new", "tail")}
        key = jax.random.key(args.seed)
        self._state = {"groups": groups, "mean": mean, "seeds": copied(self._seeds), "key": key, "steps": jnp.zeros(())}
        rows = np.zeros((STEPS, args.batch // 2), np.int32)
        run = jax.jit(self._steps, donate_argnums=0)
        self._run = run.lower(self._state, self._data, rows, np.float32(0), np.float32(0)).compile()
        self._released = jax.jit(self._releases_of_squares)
        self._answered = jax.jit(self._answers_to)

    def run(self, rows: NDArray[np.int64], rate: float, strength: float) -> dict[str, float]:
        """`STEPS` steps; their mean figures.

        Args:
            rows: ``(STEPS, b)`` photos, each shown in two views.
            rate: of learning.
            strength: of the terms beside the task.
        """
        given = (rows.astype(np.int32), np.float32(rate), np.float32(strength))
        self._state, figures = self._run(self._state, self._data, *given)
        return {name: float(value) for name, value in figures.items()}

    def average(self) -> None:
        """Give the players the moving average of their weights."""
        for name, mean in self._state["mean"].items():
            for variable, value in zip(self._groups[name].variables, mean, strict=True):
                variable.assign(value)

    def releases(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, side, side, 3)`` -> ``(n, size, size, channels)`` without noise, by the averaged weights."""
        mean = self._state["mean"]
        return _in_chunks(lambda chunk: self._released(mean, self._data["undefended"], chunk), squares)

    def answers(self, sent: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(2, n)``: logits of the worker's network and of the probe, by the averaged weights."""
        return _in_chunks(lambda chunk: self._answered(self._state["mean"], chunk), sent).T

    def _steps(self, state: Any, data: Any, rows: Any, rate: Any, strength: Any) -> Any:
        def one(state: Any, chosen: Any) -> Any:
            return self._step(state, data, chosen, rate, strength)

        state, figures = jax.lax.scan(one, state, rows)
        return state, {name: value.mean() for name, value in figures.items()}

    def _step(self, state: Any, data: Any, chosen: Any, rate: Any, strength: Any) -> Any:
        key, last, *keys = jax.random.split(state["key"], ATTACKS + 2)
        batch, seeds = self._batch(state["seeds"], data, chosen)
        groups = dict(state["groups"])
        defending = {name: groups[name][0] for name in ("new", "tail")}

        def attack(attackers: Any, own: Any) -> Any:
            slopes = jax.grad(self._attackers_cost)(attackers[0], defending, batch, own)
            return self._groups["adversaries"].moved(attackers, slopes, np.float32(ATTACK_RATE)), None

        groups["adversaries"], _ = jax.lax.scan(attack, groups["adversaries"], jnp.stack(keys))
        told = (groups["adversaries"][0], batch, last, strength)
        slopes, figures = jax.grad(self._cost, has_aux=True)(defending, *told)
        for name, share in (("new", 1.0), ("tail", TAIL_RATE)):
            groups[name] = self._groups[name].moved(groups[name], slopes[name], share * rate)
        keep = jnp.minimum(MOMENTUM, state["steps"] / (state["steps"] + 10.0))
        mean = {
            name: [keep * m + (1 - keep) * v for m, v in zip(old, groups[name][0], strict=True)]
            for name, old in state["mean"].items()
        }
        return {"groups": groups, "mean": mean, "seeds": seeds, "key": key, "steps": state["steps"] + 1}, figures

    def _batch(self, seeds: Values, data: Any, chosen: Any) -> tuple[dict[str, Any], Values]:
        """Two views of each of the chosen photos, as `training.release.guarded.views.Batches` gives them."""
        rows = jnp.concatenate([chosen, chosen])
        labels = data["labels"][rows]
        pairs = [
            *zip(self._undefended.variables, data["undefended"], strict=True),
            *zip(self._seeds, seeds, strict=True),
        ]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            squares = self._views.fit(self._views.square(ops.cast(data["pixels"][rows], "float32")))
            maps, logits = self._undefended(squares, training=False)
            seeds = [scope.get_current_value(variable) for variable in self._seeds]
        thumbs = jnp.einsum("ih,nhwc,jw->nijc", self._shrinking, squares, self._shrinking) / 255.0
        share = self._args.teacher_share
        taught = share * jax.nn.sigmoid(logits[:, 0].astype("float32")) + (1 - share) * labels
        return {
            "maps": maps,
            "thumbs": thumbs,
            "labels": labels,
            "targets": taught,
            "class_means": data["class_means"][labels],
            "secrets": losses.secrets_of(thumbs),
            "secret_means": data["secret_means"][labels],
        }, seeds

    def _sent(self, maps: Any, key: Any) -> Any:
        releases = self.players.encoder(maps, training=False)
        return on_grid(releases, self._args.sigma * GRID * jax.random.normal(key, releases.shape))

    def _attackers_cost(self, attacking: Values, defending: dict[str, Values], batch: Any, key: Any) -> Any:
        with self._scope({**defending, "adversaries": attacking}):
            ratios = winnings.ratios(self.players.adversaries, batch, self._sent(batch["maps"], key))
        return sum(ops.mean(ratio) for ratio in ratios.values())

    def _cost(self, defending: dict[str, Values], attacking: Values, batch: Any, key: Any, strength: Any) -> Any:
        """Loss of the defender, and the figures of a step."""
        with self._scope({**defending, "adversaries": attacking}):
            sent = self._sent(batch["maps"], key)
            answer, probed = self.players.answers(sent)
            ratios = winnings.ratios(self.players.adversaries, batch, sent)
        task, read = (divergence(logits, batch["targets"]) for logits in (answer, probed))
        loss = task + read + strength * winnings.penalty(ratios, self._terms)
        return loss, {"task": task, "read": read, **{name: ops.mean(ratio) for name, ratio in ratios.items()}}

    def _scope(self, values: dict[str, Values]) -> keras.StatelessScope:
        """Within, these groups have these values."""
        pairs = [pair for name, own in values.items() for pair in zip(self._groups[name].variables, own, strict=True)]
        return keras.StatelessScope(state_mapping=pairs)

    def _releases_of_squares(self, mean: dict[str, Values], undefended: Values, squares: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(self._undefended.variables, undefended, strict=True))):
            maps = self._undefended(squares, training=False)[0]
        with self._scope(mean):
            return self.players.encoder(maps, training=False)

    def _answers_to(self, mean: dict[str, Values], sent: Any) -> Any:
        with self._scope(mean):
            return jnp.stack(self.players.answers(sent), axis=1)


def _known(photos: PackedPhotos) -> dict[str, Any]:
    """What no step changes."""
    squares = photos.squares()
    chunks = [thumbs_of(squares[i : i + CHUNK].astype(np.float32)) for i in range(0, len(squares), CHUNK)]
    thumbs, malignant = np.concatenate(chunks), photos.malignant.astype(np.int32)
    secrets = _in_chunks(jax.jit(losses.secrets_of), thumbs)
    return {
        "pixels": photos.pixels,
        "labels": malignant,
        "class_means": means_by_class(thumbs, malignant),
        "secret_means": means_by_class(secrets, malignant),
    }


def _defending_optimizer() -> keras.optimizers.Optimizer:
    return keras.optimizers.AdamW(1e-3, weight_decay=WEIGHT_DECAY, clipnorm=1.0)


def _in_chunks(function: Callable[[Any], Any], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """`function` of all rows, in chunks of one size, so that it is compiled once."""
    padded = np.concatenate([rows, np.zeros((-len(rows) % CHUNK, *rows.shape[1:]), np.float32)])
    parts = [np.asarray(function(padded[i : i + CHUNK]), np.float32) for i in range(0, len(padded), CHUNK)]
    return np.concatenate(parts)[: len(rows)]
