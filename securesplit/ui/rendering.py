"""Templates -> HTML; every value that is put into one is escaped."""

from __future__ import annotations

import functools
from typing import Any

import jinja2

from securesplit import i18n


def render(template: str, **values: Any) -> str:
    """A page or a piece of one, in the language of this context."""
    return _environment().get_template(template).render(language=i18n.language(), **values)


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("securesplit.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"_": i18n.gettext, "ngettext": i18n.ngettext}
    made.filters["percent"] = percent
    return made


def percent(share: float) -> str:
    """A share as people read it: one decimal below ten percent, none above.

    >>> percent(0.0629), percent(0.4321), percent(0.0), percent(0.9999)
    ('6.3 %', '43 %', '0.0 %', '99.9 %')
    """
    if share >= 0.1:
        return f"{min(100 * share, 99.9):.3g} %" if share > 0.995 else f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %"
