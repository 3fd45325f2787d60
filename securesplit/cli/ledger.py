"""``securesplit ledger``: how much privacy this device has spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import click

from securesplit.privacy.accounting import DELTA
from securesplit.privacy.ledger import Ledger, Period, Total

SCHEMA = "securesplit.ledger/1"


@click.command("ledger")
@click.option("--by", type=click.Choice(["day", "month", "year"]), default="month", help="Length of a period.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), help="Show what is left of this epsilon.")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.")
@click.option("--state", type=click.Path(path_type=Path), help="Folder of the ledger (default: this device's).")
def ledger(by: str, budget: float | None, output: str, state: Path | None) -> None:
    """Show how much privacy this device has spent.

    Every distinct photo, preset and model counts once. Epsilons are composed, not added; all are at delta 1e-5.
    """
    with Ledger(state) as book:
        totals = book.totals(cast("Period", by))
    if output == "json":
        click.echo(json.dumps(_as_json(totals, budget)))
    else:
        click.echo(_as_text(totals, budget))


def _as_json(totals: list[Total], budget: float | None) -> dict[str, Any]:
    rows = [
        {"period": t.period, "releases": t.releases, "without_promise": t.unbounded, "epsilon": _epsilon(t)}
        for t in totals
    ]
    answer = {"schema": SCHEMA, "delta": DELTA, "periods": rows[:-1], "total": rows[-1]}
    if budget is not None:
        answer |= {"budget": budget, "releases_left": _releases_left(totals[-1], budget)}
    return answer


def _as_text(totals: list[Total], budget: float | None) -> str:
    lines = [f"{'period':<12}{'releases':>10}{'epsilon':>10}{'without promise':>18}"]
    for t in totals:
        epsilon = _epsilon(t)
        shown = "-" if epsilon is None else f"{epsilon:.2f}"
        lines.append(f"{t.period:<12}{t.releases:>10}{shown:>10}{t.unbounded:>18}")
    lines.append(f"epsilon at delta {DELTA:g}, composed over distinct releases")
    if budget is not None:
        left = _releases_left(totals[-1], budget)
        lines.append(
            f"budget {budget:g}: "
            + ("no release yet" if left is None else f"about {left} releases like these are left")
        )
    return "\n".join(lines)


def _epsilon(total: Total) -> float | None:
    """ε of the releases that made a promise; None where none did."""
    return round(total.loss.epsilon(), 4) if total.releases > total.unbounded else None


def _releases_left(total: Total, budget: float) -> int | None:
    """How many more releases of the average noise so far the budget holds; None where there is none to go by."""
    promised = total.releases - total.unbounded
    if not promised:
        return None
    left, step = 0, 1 << 30
    while step:
        if total.loss.times((promised + left + step) / promised).within(budget):
            left += step
        step //= 2
    return left
