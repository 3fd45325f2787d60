"""What a report holds: the JSON of ``figures.json``, from which the model card is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Counts(TypedDict):
    """Of a split."""

    photos: int
    malignant: int
    lesions: int
    histology: int


class PresetFigures(TypedDict):
    """Of a preset on test photos; `test` by name, see `training.evaluation.metrics.of_answers`.

    ``temperature`` is of scaling by one number alone, ``ece_temperature`` the calibration error that it would leave;
    ``epsilon`` and the certified bound are None where there is no noise.
    """

    test: dict[str, Figure]
    threshold: float
    ece_before: float
    ece_temperature: float
    temperature: float
    validation_auc: float
    release_bytes: int
    epsilon: float | None
    identification_bound_n1000: float | None


class Stratum(TypedDict):
    """Of a group of people or places; figures where it has enough photos of both classes."""

    stratum: str
    photos: int
    malignant: int
    auc: NotRequired[Figure]
    floor_auc: NotRequired[float]
    sensitivity: NotRequired[float]
    specificity: NotRequired[float]
    balanced_accuracy: NotRequired[float]


@dataclass(frozen=True)
class GroupRow:
    """One group's figures; those of both classes are None where either has too few photos.

    Attributes:
        group: its name.
        photos: how many.
        malignant: how many of them are.
        auc: with its 95 % interval.
        auc_histology: among photos whose label histopathology confirmed; None where they are of one class.
        auc_colours: of colour statistics alone.
        sensitivity: at the threshold of the kind.
        specificity: likewise.
        ece: expected calibration error.
    """

    group: str
    photos: int
    malignant: int
    auc: tuple[float, float, float] | None = None
    auc_histology: float | None = None
    auc_colours: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    ece: float | None = None

    def cells(self) -> list[str]:
        """Of a table."""
        interval = "–" if self.auc is None else "{:.3f} ({:.3f} to {:.3f})".format(*self.auc)
        shares = (self.auc_histology, self.auc_colours, self.sensitivity, self.specificity, self.ece)
        rest = ["–" if share is None else f"{share:.3f}" for share in shares]
        return [self.group, f"{self.photos:,}", f"{self.malignant:,}", interval, *rest]


class Measured(TypedDict):
    """Of a bundle; ``floor`` is the baseline, colour statistics alone, ``groups`` are of a collection of data sets."""

    bundle: str
    name: str
    counts: dict[str, Counts]
    presets: dict[str, PresetFigures]
    floor: dict[str, Figure]
    default_preset: str
    strata: list[Stratum]
    groups: NotRequired[list[GroupRow]]
