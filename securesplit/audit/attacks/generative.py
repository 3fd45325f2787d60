"""A9: search among photos that a generator can draw for those that explain the release.

GLASS (Li et al., NeurIPS 2023) and DRAG (Lei et al., 2025) search where a generator of photos says that photos are, and
get through defences that pixel search does not. Two searches, by what is released:

- Where the head has gradients, maximum a posteriori in the generator's latent numbers: ‖O(f(G(z))) − o‖² / (2 (σ² +
  τ²)) + ‖z‖² / 2, with the defence O inside the loss as in A2, then in the feature maps behind them too (intermediate
  layers: Daras et al., ICML 2021), which are Gaussian about what z draws. The start is what A3 rebuilt, encoded:
  GLASS's stronger variant. The photo also keeps near A3's, as in A4: without that term the search explained the
  undefended map ever better by photos ever worse. τ² is what the generator's own error changes in a release, measured
  on photos that it did not learn.
- Where it has none, as from a table of few values or a mechanism of a package, among a finite population that is drawn
  from the prior and run through the deployed head and defence: the mean of the population weighted by likelihood
  (importance sampling), which is the best answer under the squared error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AnytimeStep, AttackSpec, Steps
from securesplit.audit.attacks import generator, ridge, search, whitebox
from securesplit.audit.attacks.generator import Generator, Latents
from securesplit.audit.attacks.optimise import Start, released
from securesplit.audit.attacks.whitebox import WhiteBox
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.metrics import Photos
from securesplit.audit.observations import AUXILIARY_SEED, embed
from securesplit.audit.patches import resize
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult, score
from securesplit.audit.results import NotRun
from securesplit.audit.setting import AttackerKnowledge, Releases, ShouldContinue, Surface, always
from securesplit.audit.time_budget import TimeBudget, until
from securesplit.i18n import gettext_noop

GENERATOR_SHARE = 0.15
"""Of the audit's time, at most, for training the generator."""
FIRST_RATE, LAST_RATE = 0.3, 0.03
"""Of Adam, in standard deviations of the prior; geometric in between."""
MEASURED_PHOTOS = 16
"""Own photos on which τ² is measured."""
POPULATION_SEED = 9
WIDTHS = (0.0, 0.1, 0.3, 1.0)
"""Of the likelihood, tried beside the noise: shares of a release's spread."""
PHOTO_STEPS = 2700
"""Photos times steps of a search that take about as long as one decoder's training, whose weight is 1."""
POPULATION_WEIGHT = 0.2


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        photos: ``(m, side, side, 3)`` in [0, 1].
        steps: of Adam.
    """

    photos: Photos
    steps: int


class LatentSearcher:
    """Searches a generator's latent numbers for photos behind one surface's releases.

    Args:
        box: the head, differentiable.
        surface: which of its outputs was released, and how.
        held_out: own photos that the generator did not learn.
        prior: draws photos.
        steps: of Adam; in the second half of them feature maps move too.
        batch: photos that are searched for at once.
    """

    def __init__(
        self,
        box: WhiteBox,
        surface: Surface,
        held_out: AttackerKnowledge,
        prior: Generator,
        *,
        steps: int,
        batch: int,
    ) -> None:
        import tensorflow as tf

        self._tf, self._box, self._surface, self._prior = tf, box, surface, prior
        self._steps, self._batch = steps, batch
        few = held_out.first(MEASURED_PHOTOS)
        latents = prior.encode(few.photos)
        again = released(tf, box, surface, tf.constant(prior.draw(latents))).numpy()
        self._weight = 1 / (2 * (surface.sigma**2 + float(np.square(again - few.noise_free).mean()) + 1e-9))
        self._spread = float(np.std(np.asarray(prior.first(latents)), axis=0).mean())
        shape = self._prior.first.output_shape[1:]
        self._latents, self._offsets = (
            tf.Variable(np.zeros((batch, *s), np.float32)) for s in ((generator.LATENT,), shape)
        )
        self._target = tf.Variable(np.zeros((batch, *few.noise_free.shape[1:]), np.float32), trainable=False)
        self._anchor = tf.Variable(np.zeros((batch, *few.photos.shape[1:]), np.float32), trainable=False)
        self._nearness = tf.Variable(0.0, trainable=False)
        self._adam = tf.keras.optimizers.Adam()
        self._adam.build([self._latents, self._offsets])
        self._step = tf.function(self._descend)

    def find(
        self, observed: Releases, *, start: Start | None = None, should_continue: ShouldContinue = always
    ) -> Found:
        """Rebuild photos.

        Args:
            observed: ``(m, *shape)`` what was sent.
            start: what A3 made of it, to begin at and to keep near; None: the prior's mean.
            should_continue: asked before each step; where it says no, photos are returned as far as they were found.
        """
        if start is None:
            first = np.zeros((len(observed), generator.LATENT), np.float32)
            start = Start(np.zeros((len(observed), *self._prior.rest.output_shape[1:]), np.float32), np.inf)
        else:
            first = self._prior.encode(start.photos)
        found, steps = [], 0
        for at in range(0, len(observed), self._batch):
            rows = np.minimum(np.arange(at, at + self._batch), len(observed) - 1)  # the last repeats its last photo
            self._anchor.assign(start.photos[rows])
            self._nearness.assign(1 / (2 * start.error))
            steps = max(steps, self._search(first[rows], observed[rows], should_continue))
            found.append(np.asarray(self._photos(), np.float32))
        return Found(np.concatenate(found)[: len(observed)], steps)

    def _search(self, first: Latents, observed: Releases, should_continue: ShouldContinue) -> int:
        """Descend from `first`; the number of steps that there was time for."""
        for variable in (*self._adam.variables, self._offsets):
            variable.assign(self._tf.zeros(variable.shape, variable.dtype))
        self._latents.assign(first)
        self._target.assign(observed)
        for number in range(self._steps):
            if not should_continue():
                return number
            self._adam.learning_rate = FIRST_RATE * (LAST_RATE / FIRST_RATE) ** (number / self._steps)
            self._step(self._tf.constant(float(2 * number >= self._steps)))
        return self._steps

    def _descend(self, move_maps: Any) -> None:
        tf, variables = self._tf, (self._latents, self._offsets)
        with tf.GradientTape() as tape:
            photos = self._photos()
            made = released(tf, self._box, self._surface, photos)
            unexplained = self._weight * tf.reduce_sum(tf.square(made - self._target))
            far = self._nearness * tf.reduce_sum(tf.square(photos - self._anchor))
            loss = unexplained + far + sum(tf.reduce_sum(tf.square(v)) for v in variables) / 2
        latents, offsets = tape.gradient(loss, variables)
        self._adam.apply_gradients(zip((latents, move_maps * offsets), variables, strict=True))

    def _photos(self) -> Any:
        return self._prior.rest(self._prior.first(self._latents) + self._spread * self._offsets)


@dataclass(frozen=True)
class Population:
    """Photos that the prior draws, and what the device would release of them.

    Args:
        photos: ``(p, side, side, 3)``.
        grids: by preset, ``(p, *shape)`` integers before noise.
    """

    photos: Photos
    grids: dict[str, NDArray[np.integer]]


def drawn(context: AuditContext, prior: Generator) -> Population:
    """`AuditProfile.population` photos of the prior's own density: a Gaussian of the attacker's encoded photos.

    The encodings of a trained autoencoder are not quite standard normal, and draws from their own Gaussian look more
    like photos (Ghosh et al., ICLR 2020).
    """
    latents = prior.encode(context.auxiliary_photos)
    spread, count = np.cov(latents.T), context.profile.population
    rng = np.random.default_rng(POPULATION_SEED)
    photos = prior.draw(rng.multivariate_normal(latents.mean(0), spread, count).astype(np.float32))
    pixels = (np.rint(255 * resize(photo[None], context.bundle.manifest.side)[0]).astype(np.uint8) for photo in photos)
    return Population(photos, embed(context.bundle, pixels))


def weighted(population: Photos, releases: Releases, observed: Releases, variance: float) -> Photos:
    """The posterior mean of each target: the population's, weighted by likelihood.

    Args:
        population: ``(p, side, side, 3)``.
        releases: ``(p, *shape)``, theirs.
        observed: ``(m, *shape)``.
        variance: of the noise and of whatever else separates a photo from the population's nearest.
    """
    distances = squared_distances(releases, observed)
    weights = np.exp((distances.min(1, keepdims=True) - distances) / (2 * variance))
    weights /= weights.sum(1, keepdims=True)
    flat = population.reshape(len(population), -1)
    return np.asarray((weights @ flat).reshape(len(observed), *population.shape[1:]), np.float32)


def by_population(context: AuditContext, preset: str) -> Callable[[Releases], Photos]:
    """The search without gradients; the likelihood's width is chosen on photos that the generator did not learn."""
    observations, sigma = context.observations[preset], context.sigma(preset)
    population = context.keep("population", partial(drawn, context, trained_prior(context)))
    releases = observations.noise_free(population.grids[observations.preset.spec.base])
    held_out = ridge.split(context.known(preset))[1]
    seen = observations.surface.observe(held_out.noise_free, seed=AUXILIARY_SEED)
    spread = float(releases.std(0).mean())

    def rebuild(observed: Releases, width: float) -> Photos:
        return weighted(population.photos, releases, observed, sigma**2 + (width * spread) ** 2 + 1e-9)

    best = min(WIDTHS, key=lambda width: float(metrics.mse(held_out.photos, rebuild(seen, width)).mean()))
    return lambda observed: rebuild(observed, best)


