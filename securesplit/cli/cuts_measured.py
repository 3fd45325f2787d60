"""What ``securesplit cuts --measure`` finds: times, bytes and leakage of every cut, and the one to take."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from securesplit import config
from securesplit.channel.payload import MAX_RELEASE_BYTES, REQUEST_OVERHEAD_BYTES
from securesplit.cli import terminal
from securesplit.errors import ConfigError
from securesplit.model.cut_choice import Latency, Link, Option, Recommendation, latency, recommend
from securesplit.text import counted

if TYPE_CHECKING:
    from securesplit.audit.cut_leakage import Leakage
    from securesplit.audit.metrics import Estimate
    from securesplit.audit.photos import Collection
    from securesplit.model.cut_timing import CutTimes, Times
    from securesplit.model.cuts import Cut
    from securesplit.model.litert_halves import WholeNetwork
    from securesplit.privacy.release import ReleaseSpec

UNDEFENDED: Final = "none"
INT16_BYTES: Final = 2
PRECISION: Final = "float16"
"""Of the weights, as `securesplit split` stores them."""
SHARE_OF_TIMING: Final = 0.4
"""Of the seconds that may be spent; the rest is for the leakage."""
COLUMNS: Final = (
    *("layer", "shape", "float32_bytes", "request_bytes", "head_ms", "head_p95_ms", "tail_ms", "tail_p95_ms"),
    *("transfer_ms", "latency_ms", "skill", "skill_low", "skill_high", "recommended"),
)


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        privacy: a preset of the package's bundle, or an ε.
        data: folder of photos; None: synthetic lesions.
        pixels: what the network expects.
        threads: of the runtime.
        seconds: to spend on times and leakage together.
        link: between device and worker; None: no latency is computed.
        max_leakage: of the recommended cut.
    """

    privacy: str
    data: Path | None
    pixels: str
    threads: int
    seconds: float
    link: Link | None
    max_leakage: float | None


@dataclass(frozen=True)
class MeasuredCut:
    """One cut; None stands for what there was no time for."""

    cut: Cut
    request_bytes: int
    times: CutTimes | None
    latency: Latency | None
    skill: Estimate | None


@dataclass(frozen=True)
class MeasuredCuts:
    """All cuts, in the order of the network."""

    cuts: Sequence[MeasuredCut]
    whole: Times
    leakage: Leakage
    wanted: Wanted
    recommendation: Recommendation | None


def measure(network: Any, cuts: Sequence[Cut], wanted: Wanted) -> MeasuredCuts:
    """Time, attack and compare the cuts of a Keras network with one output.

    Raises:
        BundleError: LiteRT cannot run the network.
        ConfigError: there is no such preset, too few photos, or nothing to cut.
    """
    from securesplit.audit import cut_leakage
    from securesplit.model import cut_timing, splitting
    from securesplit.model.cuts import no_cuts

    spec = _spec(wanted)
    if not cuts:
        raise no_cuts()
    collection = _photos(network, wanted)
    terminal.note("converting the network")
    whole, tensors = _converted(network, cuts, wanted, collection)
    terminal.note(f"timing head and tail at {len(tensors)} of {len(cuts)} cuts")
    end = time.perf_counter() + wanted.seconds
    took, times = cut_timing.measure(whole, tensors, threads=wanted.threads, seconds=SHARE_OF_TIMING * wanted.seconds)
    terminal.note("attacking each cut")
    leakage = cut_leakage.measure(
        lambda layers: splitting.maps_at(network, layers, wanted.pixels),
        {cuts[i].layer: cuts[i].shape for i in cut_timing.spread(len(cuts))},
        collection,
        lambda: time.perf_counter() < end,
    )
    rows = [_row(cut, spec, times.get(cut.layer), leakage.skill.get(cut.layer), took, wanted.link) for cut in cuts]
    return MeasuredCuts(rows, took, leakage, wanted, _recommended(rows, spec, wanted))


