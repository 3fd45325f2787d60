"""How a network is trained, as named configurations; one command runs any of them (`training.train`).

``student`` is the recipe of the student project that this one grew out of. ``dermoscopy`` is the stronger one beside
it; ``self_distillation`` continues from its weights, taught by the network that it starts from (Furlanello et al.,
Born-Again Neural Networks, ICML 2018). ``inception`` is the student's network, taught by the shipped bundle.
"""

from __future__ import annotations

import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from securesplit.errors import ConfigError
from securesplit.model.manifest import SIDES
from securesplit.results import Framing
from securesplit.text import renamed_hint
from training.command import MOST_SEED
from training.data.photo import SIDE

LAST = "last"
"""The monitor that is no figure."""
CHOICES = {
    "framing": typing.get_args(Framing),
    "pixels": ("pretrained", "0..1"),
    "views": ("none", "student", "dermoscopy", "cameras"),
    "balance": ("equal", "none"),
    "outputs": ("final", "auxiliary"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine"),
    "batch_norm": ("frozen", "trained"),
    "monitor": ("auc", "accuracy", "balanced_accuracy", "mean_auc", LAST),
}

_NOT_NEGATIVE = (
    *("strength", "hairs", "mixup", "cutmix", "per_class", "malignant_weight", "histology_weight", "weight_decay"),
    *("focal", "photos", "cut_weight", "source_balance"),
)
_COUNTS = ("batch", "epochs", "per_class", "photos", "phone_repeat", "hairs")
MOST = 1_000_000
"""Of photos, epochs and the like; a number with too many noughts would keep a machine busy until it is killed."""
RANGES: tuple[tuple[Sequence[str], Callable[[float], bool], str], ...] = (
    (("batch", "epochs", "learning_rate", "phone_repeat"), lambda x: 0 < x < math.inf, "a positive number"),
    (("dropout", "label_smoothing", "ema"), lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    (_NOT_NEGATIVE, lambda x: 0 <= x < math.inf, "a number of at least 0"),
    (_COUNTS, lambda x: x <= MOST, f"a whole number up to {MOST}"),
    (("teacher_share",), lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    (("side",), lambda x: SIDES[0] <= x <= SIDES[1], f"a whole number from {SIDES[0]} to {SIDES[1]}"),
    (("seed",), lambda x: 0 <= x <= MOST_SEED, f"a whole number from 0 to {MOST_SEED}"),
)
"""Keys, what their values must fulfil, and that in words."""

_WORDS: dict[Any, str] = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Config:
    """All that a run of `training.train` depends on, beside the photos, the start weights and the machine.

    Attributes:
        backbone: a key of `securesplit.model.backbones.BACKBONES`.
        side: height and width of a photo in pixels.
        framing: which square of a photo the network sees (`securesplit.imaging.lesion`).
        pixels: ``0..1``: scaled by 1/255; ``pretrained``: as the ImageNet weights of the backbone expect.
        views: a key of `training.network.augmentation.RECIPES`, or ``none``.
        strength: times the widths of that recipe.
        hairs: at most so many dark hairs are drawn over a view.
        mixup: alpha of the Beta distribution by which photos are blended (`training.network.mixing`); 0: none.
        cutmix: the same for pieces of photos put into others; 0: none.
        balance: ``equal``: both classes appear equally often in an epoch, the smaller one in more views; or ``none``.
        per_class: photos of each class in a balanced epoch; 0: as many as the larger class has.
        phone_repeat: how often an epoch without balance shows each phone photo.
        source_balance: how far the classes of each source are weighted towards the ratio of all sources together, from
            0 (not at all) to 1 (whole, within a factor of `training.network.targets.LARGEST_FACTOR`).
        hold_out: sources kept out of training and measured instead, with commas between them.
        malignant_weight: of a malignant photo in the loss.
        histology_weight: of a benign photo that was confirmed by histopathology, in the loss.
        outputs: ``final`` (pooling, dropout, dense) or ``auxiliary`` (the same also at the cut, and for the diagnoses
            where they are known).
        cut_weight: of the losses of the outputs at the cut, beside those of the final ones.
        dropout: share before each dense layer.
        batch: photos a step, over all devices and machines together.
        epochs: of training.
        optimizer: ``adam`` or ``adamw``.
        schedule: ``constant``, or one epoch of warm-up and a ``cosine`` down to 1 %.
        learning_rate: its peak.
        weight_decay: of ``adamw``.
        label_smoothing: of every loss.
        focal: gamma of a focal loss for malignant/benign (Lin et al., ICCV 2017); 0: cross-entropy.
        ema: momentum of a moving average of the weights, which is then measured and kept; 0: none. It reaches back
            1 / (1 - ema) steps, so a run of few steps wants a smaller one, or none.
        batch_norm: ``frozen`` at its start statistics, or ``trained`` with momentum 0.9.
        freeze: the last layer that is held as it starts; empty: none is. Unfreezing in stages is a run with it and then
            one without, started from the first one's weights.
        teacher_share: of the target that is the teacher's probability rather than the label; 0: no teacher.
        taught_sources: whose photos the teacher teaches, with commas between them; empty: all photos. What a network
            knew of one source is kept so while it learns others (Li and Hoiem, Learning without Forgetting, ECCV 2016).
        monitor: the figure on validation photos whose best epoch is kept; ``last``: the last epoch is. Sources that are
            held out stand among these photos, and an epoch that is best on them would flatter itself.
        photos: at most so many photos of the training split, for a search; 0: all.
        seed: of weights, order and views.
    """

    backbone: str
    side: int = SIDE
    framing: Framing = "centre square"
    pixels: str = "pretrained"
    views: str = "dermoscopy"
    strength: float = 1.0
    hairs: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    balance: str = "equal"
    per_class: int = 0
    phone_repeat: int = 1
    source_balance: float = 0.0
    hold_out: str = ""
    malignant_weight: float = 1.0
    histology_weight: float = 1.0
    outputs: str = "final"
    cut_weight: float = 0.5
    dropout: float = 0.3
    batch: int = 32
    epochs: int = 20
    optimizer: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = 3e-4
    weight_decay: float = 1e-3
    label_smoothing: float = 0.0
    focal: float = 0.0
    ema: float = 0.0
    batch_norm: str = "trained"
    freeze: str = ""
    teacher_share: float = 0.0
    taught_sources: str = ""
    monitor: str = "auc"
    photos: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}", hint=f"choose one of {', '.join(choices)}")
        for names, is_in_range, wanted in RANGES:
            for name in names:
                if not is_in_range(getattr(self, name)):
                    raise ConfigError(f"{name} is {getattr(self, name)}", hint=f"give {wanted}")
        if self.mixup and self.cutmix:
            raise ConfigError("mixup and cutmix exclude each other", hint="set one of them to 0")

    @property
    def held_out(self) -> tuple[str, ...]:
        """The sources that `hold_out` names."""
        return sources_in(self.hold_out)

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON types."""
        return asdict(self)


DEFAULTS = {field.name: field.default for field in fields(Config) if field.default is not MISSING}
"""What an earlier version's run had of the keys that it did not know."""


def sources_in(names: str) -> tuple[str, ...]:
    """The sources that a configuration's ``hold_out`` or ``taught_sources`` names."""
    return tuple(name for name in map(str.strip, names.split(",")) if name)


_DERMOSCOPY = Config(
    backbone="efficientnetv2b0",
    mixup=0.2,
    balance="none",
    malignant_weight=2.0,
    histology_weight=1.5,
    outputs="auxiliary",
    learning_rate=1.5e-4,
    label_smoothing=0.05,
    ema=0.997,
    batch_norm="frozen",
)

CONFIGS = {
    "student": Config(
        backbone="inception_resnet_v2",
        pixels="0..1",
        views="student",
        batch=64,
        optimizer="adam",
        schedule="constant",
        learning_rate=1e-3,
        monitor="balanced_accuracy",  # the student's validation photos were balanced, where this is the accuracy
    ),
    "dermoscopy": _DERMOSCOPY,
    "self_distillation": replace(
        _DERMOSCOPY,
        hairs=3,
        balance="equal",
        malignant_weight=1.0,
        cut_weight=1.0,
        learning_rate=1e-4,
        epochs=3,
        teacher_share=0.6,
    ),
    "collection": replace(
        _DERMOSCOPY,
        views="cameras",
        hairs=2,
        malignant_weight=1.5,
        source_balance=0.7,
        phone_repeat=2,
        cut_weight=1.0,
        epochs=6,
        monitor="mean_auc",
    ),
    "inception": Config(backbone="inception_resnet_v2", learning_rate=1e-3, teacher_share=0.7),
}


EARLIER_CONFIGS = {"born_again": "self_distillation"}
EARLIER_OUTPUTS = {"one": "final", "cut": "auxiliary"}
"""Earlier names -> names now; ``outputs`` was ``ends``. Run folders hold them, and the command line takes them, with a
hint, up to and including the next release."""


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as `Config.to_json` gave it, in this version or an earlier one, under the names of this one."""
    now = dict(values)
    if "ends" in now:
        now["outputs"] = EARLIER_OUTPUTS[now.pop("ends")]
    return now


def named(name: str, settings: Iterable[str] = ()) -> Config:
    """The configuration called `name`, with ``KEY=VALUE`` settings instead of its own.

    Raises:
        ConfigError: no such configuration or key, or a value of the wrong type or out of range.
    """
    if name in EARLIER_CONFIGS:
        name = _renamed(name, EARLIER_CONFIGS[name])
    if name not in CONFIGS:
        raise ConfigError(f"no configuration is called {name!r}", hint=f"choose one of {', '.join(CONFIGS)}")
    return changed(CONFIGS[name], settings)


def changed(config: Config, settings: Iterable[str]) -> Config:
    """`config` with ``KEY=VALUE`` settings instead of its own.

    Raises:
        ConfigError: no such key, or a value of the wrong type or out of range.
    """
    kinds = typing.get_type_hints(Config)
    values: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key == "ends" and text in EARLIER_OUTPUTS:
            key, _, text = _renamed(setting, f"outputs={EARLIER_OUTPUTS[text]}").partition("=")
        if key not in kinds or not text:
            raise ConfigError(f"{setting!r} is no KEY=VALUE of a configuration", hint=f"keys: {', '.join(kinds)}")
        try:
            values[key] = text if key in CHOICES else kinds[key](text)
        except ValueError:
            raise ConfigError(
                f"{key} takes {_WORDS.get(kinds[key], 'a word')}, not {text!r}", hint="see training/network/config.py"
            ) from None
    return replace(config, **values)


def _renamed(earlier: str, now: str) -> str:
    sys.stderr.write(renamed_hint(earlier, now) + "\n")
    return now
