r"""The attack decoder of a bundle: what the strongest attack that runs as one function makes of a release.

    python -m training.bundle.attack_decoder --model BUNDLE --data ../shared/data/ham10000

Writes ``attack.tflite`` into the bundle, and its hash and what it got into the manifest, for `securesplit demo` and the
page to show. As in the audit, the attacker knows the deployed head and the noise, learns from the photos of ``train``
and ``val``, and is measured on photos of ``test``, of other lesions.

Two attacks are tried for each preset, both in closed form, so that the same photos give the same file; the better one
on a tenth of the attacker's own photos is taken:

- A1, the ridge inverse, in the space of the photos' principal components: for the shipped maps as good as any attack of
  the audit, within its interval, and small (docs/adr/088-attack-decoder-in-the-bundle.md);
- A3's limit for a release of a few values: the mean photo of each value, which is what a decoder that is trained for
  ever would answer.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from securesplit.audit import baselines, metrics, patches, photos
from securesplit.audit.attacks import ridge
from securesplit.audit.context import as_photos
from securesplit.audit.metrics import Photos
from securesplit.audit.observations import AUXILIARY_SEED, Observations, observe
from securesplit.audit.setting import AttackerKnowledge
from securesplit.model import Bundle, attack_decoder, convert
from securesplit.model.attack_decoder import AttackDecoder, AttackFigures, AttackInfo
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.privacy.release import ReleaseSpec
from training import command
from training.data.photo import DataError
from training.output import changed_bundle

AUXILIARY, TARGETS = 3000, 400
SIDE, GRID = 64, 32
"""Of a rebuilt picture in pixels, and of what is learned; between them the picture is interpolated."""
MAX_PRESET_BYTES = 300_000
MAX_WEIGHTS = 125_000
"""Of the linear decoder of one preset, two bytes each; the rest of `MAX_PRESET_BYTES` are means and the file's own."""
MAX_COMPONENTS = 48
MAX_VALUES = 16
"""Up to so many values of a release of one number each has a mean photo."""
PSEUDO_COUNTS = 5.0
"""Photos of the attacker's mean that the mean photo of each value is drawn towards."""
TARGETS_SEED = 1
"""Of the noise that the decoder is measured with."""


@dataclass(frozen=True)
class Way:
    """One attack on one preset.

    Args:
        attack: its name in the audit.
        network: release in embedding units ``(n, *shape)`` -> ``(n, GRID, GRID, 3)``, not clipped.
    """

    attack: str
    network: keras.Model

    def pictures(self, releases: NDArray[np.float32]) -> Photos:
        """``(n, *shape)`` -> ``(n, SIDE, SIDE, 3)`` in [0, 1], as the deployed file does it."""
        return np.asarray(_enlarged(self.network)(releases), np.float32)