def _spec(wanted: Wanted) -> ReleaseSpec | None:
    """Of the preset; None for the undefended cut.

    Raises:
        ConfigError: nothing can be said of that preset.
    """
    from securesplit.model import Bundle

    if wanted.privacy == UNDEFENDED:
        return None
    if wanted.max_leakage is not None:
        raise ConfigError(
            f"--max-leakage holds for the undefended cut, and {wanted.privacy} does not send that",
            hint="`securesplit audit` measures what the releases of a preset leak; or choose --privacy none",
        )
    epsilon = config.check_privacy(wanted.privacy)
    spec = Bundle.load().preset("certified" if epsilon is not None else wanted.privacy).spec
    if spec.encrypted:
        raise ConfigError(
            f"{spec.preset} has a tail of its own on ciphertexts, so the cut does not say how long it takes",
            hint="choose --privacy none, compact or certified",
        )
    return spec


def _photos(network: Any, wanted: Wanted) -> Collection:
    from securesplit.audit import cut_leakage, photos
    from securesplit.model.keras_graph import square_side

    side = square_side(network.input_shape[1:3])
    return photos.load(wanted.data, side, auxiliary=cut_leakage.AUXILIARY, targets=cut_leakage.TARGETS)


def _converted(
    network: Any, cuts: Sequence[Cut], wanted: Wanted, collection: Collection
) -> tuple[WholeNetwork, dict[str, int]]:
    """The network in LiteRT, and where its cuts are; a layer that was folded into the one behind it is cut there."""
    from securesplit.model import packing, splitting
    from securesplit.model.litert_halves import WholeNetwork

    photo = collection.targets.pixels[:1]
    whole = WholeNetwork(packing.pack_whole(network, precision=PRECISION, pixels=wanted.pixels))
    maps = splitting.maps_at(network, [cut.layer for cut in cuts], wanted.pixels)(photo)
    found = whole.tensors_of(photo[0].astype(np.float32), {cut.layer: maps[cut.layer][0] for cut in cuts})
    behind: dict[tuple[tuple[int, ...], int], int] = {}
    for cut in reversed(cuts):
        tensor = found.get(cut.layer, behind.get((cut.shape, cut.tail_multiply_adds)))
        if tensor is not None:
            found[cut.layer] = behind[cut.shape, cut.tail_multiply_adds] = tensor
    return whole, {cut.layer: found[cut.layer] for cut in cuts if cut.layer in found}


def _row(
    cut: Cut, spec: ReleaseSpec | None, times: CutTimes | None, skill: Estimate | None, whole: Times, link: Link | None
) -> MeasuredCut:
    numbers, width = (math.prod(cut.shape), INT16_BYTES) if spec is None else (spec.size, np.dtype(spec.dtype).itemsize)
    request_bytes = numbers * width + REQUEST_OVERHEAD_BYTES
    if link is None or times is None:
        return MeasuredCut(cut, request_bytes, times, None, skill)
    head, tail = times.head.median_ms, times.tail.median_ms
    if spec is not None and spec.levels is not None:
        head, tail = whole.median_ms, 0.0  # the answer itself is computed on the device
    return MeasuredCut(cut, request_bytes, times, latency(link, head, tail, request_bytes), skill)


def _recommended(rows: Sequence[MeasuredCut], spec: ReleaseSpec | None, wanted: Wanted) -> Recommendation | None:
    options = [
        Option(row.cut.layer, row.latency, row.request_bytes, None if row.skill is None else row.skill.mean)
        for row in rows
        if row.latency is not None
    ]
    if wanted.link is None:
        return None
    if spec is not None and spec.levels is not None:
        return Recommendation(None, f"with {wanted.privacy} no cut matters: the device computes the whole network")
    return recommend(options, wanted.max_leakage, most_bytes=MAX_RELEASE_BYTES + REQUEST_OVERHEAD_BYTES)


def in_json(listing: Mapping[str, Any], found: MeasuredCuts) -> dict[str, Any]:
    """The listing with ``measurement``, ``recommendation`` and, in each cut, ``measured``."""
    wanted, leakage = found.wanted, found.leakage
    measurement = {
        "threads": wanted.threads,
        "precision": PRECISION,
        "whole": found.whole,
        "privacy": wanted.privacy,
        "link": wanted.link,
        "max_leakage": wanted.max_leakage,
        "attack": "A1",
        "photos": leakage.source,
        "auxiliary": leakage.photos,
        "targets": leakage.targets,
        "answer_skill": leakage.answer_skill,
        "mean_picture_mse": leakage.mean_mse,
    }
    cuts = [{**cut, "measured": _cut_json(row)} for cut, row in zip(listing["cuts"], found.cuts, strict=True)]
    return {**listing, "cuts": cuts, "measurement": measurement, "recommendation": found.recommendation}


