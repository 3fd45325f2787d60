"""Both clients are called with the same arguments, which stand in one place."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Bundle, Client, Releaser
from securesplit.device.options import ClientOptions
from securesplit.errors import ConfigError
from securesplit.pki import keystore
from securesplit_testing.serving import now

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


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "certs"
    keystore.create(folder, days=1, now=now())
    return folder


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("connect", value) for value in (None, 5555, b"tcp://a:1", ["tcp://a:1", None], [b"tcp://a:1"], [])),
        *(("client", value) for value in (None, 1, b"device", "../device")),
        *(("certs", value) for value in (None, "", b"certs")),
        *(("credentials", value) for value in ("certs", Path("certs"))),
        *(("state", value) for value in ("", 5, b"state")),
        *(("model", value) for value in ("", 5)),
        *(("privacy", value) for value in ("", True, b"none", ["none"])),
        *(("budget", value) for value in ("8", -1, True)),
        *(("timeout_s", value) for value in ("30", None, True, 0)),
        *((flag, value) for flag in ("local", "anyway") for value in ("no", "", 1, None, [False], np.zeros(2, bool))),
    ],
)
def test_what_makes_no_sense_is_a_config_error_with_a_hint(
    kind: Any, name: str, value: object, certs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**{"certs": certs, "state": tmp_path, name: value})
    assert name in caught.value.message or name == "connect"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"secret": b"short"}, "32 bytes"),
        ({"secret": "x" * 32}, "32 bytes"),
        ({"threads": 0}, "threads"),
        ({"threads": "2"}, "threads"),
        ({"bundle": "bundles/guarded"}, "bundle"),
        ({"bundle": None}, "bundle"),
    ],
)
def test_a_releaser_refuses_what_makes_no_sense_before_it_opens_the_head(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Releaser(**{"bundle": Bundle.load(), "secret": bytes(32), **given})
    assert caught.value.hint


@pytest.mark.parametrize("folder", [3, b"bundle", ""])
def test_a_bundle_is_named_by_its_folder(folder: Any) -> None:
    with pytest.raises(ConfigError, match="folder cannot be"):
        Bundle.load(folder)


@pytest.mark.parametrize("half", ["open_head", "open_tail", "open_encoder", "open_measured_tail"])
@pytest.mark.parametrize("threads", [0, 257, "2", None, True])
def test_no_bundle_is_blamed_for_a_number_of_threads(half: str, threads: Any) -> None:
    with pytest.raises(ConfigError, match="threads"):
        getattr(Bundle.load(), half)(threads)


def test_numpy_says_yes_and_no_as_python_does() -> None:
    found = ClientOptions(local=np.True_, anyway=np.False_)  # type: ignore[arg-type]
    assert (found.local, found.anyway) == (True, False)


def test_no_word_makes_a_client_ask_all_the_same_or_a_release_be_without_noise(certs: Path, tmp_path: Path) -> None:
    with Client(certs=certs, state=tmp_path, privacy="certified") as client:
        with pytest.raises(ConfigError, match="anyway cannot be 'no'"):
            client.diagnose("mole.jpg", anyway="no")  # type: ignore[call-overload]
        with pytest.raises(ConfigError, match="with_noise cannot be None"):
            client.releaser.release("mole.jpg", with_noise=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("there", ["tcp://worker.example:5555", "tcp://192.0.2.1:5555", "tcp://[2001:db8::1]:5555"])
def test_what_goes_to_another_machine_is_never_left_uncounted(there: str) -> None:
    """A local worker is a part of this program: for it nothing is counted, and "nothing left this device" is said."""
    for connect in (there, ["tcp://127.0.0.1:5555", there]):
        with pytest.raises(ConfigError, match="local cannot be True") as refused:
            ClientOptions(connect, local=True)
        assert there in (refused.value.hint or "")
    for here in ("tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555"):
        assert ClientOptions(here, local=True).local
