"""Both clients are called with the same arguments, which stand in one place."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from securesplit import AsyncClient, Client
from securesplit.device.options import ClientOptions
from securesplit.errors import ConfigError

ARGUMENTS = {
    "connect": "tcp://127.0.0.1:5555",
    "certs": "certs",
    "client": "device",
    "privacy": None,
    "budget": None,
    "state": None,
    "model": None,
    "timeout_s": 30.0,
    "credentials": None,
    "local": False,
    "anyway": False,
    "bundle": None,
    "name": None,
}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_signature_of_both_clients_is_public(kind: type) -> None:
    first, *others = inspect.signature(kind).parameters.values()
    assert {each.name: each.default for each in (first, *others)} == ARGUMENTS
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert all(each.kind is each.KEYWORD_ONLY for each in others)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_help_says_what_every_argument_means(kind: Any) -> None:
    documented = inspect.getdoc(kind.__init__) or ""
    assert [name for name in ARGUMENTS if f"    {name}: " not in documented] == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_unknown_argument_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'port'"):
        kind(port=5555)
    with pytest.raises(TypeError, match="positional"):
        kind("tcp://127.0.0.1:5555", "certs")


def test_earlier_names_are_read_and_forms_checked() -> None:
    found = ClientOptions(["tcp://a:1", "tcp://b:2"], bundle="here", name="clinic-1")
    assert found.endpoints == ["tcp://a:1", "tcp://b:2"]
    assert (found.model, found.client, found.certs) == ("here", "clinic-1", Path("certs").absolute())
    assert ClientOptions("tcp://a:1").endpoints == ["tcp://a:1"]
    with pytest.raises(ConfigError):
        ClientOptions(timeout_s=0.0)
