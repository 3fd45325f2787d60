"""Own attacks and own release mechanisms, found by the entry points of installed packages.

A package offers them in its ``pyproject.toml``::

    [project.entry-points."securesplit.attacks"]
    nearest-two = "my_package:nearest_two"   # a securesplit.audit.setting.Reconstruction

    [project.entry-points."securesplit.releases"]
    laplace = "my_package:LAPLACE"           # a securesplit.privacy.mechanism.Mechanism

Finding them reads names alone; a package's code runs when one of its names is asked for, and not before. Attacks need
the extra ``securesplit[audit]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from securesplit.errors import ConfigError
from securesplit.privacy.mechanism import Mechanism

ATTACKS, RELEASES = GROUPS = ("securesplit.attacks", "securesplit.releases")
KINDS = {ATTACKS: "attack", RELEASES: "release mechanism"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
OWN_NAME = re.compile(r"A\d+|none|compact|private|guarded|encrypted|certified|control")
"""Names that the audit itself uses."""


@dataclass(frozen=True)
class Plugin:
    """An entry point that was found, and not yet loaded.

    Attributes:
        group: of `GROUPS`.
        name: by which people choose it.
        package: the distribution that brings it.
        version: of that distribution.
    """

    group: str
    name: str
    package: str
    version: str
    _entry: metadata.EntryPoint

    def load(self) -> Any:
        """What the entry point names.

        Raises:
            ConfigError: its module or its name cannot be imported.
        """
        try:
            return self._entry.load()
        except (Exception, SystemExit) as error:
            raise self.broken(f"cannot be loaded ({type(error).__name__}: {str(error).strip()[:200]})") from error

    def broken(self, what: str) -> ConfigError:
        """An error that names the plugin."""
        return ConfigError(f"{self} {what}", hint=f"fix {self.package}, or uninstall it")

    def __str__(self) -> str:
        return f"the {KINDS[self.group]} {self.name!r} of {self.package} {self.version}"


def found(group: str) -> Mapping[str, Plugin]:
    """The plugins of a group by name, in alphabetical order.

    Raises:
        ConfigError: two packages bring one name, or a name is one of our own or none at all.
    """
    plugins: dict[str, Plugin] = {}
    for entry in sorted(metadata.entry_points(group=group), key=lambda e: e.name):
        package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown package", "unknown")
        plugin = Plugin(group, entry.name, package, version, entry)
        if not NAME.fullmatch(entry.name) or OWN_NAME.fullmatch(entry.name):
            raise plugin.broken("has a name that is taken, or is not up to 32 letters, digits, dots, dashes")
        other = plugins.setdefault(entry.name, plugin)
        if (other.package, other._entry.value) != (package, entry.value):  # noqa: SLF001  (our own class)
            raise plugin.broken(f"has the name of {other}")
    return plugins


def attack(name: str) -> tuple[Plugin, Callable[..., Any]]:
    """The own attack of that name: a `securesplit.audit.setting.Reconstruction`, as it says.

    Raises:
        ConfigError: there is none, it cannot be loaded, or it cannot be called.
    """
    plugin = _named(ATTACKS, name)
    loaded = plugin.load()
    if not callable(loaded):
        raise plugin.broken(f"is {type(loaded).__name__}, which cannot be called")
    return plugin, loaded


def mechanism(name: str) -> Mechanism | None:
    """The own release mechanism of that name; None where no package brings one.

    Raises:
        ConfigError: it cannot be loaded, or is something else than a `Mechanism`.
    """
    plugin = found(RELEASES).get(name)
    if plugin is None:
        return None
    loaded = plugin.load()
    if not isinstance(loaded, Mechanism) or not callable(loaded.release):
        raise plugin.broken(f"is {type(loaded).__name__}, not a securesplit.privacy.mechanism.Mechanism of a function")
    return replace(loaded, name=name, version=f"{plugin.package} {plugin.version}")


def _named(group: str, name: str) -> Plugin:
    plugins = found(group)
    if name not in plugins:
        names = ", ".join(plugins) or "none"
        raise ConfigError(f"no {KINDS[group]} is called {name!r}", hint=f"installed are: {names}")
    return plugins[name]
