"""What says that it does no I/O opens no file and no socket: run, while Python's audit hook watches."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from securesplit.channel.payload import OutgoingRequest, encode_answer, parse_answer, parse_request
from securesplit.channel.tensor import TensorSpec
from securesplit.pki import credentials, csr, profile, verifying
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec
from securesplit_testing.channels import NOW, World
from tests.conftest import REPO

TOUCHING = ("open", "os.", "socket.", "sqlite3.", "fcntl.", "shutil.", "subprocess.", "tempfile.", "glob.", "pathlib.")
"""Audit events (docs.python.org, "Audit events table") of whatever touches a disk, a network or a process."""
OPENING = {"read_text", "read_bytes", "write_text", "write_bytes", "import_module", "__import__"}
RELEASE = np.arange(8, dtype=np.int8)
_seen: list[str] | None = None


def _watch(event: str, args: tuple[object, ...]) -> None:
    if _seen is not None and event.startswith(TOUCHING):
        _seen.append(f"{event} {args}")


sys.addaudithook(_watch)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    global _seen  # noqa: PLW0603  (a hook cannot be taken out again)
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


def channel() -> None:
    """A handshake, two requests and their answers, a reload, and the end."""
    world = World()
    client = world.client()
    world.say_hello(client)
    for ref in (1, 2):
        asked = world.ask(client, OutgoingRequest(RELEASE).plaintext(1_000), ref)
        assert np.array_equal(parse_request(asked.plaintext, [TensorSpec((8,), "int8")]).release, RELEASE)
        assert parse_answer(world.answer(client, asked, encode_answer(1.5, 2.0)).plaintext) == (1.5, 2.0)
    world.server.reload(world.server_credentials)
    world.server.tick()
    client.close()
    world.server.close()


def certificates() -> None:
    """A CA, a request, what is issued for it, a list; checked as a device does."""
    ca, key = profile.new_ca(now=NOW), profile.new_key()
    asked = csr.parse(csr.build(key, client="clinic-1", server_names=(), now=NOW), where="memory")
    issued = profile.Identity(profile.issue_client(ca, asked.key, "clinic-1", days=9, now=NOW), key)
    found = credentials.check(
        certificate=issued.certificate_pem,
        private_key=issued.key_pem,
        ca=ca.certificate_pem,
        crl=profile.new_crl(ca, (), number=1, days=9, now=NOW),
        allowed_clients=frozenset(),
        side="client",
        now=NOW,
    )
    verifying.verified(found, whose="client", hint="", now=NOW + timedelta(hours=1))


def privacy() -> None:
    """A photo's release with its noise, its names in the ledger, and what it promises."""
    spec = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.5)
    source, pixels, identity = NoiseSource(bytes(range(32))), np.zeros((4, 4, 3), np.uint8), bytes(32)
    source.release(np.ones(4), pixels, identity, spec)
    assert source.release_id(pixels, identity, spec) != source.photo_id(pixels)
    assert 0 < spec.with_epsilon(4).repeated(3).epsilon() < 12


@pytest.mark.parametrize("work", [channel, certificates, privacy])
def test_pure_code_touches_nothing(work: Callable[[], None]) -> None:
    work()  # what is imported late is imported now
    with watched() as seen:
        work()
    assert seen == []


def test_the_hook_sees_what_it_watches_for(tmp_path: Path) -> None:
    with watched() as seen:
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "file").unlink()
    assert [event.partition(" ")[0] for event in seen] == ["open", "os.remove"]


@pytest.mark.parametrize("package", ["channel", "privacy"])
def test_pure_packages_call_nothing_that_opens_a_file(package: str) -> None:
    """`open` needs no import, so no contract on imports sees it."""
    files = sorted((REPO / "securesplit" / package).rglob("*.py"))
    assert files
    for path in files:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        called = {ast.unparse(call.func) for call in calls}
        opening = {name for name in called if name in {"open", "os.open", "os.fdopen"} or OPENING & {*name.split(".")}}
        assert not opening, path
