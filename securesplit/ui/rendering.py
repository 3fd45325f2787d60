"""Templates -> HTML; every value that is put into one is escaped."""

from __future__ import annotations

import functools
from typing import Any

import jinja2

from securesplit import i18n, templates
from securesplit.wording import percent


def render(template: str, **values: Any) -> str:
    """A page or a piece of one, in the language of this context."""
    return _environment().get_template(template).render(language=i18n.language(), **values)


@functools.cache
def _environment() -> jinja2.Environment:
    made = templates.environment("securesplit.ui")
    made.filters["percent"] = percent
    return made
