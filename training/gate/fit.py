r"""The gate of a bundle, fitted and calibrated on a collection: which photos are refused on the device.

    python -m training.gate.fit --data ../shared/data --model securesplit/model/default --others WALLPAPERS

Gives the head one more output, the map of ``--layer``, for the gate to read, and so another identity to the bundle;
writes ``gate.json`` and the hashes of both, with what the network is worth on phone photos where it was not trained on
any. The head runs over some 20,000 pictures, which takes ten minutes and is kept in ``--cache``. What the gate does on
photos that it was not fitted on is printed by ``python -m benchmarks.refusals``.

``--preset guarded`` fits the gate of that preset's own head (`training.bundle.guarded`), which gives its map already;
the bundle's identity stays. The layers of that head may have learned from phone photos with the network that it is made
of, so what this preset is worth on them is measured on photos that are for testing only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from securesplit.model import Bundle, guarded_preset
from securesplit.model import gate as gates
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.gate import OK, Gate, Limits, Subspace
from securesplit.model.manifest import GateInfo, KindOfPhoto
from securesplit.results import Kind
from training import command
from training.data.dataset import Dataset
from training.data.photo import DataError, Photo
from training.evaluation import deployed
from training.evaluation.metrics import at_threshold, auc_interval, expected_calibration_error
from training.gate import samples
from training.gate.degraded import REASONS
from training.gate.head_map import give_map
from training.gate.samples import Examples
from training.output import changed_bundle, write_arrays

LAYER = "block5e_add"
COMPONENTS, HIDDEN, PENALTY = 96, 128, 3.0
MOST_REFUSED: dict[Kind, tuple[float, float]] = {"dermoscopy": (0.008, 0.006), "phone": (0.010, 0.010)}
"""Share of untouched photos that may be refused by the residual and by the network."""
Scores = tuple[Kind, Mapping[Kind, float], NDArray[np.float32]]
_NOISE_SECRET = bytes(32)  # a figure that is measured twice comes from the same draw of the noise


def reason_of(what: str) -> str:
    """The class of an example: ``ok`` or the reason that it should be refused for."""
    return OK if what == "ok" else REASONS.get(what, "not-skin")


def kind_of(group: str) -> Kind:
    """Synthetic lesions stand in for dermoscopy."""
    return "phone" if group == "phone" else "dermoscopy"


def fit(examples: Examples) -> Gate:
    """Principal components and network on the training side and all phone photos, limits on photos not learned from.

    Those of dermoscopy come from the validation side. Its phone photos are too few to tell which one in a hundred of
    them is refused, so limits of phone photos are cross-validated over folds of patients.
    """
    known, whole = learned_from(examples), examples.what == "ok"
    of_phone: list[Scores] = []
    for fold in np.unique(examples.fold[examples.fold >= 0]):
        own = examples.fold == fold
        of_phone += scores(fitted(examples, known & ~own), examples.features[own & whole])
    gate = fitted(examples, known)
    of_dermoscopy = scores(gate, examples.features[~known & whole])
    return replace(gate, limits={"dermoscopy": limits("dermoscopy", of_dermoscopy), "phone": limits("phone", of_phone)})


def learned_from(examples: Examples) -> NDArray[np.bool_]:
    """The training side, and of phone photos both sides, ``(n,)``."""
    return np.asarray((examples.side == "train") | (examples.fold >= 0), np.bool_)


def fitted(examples: Examples, used: NDArray[np.bool_]) -> Gate:
    """A gate that has learned from the examples `used`, ``(n,)``, and still refuses nothing."""
    whole, kinds = used & (examples.what == "ok"), np.array([kind_of(group) for group in examples.group])
    centre, scale = examples.features[whole].mean(0), examples.features[whole].std(0) + 1e-3
    x = ((examples.features - centre) / scale).astype(np.float32)
    h, w, channels = (int(n) for n in examples.shape)
    spaces: dict[Kind, Subspace] = {
        kind: _components(x[whole & (kinds == kind), : 2 * channels]) for kind in get_args(Kind)
    }
    near = np.clip(x, -gates.FARTHEST, gates.FARTHEST)
    hidden, last, classes = _network(near[used], np.array([reason_of(what) for what in examples.what[used]]))
    phone = _phone(near[whole], kinds[whole] == "phone")
    never: dict[Kind, Limits] = {kind: Limits(0.0, 0.0) for kind in get_args(Kind)}
    return Gate(gates.MAP, (h, w, channels), centre, scale, spaces, never, phone, hidden, last, classes)


def _components(statistics: NDArray[np.float32]) -> Subspace:
    mean = statistics.mean(0)
    components = np.linalg.svd(statistics - mean, full_matrices=False)[2][:COMPONENTS]
    return Subspace(mean, np.ascontiguousarray(components.T))


def _network(x: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Any, Any, tuple[str, ...]]:
    """A network with one hidden layer, its classes in an order that begins with ``ok``."""
    names = (OK, *sorted(set(labels.tolist()) - {OK}))
    numbers = np.array([names.index(label) for label in labels])
    network = MLPClassifier(
        (HIDDEN,),
        alpha=PENALTY,
        max_iter=40,
        early_stopping=True,
        n_iter_no_change=6,
        random_state=samples.SEED,
    )
    network.fit(x, numbers)
    (hidden, last), (hidden_biases, last_biases) = network.coefs_, network.intercepts_
    return (_single(hidden), _single(hidden_biases)), (_single(last), _single(last_biases)), names


def _phone(x: NDArray[np.float32], is_phone: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """Weights and bias of a linear function that is positive for phone photos."""
    found = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=300).fit(x, is_phone)
    return _single(found.coef_[0]), float(found.intercept_[0])


def _single(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)


def scores(gate: Gate, features: NDArray[np.float32]) -> list[Scores]:
    """What a gate makes of photos, by ``(n, f)`` features."""
    return [gate.scores(row) for row in (features - gate.centre) / gate.scale]


def limits(kind: Kind, found: list[Scores]) -> Limits:
    """Limits that refuse `MOST_REFUSED` of the untouched photos of a kind, whose scores are given."""
    by_residual, by_network = MOST_REFUSED[kind]
    residual = np.quantile([residuals[kind] for _, residuals, _ in found], 1 - by_residual)
    return Limits(float(residual), float(np.quantile([chances[0] for *_, chances in found], by_network)))


def examples_of(bundle: Bundle, data: Dataset, others: Path | None, cache: Path, preset: str | None) -> Examples:
    """The features of all pictures by the head of a preset, from `cache` where they were computed before."""
    head = hashlib.sha256(bundle.read_head(preset)).hexdigest()
    seen = bundle.manifest.side, bundle.manifest.framing
    made_of = f"{head} {seen} {samples.made_of(data, others)}"
    file = cache / f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as kept:
            return Examples(**{name: kept[name] for name in kept.files})
    found = samples.extract(bundle, gates.MAP, samples.pictures(data, *seen, others), preset)
    write_arrays(file, asdict(found))
    return found


def _phone_photos(data: Dataset, *, for_testing: bool = False) -> list[Photo]:
    """Of all splits, those that are for testing only or all others."""
    photos = [p for split in data.photos.values() for p in split if p.kind == "phone"]
    return [p for p in photos if (p.source == "smartphone") == for_testing]


def unlearned_phone(bundle: Bundle, data: Dataset, names: Sequence[str], photos: Sequence[Photo]) -> KindOfPhoto:
    """What answers to phone photos are worth, by preset, where the network was trained on none of `photos`."""
    counted = [p for p in photos if not p.is_premalignant]
    split = data.framed(bundle.manifest.framing).decoded(counted, bundle.manifest.side)
    malignant = split.malignant.astype(bool)
    embeddings, figures = deployed.embed(bundle, split), {}
    for name in names:
        preset = bundle.presets[name]
        logits = deployed.drawn_logits(bundle, preset.spec, split, embeddings[name], [_NOISE_SECRET])
        auc, low, high = auc_interval(logits, malignant, split.lesion)
        probability = np.array([preset.calibration.probability(float(v)) for v in logits])
        decisions = at_threshold(malignant, probability >= preset.threshold)
        found = {
            "auc": auc,
            "auc_low": low,
            "auc_high": high,
            "sensitivity": decisions["sensitivity"],
            "specificity": decisions["specificity"],
            "ece": expected_calibration_error(probability, malignant),
        }
        figures[name] = {figure: round(value, 4) for figure, value in found.items()}
    return KindOfPhoto(learned=False, photos=len(split.photos), figures=figures)


def write(
    bundle: Bundle, gate: Gate, kinds: dict[Kind, KindOfPhoto], made_by: dict[str, Any], *, is_guarded: bool = False
) -> None:
    """Put the gate, and the manifest with its hash, into the folder of a draft of a bundle.

    Args:
        bundle: the draft, with a preset ``guarded``, if it is for that.
        gate: a fitted one.
        kinds: what was learned of each kind of photo.
        made_by: for the provenance.
        is_guarded: it is for the head of the preset ``guarded``.
    """
    content = (json.dumps(gates.to_json(gate), indent=1, allow_nan=False) + "\n").encode()
    gates.parse(content)
    info = GateInfo(hashlib.sha256(content).hexdigest(), kinds)
    manifest, own = bundle.manifest, bundle.manifest.guarded
    if is_guarded and own is not None:
        manifest, file, key = replace(manifest, guarded=replace(own, gate=info)), guarded_preset.GATE, "guarded_gate"
    else:
        manifest, file, key = replace(manifest, gate=info), gates.FILE, "gate"
    manifest = replace(manifest, provenance={**manifest.provenance, key: made_by})
    (bundle.folder / file).write_bytes(content)
    manifest.write(bundle.folder)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a collection, see training.data.collection")
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--layer", default=LAYER, help="of the network before the cut, whose map the gate reads")
    parser.add_argument("--preset", choices=[guarded_preset.PRESET], help="whose own head it is for; without --layer")
    parser.add_argument("--others", type=Path, help="folder of pictures that show no skin, to learn from")
    parser.add_argument("--others-licence", default="not stated", help="of these pictures, for the provenance")
    parser.add_argument("--cache", type=Path, default=Path("build/gate"))
    parser.add_argument("--phone-learned", action="store_true", help="the network was trained on phone photos")
    args = parser.parse_args()
    bundle, is_guarded = Bundle.load(args.bundle), args.preset is not None
    if is_guarded and bundle.manifest.guarded is None:
        raise DataError(
            f"{bundle.folder} has no preset {args.preset}", hint="make it: python -m training.bundle.guarded"
        )
    data = Dataset.read(args.data, args.cache)
    if not (unlearned := _phone_photos(data, for_testing=is_guarded)):
        raise DataError(f"{args.data} holds no phone photos{' for testing' if is_guarded else ''}")
    with changed_bundle(bundle) as folder:
        own = Bundle(folder, bundle.manifest) if is_guarded else give_map(Bundle(folder, bundle.manifest), args.layer)
        examples = examples_of(own, data, args.others, args.cache, args.preset)
        gate = fit(examples)
        names = [name for name in own.presets if (name == guarded_preset.PRESET) == is_guarded]
        phone = KindOfPhoto(learned=True) if args.phone_learned else unlearned_phone(own, data, names, unlearned)
        made_by = {
            "command": "python -m training.gate.fit",
            "fitted_on": {
                str(group): int((learned_from(examples) & (examples.group == group)).sum())
                for group in sorted(set(examples.group))
            },
            "seed": samples.SEED,
            "layer": own.manifest.provenance[args.preset]["cut"] if is_guarded else args.layer,
            **({} if args.others is None else {"others_licence": args.others_licence}),
        }
        kinds: dict[Kind, KindOfPhoto] = {"dermoscopy": KindOfPhoto(learned=True), "phone": phone}
        write(own, gate, kinds, made_by, is_guarded=is_guarded)
    print(json.dumps({kind: asdict(limits) for kind, limits in gate.limits.items()}, indent=1, allow_nan=False))
    print(json.dumps(asdict(phone), indent=1, allow_nan=False))


if __name__ == "__main__":
    command.run(main)