def _cut_json(row: MeasuredCut) -> dict[str, Any]:
    total = {} if row.latency is None else {"total_ms": row.latency.total_ms}
    return {
        "request_bytes": row.request_bytes,
        "head": None if row.times is None else row.times.head,
        "tail": None if row.times is None else row.times.tail,
        "latency": None if row.latency is None else asdict(row.latency) | total,
        "skill": row.skill,
    }


def csv_rows(found: MeasuredCuts) -> Iterator[Sequence[Any]]:
    """Header and a row a cut; what was not measured is empty."""
    yield COLUMNS
    chosen = None if found.recommendation is None else found.recommendation.layer
    for row in found.cuts:
        head, tail = (None, None) if row.times is None else (row.times.head, row.times.tail)
        yield (
            row.cut.layer,
            "×".join(map(str, row.cut.shape)),
            row.cut.float32_bytes,
            row.request_bytes,
            *(_times(head)),
            *(_times(tail)),
            None if row.latency is None else round(row.latency.transfer_ms, 4),
            None if row.latency is None else round(row.latency.total_ms, 4),
            *_estimate(row.skill),
            int(row.cut.layer == chosen),
        )


def _times(times: Times | None) -> tuple[float | None, float | None]:
    return (None, None) if times is None else (round(times.median_ms, 4), round(times.p95_ms, 4))


def _estimate(skill: Estimate | None) -> Sequence[float | None]:
    return (None, None, None) if skill is None else [round(v, 5) for v in (skill.mean, skill.low, skill.high)]


def table(found: MeasuredCuts) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Columns and rows of the text; the recommended cut has a star."""
    chosen = None if found.recommendation is None else found.recommendation.layer
    linked = found.wanted.link is not None
    columns = ["layer", "shape", "request bytes", "head ms", "tail ms"]
    columns += ["transfer ms", "latency ms"] * linked + ["skill"]
    return columns, [_cells(row, linked=linked, star=row.cut.layer == chosen) for row in found.cuts]


def _cells(row: MeasuredCut, *, linked: bool, star: bool) -> Sequence[str]:
    times = (None, None) if row.times is None else (row.times.head.median_ms, row.times.tail.median_ms)
    sent = (None, None) if row.latency is None else (row.latency.transfer_ms, row.latency.total_ms)
    numbers = [*times, *(sent if linked else ())]
    return [
        row.cut.layer + " *" * star,
        "×".join(map(str, row.cut.shape)),
        f"{row.request_bytes:,}",
        *("–" if value is None else f"{value:.2f}" for value in numbers),
        "–" if row.skill is None else f"{row.skill.mean:.2f}",
    ]


def notes(found: MeasuredCuts) -> Iterator[str]:
    """What the table means, a line each."""
    wanted, leakage = found.wanted, found.leakage
    left = sum(row.times is None or row.skill is None for row in found.cuts)
    yield (
        f"Unsplit: {found.whole.median_ms:.2f} ms (p95 {found.whole.p95_ms:.2f}) on "
        f"{counted(wanted.threads, 'thread')} of this machine, weights in {PRECISION}."
    )
    yield (
        "Skill: what the audit's linear inverse (A1) rebuilds of a picture from the undefended cut; 0 is the mean "
        f"picture, 1 the picture itself. {leakage.photos:,} photos of the attacker, {leakage.targets:,} rebuilt: "
        f"{leakage.source}. The answer alone gives {leakage.answer_skill.mean:.2f}. Stronger attacks rebuild more."
    )
    if wanted.privacy != UNDEFENDED:
        yield f"Request bytes are those of {wanted.privacy}, which needs an encoder trained for the cut."
    if left:
        yield f"{counted(left, 'cut')} could not be measured, or not in time; --seconds gives more."
    if found.recommendation is not None:
        yield f"Recommended: {found.recommendation.layer or 'none'}: {found.recommendation.reason}."