def prior_of(context: AuditContext) -> Generator | None:
    """The generator of this audit, trained once on what decoders are fitted to; None: there was no time to."""

    def make() -> Generator | None:
        profile = context.profile
        in_time = until(time.monotonic() + 60 * profile.minutes * GENERATOR_SHARE)
        photos = ridge.split(context.known(context.presets[0]))[0].photos
        return generator.trained(
            photos, updates=profile.generator_updates, seed=profile.seeds[0], should_continue=in_time
        )

    return context.keep("generator", make)


def trained_prior(context: AuditContext) -> Generator:
    """The generator of an audit that has one (`missing`).

    Raises:
        ValueError: it has none.
    """
    if (prior := prior_of(context)) is None:
        raise ValueError("the generator is not trained")
    return prior


def missing(context: AuditContext) -> str:
    """Why A9 cannot run; empty where it can."""
    if not whitebox.available():
        return "needs TensorFlow for its generator: pip install 'securesplit[train]'"
    if context.profile.side % generator.SIDE_STEP:
        return f"its generator draws photos of a multiple of {generator.SIDE_STEP} pixels"
    return "" if prior_of(context) is not None else "there was no time to train its generator"


def is_smooth(context: AuditContext, preset: str) -> bool:
    """Whether a release follows the photo smoothly: no table of few values, no ciphertext and no own mechanism."""
    observations = context.observations[preset]
    spec = observations.preset.spec
    return spec.levels is None and not spec.encrypted and observations.grids is None


