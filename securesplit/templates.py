"""HTML from jinja2 templates, for the local page and the audit's report; every value in them is escaped."""

from __future__ import annotations

import jinja2

from securesplit import i18n


def environment(package: str) -> jinja2.Environment:
    """The templates of a package, in its folder ``templates``; ``_`` and ``ngettext`` speak the context's language."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"_": i18n.gettext, "ngettext": i18n.ngettext}
    return made
