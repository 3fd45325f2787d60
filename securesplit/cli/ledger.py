"""``securesplit ledger``: how much privacy this device has spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from securesplit.cli import param_types, terminal
from securesplit.cli.options import format_option, state_option
from securesplit.cli.settings import command
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext
from securesplit.text import columns, day_of, padded, rounded_up

if TYPE_CHECKING:
    from securesplit.device.ledger import Period
    from securesplit.device.ledger_totals import Total

SCHEMA = "securesplit.ledger/1"


@command("ledger")
@click.option("--by", type=click.Choice(["day", "month", "year"]), default="month", help="Length of a period, in UTC.")
@click.option("--budget", type=param_types.BUDGET, help="Show what is left of this epsilon.")
@format_option("Form of the answer.")
@state_option
def ledger(by: str, budget: float | None, style: str, state: Path | None) -> None:
    """Show how much privacy this device has spent.

    Every distinct photo, preset and model counts once; an edited copy and a re-take are photos of their own. The
    worker knows which device asks, so the figures are those of its owner, over all photos together. Epsilons are
    composed, not added; all are at delta 1e-5.
    """
    from securesplit.device.ledger import is_begun, reading
    from securesplit.user_folders import absolute, state_folder

    if not is_begun(folder := state_folder(state)):
        from securesplit.device.noise_key import check_mounted  # NumPy, which a ledger alone does not need

        check_mounted(absolute(folder))
    with reading(state) as book:
        account = Account(
            book.totals(cast("Period", by)), book.most_released_photo(), list(book.noise_keys().values()), budget
        )
    if not is_begun(folder):
        hint = _("there is no ledger in {folder} yet; the first photo begins one", folder=folder)
        terminal.note(_("hint: {hint}", hint=hint))
    if style == "json":
        terminal.answer_json(_as_json(account))
    else:
        for line in _as_text(account):
            terminal.answer(line)


@dataclass(frozen=True)
class Account:
    """What the ledger says.

    Attributes:
        totals: a row a period, and the total.
        photo: the one whose releases reveal most.
        keys: since when each noise secret has been in use, Unix times.
        budget: ε of the whole device; None: not asked for.
    """

    totals: list[Total]
    photo: Total
    keys: list[float]
    budget: float | None


def _as_json(account: Account) -> dict[str, Any]:
    from securesplit.privacy.accounting import DELTA

    rows = [_row(total) for total in account.totals]
    photo = _row(account.photo)
    budget = account.budget
    return {
        "schema": SCHEMA,
        "delta": DELTA,
        "periods": rows[:-1],
        "total": rows[-1],
        "photo": {name: photo[name] for name in ("releases", "epsilon", "identification_bound_n1000")},
        "noise_keys": len(account.keys),
        "budget": budget,
        "releases_left": None if budget is None else _releases_left(account.totals[-1], budget),
    }


def _row(total: Total) -> dict[str, Any]:
    return {
        "period": total.period,
        "releases": total.releases,
        "without_promise": total.unbounded,
        "epsilon": total.epsilon,
        "photos": total.photos,
        "identification_bound_n1000": total.identification_bound_n1000,
    }


def _as_text(account: Account) -> list[str]:
    from securesplit.privacy.accounting import DELTA

    lines = [
        *_table(account.totals),
        _("epsilon at delta {delta}, composed over distinct releases", delta=f"{DELTA:g}"),
        _(
            "owner of 1,000: how often, at most, the worker, which knows which device asks, picks the person whose "
            "photos these are out of 1,000; guessing gives 0.1%"
        ),
        *_photo(account.photo),
        *_keys(account.keys),
    ]
    return lines if account.budget is None else [*lines, _budget(account.budget, account.totals[-1])]


def _table(totals: list[Total]) -> Iterator[str]:
    """A row a period under the names of the columns, whatever the width of their letters."""
    names = [_("period"), _("releases"), _("epsilon"), _("without promise"), _("photos"), _("owner of 1,000")]
    widths = [max(least, columns(name) + 2) for least, name in zip((12, 10, 10, 18, 10, 18), names, strict=True)]
    for first, *others in [names, *map(_cells, totals)]:
        cells = (padded(text, width, right=True) for text, width in zip(others, widths[1:], strict=True))
        yield padded(first, widths[0]) + "".join(cells)


def _cells(total: Total) -> list[str]:
    epsilon, identified = total.epsilon, total.identification_bound_n1000
    spent = "-" if epsilon is None else f"{rounded_up(epsilon, 2):,.2f}"
    named = "-" if identified is None else f"{rounded_up(identified, 4):.2%}"
    period = _("total") if total.period == "total" else total.period
    return [period, f"{total.releases:,}", spent, f"{total.unbounded:,}", f"{total.photos:,}", named]


def _budget(budget: float, total: Total) -> str:
    left = _releases_left(total, budget)
    if left is None:
        if total.releases > total.unbounded:
            return _("budget {budget}: nothing was spent yet", budget=f"{budget:g}")
        return _("budget {budget}: no release yet", budget=f"{budget:g}")
    return ngettext(
        "budget {budget}: about {n} release like these is left",
        "budget {budget}: about {n} releases like these are left",
        left,
        budget=f"{budget:g}",
    )


def _photo(photo: Total) -> Iterator[str]:
    """What one photo reveals, beside what the device does."""
    epsilon, identified = photo.epsilon, photo.identification_bound_n1000
    if epsilon is not None and identified is not None:
        yield _(
            "one photo: epsilon at most {epsilon}, picked among 1,000 at most {share} of the time; guessing gives 0.1%",
            epsilon=f"{rounded_up(epsilon, 2):,.2f}",
            share=f"{rounded_up(identified, 4):.2%}",
        )


def _keys(keys: list[float]) -> Iterator[str]:
    """That the noise secret was replaced, where it was."""
    if len(keys) > 1:
        yield _(
            "the noise secret was replaced, last on {day}: photos from before that were diagnosed again count twice",
            day=day_of(keys[-1]),
        )


def _releases_left(total: Total, budget: float) -> int | None:
    """How many more releases of the average noise so far the budget holds; None where there is none to go by."""
    from securesplit.privacy.accounting import NO_LOSS

    promised = total.releases - total.unbounded
    if not promised or total.loss == NO_LOSS:
        return None
    left, step = 0, 1 << 30
    while step:
        if total.loss.times(Fraction(promised + left + step, promised)).within(budget):
            left += step
        step //= 2
    return left