def run(context: AuditContext, preset: str, budget: TimeBudget | None = None) -> ReconstructionResult | NotRun:
    """The search that suits what the preset releases."""
    if reason := missing(context):
        optional = not context.profile.search_photos and not whitebox.available()  # as A2 and A4 in the quick audit
        return NotRun(preset=preset, attack="A9", reason=reason, left_out=optional)
    if is_smooth(context, preset) and not search.without_gradients(context, preset):
        return _by_gradient(context, preset, budget)
    find = by_population(context, preset)
    return score(context, preset, "A9", lambda _seed, seen, *_: find(seen), by="population")


def searcher(
    context: AuditContext, surface: Surface, known: AttackerKnowledge, preset: str | None = None
) -> LatentSearcher:
    """The search of an audit whose generator is there, for releases of a surface of which `known` is known.

    Args:
        context: the audit.
        surface: an output of the head.
        known: of its releases.
        preset: whose head it is; None: the common one.
    """
    prior = trained_prior(context)
    held_out = ridge.split(known)[1]
    profile, box = context.profile, search.white_box(context, preset)
    batch = -(-profile.generated_photos // len(profile.seeds))  # as many as meet one of the seeds
    return LatentSearcher(box, surface, held_out, prior, steps=profile.latent_steps, batch=batch)


def _by_gradient(context: AuditContext, preset: str, budget: TimeBudget | None) -> ReconstructionResult:
    known, steps, budget = context.known(preset), [], budget or TimeBudget()
    latents = searcher(context, context.observations[preset].surface, known, preset)

    def rebuild(seed: int, seen: Releases, _: NDArray[np.bool_], should_continue: ShouldContinue) -> Photos:
        start = search.start_of(context, preset, seed, seen, budget, should_continue)
        found = latents.find(seen, start=start, should_continue=should_continue)
        steps.append(found.steps)
        return found.photos

    photos = context.profile.generated_photos
    result = score(context, preset, "A9", rebuild, photos=photos, apart=True, budget=budget, by="gradients")
    return replace(result, search_steps=max(steps))


def _steps(context: AuditContext, preset: str) -> Steps:
    profile = context.profile
    if not profile.generated_photos:
        reason = f"not part of the {profile.name} audit"
        return {"": partial(NotRun, preset=preset, attack="A9", reason=reason, left_out=True)}
    by_gradients = profile.generated_photos * profile.latent_steps / PHOTO_STEPS
    weight = by_gradients if is_smooth(context, preset) else POPULATION_WEIGHT
    return {"": AnytimeStep(weight, partial(run, context, preset))}


SPEC = AttackSpec(
    id="A9",
    name=gettext_noop("Generated photos"),
    description=gettext_noop(
        "Searches among photos that a generative model can draw for one that makes the same release."
    ),
    result_type=ReconstructionResult,
    steps=_steps,
    goals=(RECONSTRUCTION,),
)
