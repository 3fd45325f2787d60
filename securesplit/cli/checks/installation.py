"""Libraries and the settings file."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata

from securesplit import plugins
from securesplit.cli.checks import Finding, failure, ok, warning
from securesplit.cli.settings import Settings
from securesplit.errors import SecureSplitError
from securesplit.text import pip_install
from securesplit.version import own_version

_LIBRARY = re.compile(r"([\w.-]+)(?:<[\d.]+,)?>=([\d.]+)(?!.*extra ==)")
_MODULES = {"pyopenssl": "OpenSSL", "pyzmq": "zmq", "pillow": "PIL", "ai-edge-litert": "ai_edge_litert.interpreter"}
_ML_KEM = 0x3_05_00_000  # OpenSSL 3.5, the first with X25519MLKEM768
_REINSTALL = "install securesplit again in a fresh environment"


def check_libraries() -> Iterator[Finding]:
    """That every library of the base install loads and is new enough, and that OpenSSL has a post-quantum group."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield ok("version", f"securesplit {own_version()}, {python}")
    required = _required()
    if not required:
        yield warning("version", "this copy was not installed: which libraries it needs is not known", _REINSTALL)
    found = []
    for line in required:
        if match := _LIBRARY.match(line):
            name, least = match.groups()
            try:
                found.append(f"{name} {_loaded(name, least)}")
            except SecureSplitError as error:
                yield failure("libraries", error)
    if found:
        yield ok("libraries", ", ".join(found))
    yield from _check_openssl()


def check_formats() -> Iterator[Finding]:
    """Which photos are read here, and which extra brings the others."""
    from securesplit.imaging import isolated

    here, lacking = ["JPEG", "PNG", "TIFF", "BMP", "WebP"], []
    for kind, extra in (("AVIF", "heic"), ("HEIF", "heic"), ("DICOM", "dicom")):
        try:
            isolated.check_available(kind)
        except SecureSplitError:
            lacking.append(f"{isolated.NAMES[kind]} needs {pip_install(f'securesplit[{extra}]')}")
        else:
            here.append(isolated.NAMES[kind])
    yield ok("photos", "; ".join([f"{', '.join(here)} are read", *lacking]))


def _required() -> list[str]:
    """The package's requirements as it was installed with; none where it was not, as in a copy of its folder."""
    try:
        return metadata.requires("securesplit") or []
    except metadata.PackageNotFoundError:
        return []


def _loaded(name: str, least: str) -> str:
    try:
        importlib.import_module(_MODULES.get(name.lower(), name.replace("-", "_")))
        version = metadata.version(name)
    except (ImportError, OSError) as error:
        raise SecureSplitError(f"{name} cannot be loaded ({error})", hint=_REINSTALL) from None
    if _numbers(version) < _numbers(least):
        raise SecureSplitError(f"{name} {version} is too old, {least} is needed", hint=_REINSTALL)
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _check_openssl() -> Iterator[Finding]:
    from OpenSSL import SSL

    version = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    if SSL.OPENSSL_VERSION_NUMBER >= _ML_KEM:
        yield ok("OpenSSL", f"{version}, with the post-quantum group X25519MLKEM768")
    else:
        hint = "install a newer cryptography, whose wheels bring OpenSSL 3.5 or later"
        yield warning("OpenSSL", f"{version} has no post-quantum group; X25519 is used", hint)
    from securesplit.transport import openssl_settings

    try:
        openssl_settings.check()
    except SecureSplitError as error:
        yield failure("OpenSSL", error)


def check_plugins() -> Iterator[Finding]:
    """That every attack and release mechanism that a package brings can be loaded; none is said where there is none."""
    for group in plugins.GROUPS:
        try:
            known = plugins.found(group)
        except SecureSplitError as error:
            yield failure("plugins", error)
            continue
        for name in known:
            try:
                (plugins.attack if group == plugins.ATTACKS else plugins.mechanism)(name)
            except SecureSplitError as error:
                yield failure("plugins", error)
            else:
                yield ok("plugins", str(known[name]))


def check_settings(settings: Settings) -> Iterator[Finding]:
    """What the one check of settings file and environment found; the same that every other command refuses."""
    for problem in settings.problems:
        yield failure("settings", problem)
    for variable in settings.strangers:
        yield warning(
            "settings", f"no command knows the variable {variable}", "unset it, unless it is another program's"
        )
    if not settings.problems:
        yield ok("settings", f"{settings.path or 'no settings file'}")
