"""Does A2's search lose anything by stopping where it stops? The audit's beside one that runs far longer.

    python -m benchmarks.search [--data DIR] [--photos 8] [--surface compact]...

The same photos, start and weights, on the undefended stem (where the photo must come back) and on every preset whose
releases are in the open. The long search has twice the steps, one rate more, and continues as long as ten steps gain
0.1 %.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.table import show
from securesplit.audit import baselines, metrics, suite
from securesplit.audit.attacks.optimise import Found, Search, Searcher
from securesplit.audit.attacks.search import white_box
from securesplit.audit.context import AuditContext
from securesplit.audit.positive_control import Stem
from securesplit.audit.profile import FULL
from securesplit.audit.setting import AttackerKnowledge, Releases, Surface
from securesplit.model import Bundle
from training import command

AUXILIARY = 400
SEARCHES = {
    "audit": Search(steps=FULL.search_steps),
    "long": Search(steps=2 * FULL.search_steps, least_gain=0.001, rates=4),
}
COLUMNS = ["surface", "search", "photos", "steps", "loss", "skill", "SSIM", "CPU s", "CPU s a step"]


def attacked(context: AuditContext, name: str, photos: int) -> tuple[Surface, AttackerKnowledge, Releases]:
    """A surface, what the attacker holds, and what it sees of the first targets."""
    if name != "stem":
        observations = context.observations[name]
        return observations.surface, context.known(name), observations.observe(seed=1)[0][:photos]
    stem = Stem(context, context.profile.side)
    return Surface("stem"), stem.known, stem.seen[:photos]


def row(context: AuditContext, name: str, search: str, photos: int) -> list[object]:
    """One search, scored over the attacker's mean photo."""
    surface, known, seen = attacked(context, name, photos)
    searcher = Searcher(white_box(context), surface, known, replace(SEARCHES[search], batch=photos))
    searcher.find(seen, should_continue=iter([True, *[False] * 9]).__next__)  # compiles
    started = time.process_time()
    found: Found = searcher.find(seen)
    cpu = time.process_time() - started
    truth, baseline = context.rebuilt_photos[:photos], baselines.mean_image(known, photos)
    skill, similarity = (
        metrics.skill(truth, found.photos, baseline),
        metrics.bootstrap(metrics.ssim(truth, found.photos)),
    )
    scores = [f"{e.mean:.3f} ({e.low:.3f} to {e.high:.3f})" for e in (skill, similarity)]
    return [name, search, photos, found.steps, found.loss, *scores, cpu, cpu / found.steps]


def main() -> None:
    """Measure and print."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=None)
    parser.add_argument("--photos", type=command.whole(1), default=8)
    parser.add_argument("--surface", action="append")
    args = parser.parse_args()
    bundle = Bundle.load(args.bundle)
    surfaces = ["stem", *reversed(bundle.manifest.in_the_open)]
    if unknown := {*(args.surface or ())} - {*surfaces}:
        parser.error(f"nothing is searched on {', '.join(sorted(unknown))}; choose of {', '.join(surfaces)}")
    with tempfile.TemporaryDirectory() as folder:
        profile = replace(FULL, auxiliary=AUXILIARY, targets=max(40, args.photos), rebuilt=args.photos)
        context = suite.prepare(bundle, args.data, Path(folder), profile, (), lambda _: None)
        rows = []
        for name in args.surface or surfaces:
            for search in SEARCHES:
                rows.append(row(context, name, search, args.photos))
                print(*rows[-1], flush=True)
    show("search", COLUMNS, rows)


if __name__ == "__main__":
    main()