def _enlarged(network: keras.Model) -> keras.Model:
    """The network with its picture interpolated to `SIDE` and clipped."""
    picture = layers.UpSampling2D(SIDE // GRID, interpolation="bilinear")(network.output)
    return keras.Model(network.input, layers.ReLU(max_value=1.0)(picture))


def _dense(x: Any, weights: NDArray[Any], bias: NDArray[Any], activation: str | None = None) -> Any:
    """A fully connected layer with these weights."""
    layer = layers.Dense(weights.shape[1], activation)
    made = layer(x)
    layer.set_weights([np.asarray(weights, np.float32), np.asarray(bias, np.float32)])
    return made


def _picture(x: Any, pictures: NDArray[Any], mean: NDArray[Any]) -> Any:
    """Mean picture and as many pictures as `x` has numbers, weighted by them."""
    flat = _dense(x, pictures.reshape(len(pictures), -1), mean.reshape(-1))
    return layers.Reshape((GRID, GRID, 3))(flat)


def linear_ways(known: AttackerKnowledge, sigma: float) -> Iterator[Way]:
    """A1 for each of its penalties; none where the release has so many numbers that no picture fits beside them."""
    x = known.noise_free.reshape(len(known.noise_free), -1)
    rank = min(MAX_COMPONENTS, MAX_WEIGHTS // (x.shape[1] + GRID * GRID * 3), len(x) - 1)
    if rank < 1:
        return
    small = patches.resize(known.photos, GRID).reshape(len(x), -1)
    space = PCA(rank, svd_solver="randomized", random_state=0).fit(small)
    scale = np.sqrt(space.explained_variance_)  # weights of about one size survive half precision
    for weights, bias in ridge.coefficients(x, space.transform(small) / scale, sigma):
        release = keras.Input(known.noise_free.shape[1:])
        scores = _dense(layers.Flatten()(release), weights, bias)
        yield Way("A1", keras.Model(release, _picture(scores, space.components_ * scale[:, None], space.mean_)))


def counted_way(known: AttackerKnowledge, seen: NDArray[np.float32], step: float) -> Iterator[Way]:
    """A mean photo for each value of a release of one number, with straight lines between; none for other releases.

    Args:
        known: the attacker's photos.
        seen: their releases with noise, ``(n, *shape)``.
        step: of the grid that they lie on.
    """
    if seen[0].size > 1:
        return
    steps, index = np.unique(np.rint(seen / step), return_inverse=True)
    if not 2 <= len(steps) <= MAX_VALUES:
        return
    values = steps * step
    small = patches.resize(known.photos, GRID).reshape(len(seen), -1)
    sums = np.zeros((len(values), small.shape[1]))
    np.add.at(sums, index.reshape(-1), small)
    counts = np.bincount(index.reshape(-1))[:, None]
    means = (sums + PSEUDO_COUNTS * small.mean(0)) / (counts + PSEUDO_COUNTS)
    slopes = np.diff(means, axis=0) / np.diff(values)[:, None]
    bends = np.diff(slopes, axis=0, prepend=0 * slopes[:1], append=0 * slopes[:1])  # constant outside of all values
    release = keras.Input(known.noise_free.shape[1:])
    above = _dense(layers.Flatten()(release), np.ones((1, len(values))), -values, "relu")
    yield Way("A3", keras.Model(release, _picture(above, bends, means[0])))


def strongest(known: AttackerKnowledge, observations: Observations) -> Way | None:
    """The attack with the smallest error on a tenth of the attacker's photos, seen through the noise; None: none fits.

    Args:
        known: the attacker's photos, at `SIDE` pixels.
        observations: the preset.
    """
    fit, held_out = ridge.split(known)
    surface = observations.surface
    noisy = surface.observe(fit.noise_free, seed=AUXILIARY_SEED)
    ways = [*linear_ways(fit, surface.sigma), *counted_way(fit, noisy, observations.preset.spec.step)]
    seen = surface.observe(held_out.noise_free, seed=AUXILIARY_SEED + 1)
    return min(ways, key=lambda way: float(metrics.mse(held_out.photos, way.pictures(seen)).mean()), default=None)


def class_means(known: AttackerKnowledge) -> keras.Model:
    """0 for benign and 1 for malignant ``(n, 1)`` -> the mean of the attacker's photos with that answer, clipped."""
    answers = np.array([False, True])
    benign, malignant = patches.resize(baselines.class_mean(known, answers), GRID)
    answer = keras.Input((1,))
    return _enlarged(keras.Model(answer, _picture(answer, (malignant - benign)[None], benign)))


def to_litert(
    ways: Mapping[str, Way], known: Mapping[str, AttackerKnowledge], specs: Mapping[str, ReleaseSpec]
) -> bytes:
    """``attack.tflite``: a signature a preset, weights in half precision."""
    networks = {name: (_enlarged(way.network), class_means(known[name])) for name, way in ways.items()}

    def endpoint(name: str) -> convert.Endpoint:
        decode, mean = networks[name]
        return convert.Endpoint(
            lambda release, malignant: {"picture": decode(release), "class_mean": mean(malignant)},
            {"release": (1, *specs[name].shape), "malignant": (1, 1)},
        )

    used = [network for pair in networks.values() for network in pair]
    content = convert.convert({specs[name].stored_name: endpoint(name) for name in ways}, used, "float16")
    if len(content) > MAX_PRESET_BYTES * len(ways):
        raise DataError(f"the attack decoder has {len(content)} bytes for {len(ways)} presets")
    return content


def measure(
    decoder: AttackDecoder,
    attack: str,
    observations: Observations,
    known: AttackerKnowledge,
    targets: Photos,
    clusters: NDArray[np.intp],
) -> AttackFigures:
    """What the deployed decoder gets on the targets.

    Args:
        decoder: as it is deployed.
        attack: which it is.
        observations: the preset.
        known: the attacker's photos.
        targets: ``(n, SIDE, SIDE, 3)``.
        clusters: which of them are of one lesion (`securesplit.audit.photos.Side.clusters`).
    """
    spec = observations.preset.spec
    seen, logits = observations.observe(seed=TARGETS_SEED)
    answers = observations.says_malignant(logits)
    releases = np.rint(seen / spec.step).astype(spec.dtype)
    found = [decoder.rebuild(spec, r, malignant=bool(a)) for r, a in zip(releases, answers, strict=True)]
    pictures = np.array([rebuilt.picture for rebuilt in found if rebuilt], np.float32) / np.float32(255)
    means = baselines.class_mean(known, answers)
    skill = metrics.skill(targets, pictures, means, clusters)
    gain = metrics.ssim(targets, pictures) - metrics.ssim(targets, means)
    return AttackFigures(
        attack=attack,
        skill=round(skill.mean, 4),
        skill_low=round(skill.low, 4),
        skill_high=round(skill.high, 4),
        ssim_gain=round(float(gain.mean()), 4),
        photos=len(targets),
        learned_from=len(known.photos),
    )


def make(bundle: Bundle, root: Path) -> AttackInfo:
    """Train, measure and write the attack decoder of a bundle, into its folder and its manifest.

    Args:
        bundle: with both halves.
        root: photos, as `securesplit audit` takes them.

    Raises:
        ConfigError: too few photos, or the bundle cannot be replaced.
        DataError: the releases of no preset can be decoded in so few bytes.
    """
    keras.utils.clear_session()  # names of layers go into the file
    seen = bundle.manifest.side, bundle.manifest.framing
    collection = photos.load(root, *seen, auxiliary=AUXILIARY, targets=TARGETS)
    auxiliary, targets = (as_photos(side.pixels, SIDE) for side in (collection.auxiliary, collection.targets))
    clusters = collection.targets.clusters
    with tempfile.TemporaryDirectory() as folder:
        observations = observe(bundle, collection, Path(folder), lambda line: print(line, flush=True))
    known = {
        name: AttackerKnowledge(auxiliary, seen.auxiliary, seen.auxiliary_malignant)
        for name, seen in observations.items()
        if not seen.preset.spec.encrypted
    }
    ways = {name: way for name in known if (way := strongest(known[name], observations[name]))}
    if not ways:
        raise DataError(
            f"no preset of {bundle.folder} has a release that so small a decoder could take",
            hint="the bundle needs a preset such as compact or guarded: python -m training.bundle.default makes them",
        )
    specs = {name: preset.spec for name, preset in bundle.presets.items()}
    content = to_litert(ways, known, specs)
    decoder = AttackDecoder(content, SIDE, {name: specs[name] for name in ways}, {})
    figures = {n: measure(decoder, way.attack, observations[n], known[n], targets, clusters) for n, way in ways.items()}
    info = AttackInfo(hashlib.sha256(content).hexdigest(), SIDE, figures)
    _write(bundle, content, info, collection)
    return info


def _write(bundle: Bundle, content: bytes, info: AttackInfo, collection: photos.Collection) -> None:
    """The file, and the manifest that has its hash: both or neither."""
    made_by = {
        "command": "python -m training.bundle.attack_decoder",
        "photos": collection.name,
        "sha256": collection.digest,
    }
    provenance = {**bundle.manifest.provenance, attack_decoder.KEY: made_by}
    manifest = replace(bundle.manifest, attack_decoder=info, provenance=provenance)
    with changed_bundle(bundle) as own:
        (own / attack_decoder.FILE).write_bytes(content)
        manifest.write(own)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    args = parser.parse_args()
    info = make(Bundle.load(args.bundle), args.data)
    print(json.dumps({name: asdict(figures) for name, figures in info.presets.items()}, indent=1, allow_nan=False))


if __name__ == "__main__":
    command.run(main)
