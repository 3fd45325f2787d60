"""``securesplit keygen`` as a person uses it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from securesplit import version
from securesplit.cli.keygen import keygen
from securesplit.errors import CredentialError, SecureSplitError
from securesplit.pki import keystore
from securesplit_testing.serving import now


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def run(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(keygen, ["--out", str(out), *arguments], catch_exceptions=False)


def test_it_shows_paths_fingerprints_and_expiry(out: Path) -> None:
    said = run(out, "--client", "clinic-1", "--days", "30")
    assert said.exit_code == 0
    for name in ("ca.crt", "ca.key", "server.crt", "clients/clinic-1.key", "crl.pem", "allowed-clients.txt"):
        assert str(out / name) in said.stdout
    assert len(re.findall(r"sha256 +[0-9a-f]{64}$", said.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"expires +\d{4}-\d\d-\d\d \d\d:\d\d UTC$", said.stdout, re.MULTILINE)) == 3
    assert "PRIVATE" not in said.stdout


def test_a_second_run_says_that_it_overwrote_nothing(out: Path) -> None:
    run(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said = run(out)
    assert "nothing was overwritten" in said.stdout
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_renew_and_revoke_say_what_they_did(out: Path) -> None:
    run(out, "--client", "a", "--client", "b")
    assert run(out, "--renew").stdout.count(": renewed") == 3
    said = run(out, "--revoke", "a", "--revoke", "b")
    assert said.stdout.count("client a: revoked") == 2
    assert "notices within a second" in said.stdout
    said = run(out, "--revoke", "localhost")
    assert "server localhost: revoked" in said.stdout
    assert "copy crl.pem to every device" in said.stdout


def test_what_was_revoked_before_an_error_is_told(out: Path) -> None:
    run(out, "--client", "a", "--client", "b")
    flags = [flag for name in ("a", "nobody", "b") for flag in ("--revoke", name)]
    said = CliRunner().invoke(keygen, ["--out", str(out), *flags])
    assert isinstance(said.exception, CredentialError)
    assert said.stdout.count("client a: revoked") == 1
    assert "client b" not in said.stdout


def test_a_revocation_leaves_the_list_as_long_as_the_certificates(out: Path) -> None:
    def days() -> int:
        until = json.loads(run(out, "--list", "--format", "json").stdout)["revocation_list_until"]
        return (datetime.fromisoformat(until) - now()).days

    run(out, "--client", "a", "--client", "b", "--days", "365")
    assert days() == 371
    run(out, "--revoke", "a")
    assert days() == 371
    run(out, "--revoke", "b", "--days", "5")
    assert days() == 11


def test_nothing_is_signed_by_a_clock_that_cannot_be_right(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for days, is_signed in ((2, False), (0.5, True)):  # a copy from a machine whose clock is ahead is none of its fault
        monkeypatch.setattr(version, "installed_at", lambda days=days: now() + timedelta(days=days))
        with contextlib.nullcontext() if is_signed else pytest.raises(CredentialError, match="the clock says"):
            run(out)
        assert (out / "ca.key").exists() == is_signed


@pytest.mark.parametrize("arguments", [(), ("--renew",), ("--revoke", "device"), ("--client", "b")])
def test_a_ca_whose_certificate_is_missing_is_not_replaced(out: Path, arguments: tuple[str, ...]) -> None:
    """To move its key away, for which an existing file calls elsewhere, would end the trust in all that it issued."""
    run(out)
    (out / "ca.crt").unlink()
    key = (out / "ca.key").read_bytes()
    with pytest.raises(CredentialError, match=r"ca\.crt is missing") as found:
        run(out, *arguments)
    assert found.value.hint.startswith("copy it back from a worker")
    assert (out / "ca.key").read_bytes() == key


def test_what_is_not_there_to_be_renewed_can_be_made_as_the_hint_says(out: Path) -> None:
    run(out)
    for stem, arguments in (("clients/device", ("--renew", "--client", "device")), ("server", ("--renew",))):
        for ending in ("crt", "key"):
            (out / f"{stem}.{ending}").unlink()
        with pytest.raises(CredentialError, match="cannot be renewed") as found:
            run(out, *arguments)
        words = shlex.split(found.value.hint.replace("NAME", "localhost").removesuffix(" makes another one"))
        assert words[:4] == ["securesplit", "keygen", "--out", str(out)]
        assert ": created" in run(out, *words[4:]).stdout
        run(out, *arguments)


def test_a_revocation_list_that_ended_is_not_called_fresh(out: Path) -> None:
    keystore.create(out, days=1, now=now() - timedelta(days=30))
    assert "revocation list: renew it with keygen --renew, it ended on" in run(out, "--list").stdout
    run(out, "--renew")
    assert "revocation list: fresh until" in run(out, "--list").stdout


@pytest.mark.parametrize(
    "arguments", [("--client", "../x"), ("--revoke", "a", "--renew"), ("--days", "0"), ("--revoke", "nobody")]
)
def test_errors_are_ours_with_a_hint(out: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SecureSplitError) as caught:
        run(out, *arguments)
    assert caught.value.hint
    assert caught.value.exit_code in (2, 5)
