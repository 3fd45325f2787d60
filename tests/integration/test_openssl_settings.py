"""Settings of OpenSSL's own under which no handshake can succeed are named, and others change nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from securesplit.channel import handshake_errors
from securesplit.errors import ConfigError
from securesplit.transport import openssl_settings
from securesplit_testing.fresh import run_fresh
from tests.integration.conftest import run_command

TLS = "openssl_conf = i\n[i]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\n"
FORBIDDING = {
    TLS + "CipherString = DEFAULT@SECLEVEL=5": "ee key too small",
    TLS + "SignatureAlgorithms = RSA+SHA256": "unsupported protocol",
    TLS + "ClientSignatureAlgorithms = RSA+SHA256": "no suitable signature algorithm",
    "openssl_conf = i\n[i]\nalg_section = a\n[a]\ndefault_properties = fips=yes": "unsupported",
}
HARMLESS = [
    *("CipherString = DEFAULT@SECLEVEL=3", "CipherString = RSA", "MinProtocol = TLSv1.2", "MaxProtocol = TLSv1.2"),
    *("Ciphersuites = TLS_CHACHA20_POLY1305_SHA256", "Groups = P-521", "Nonsense = 3"),
]
TRIED = "from securesplit.transport import openssl_settings; openssl_settings.check()"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Have programs that are started from now on read this text as OpenSSL's settings."""

    def write(text: str) -> Path:
        (file := tmp_path / "openssl.cnf").write_text(text + "\n")
        monkeypatch.setenv(openssl_settings.VARIABLE, str(file))
        return file

    return write


@pytest.mark.parametrize("text", FORBIDDING, ids=FORBIDDING.values())
def test_doctor_names_settings_that_forbid_the_handshake(configure: Callable[[str], Path], text: str) -> None:
    file = configure(text)
    done = run_command("doctor")
    assert done.returncode == 2
    assert f"OpenSSL: OpenSSL's settings on this machine forbid what securesplit needs of it ({FORBIDDING[text]}" in (
        done.stdout
    )
    assert f"hint: unset OPENSSL_CONF, which names '{file}', for securesplit" in done.stdout
    assert "SECLEVEL at most 3" in done.stdout


@pytest.mark.parametrize("text", list(FORBIDDING)[:3:2], ids=FORBIDDING.get)
@pytest.mark.parametrize("command", [["diagnose", "--embedded"], ["diagnose"], ["tail-worker"]], ids=" ".join)
def test_device_and_worker_end_with_them(
    configure: Callable[[str], Path], certs: Path, draw_photo: Callable[..., Path], command: list[str], text: str
) -> None:
    """The words before came from OpenSSL, or from the other side, and led to new certificates."""
    configure(text)
    flags = [] if "--embedded" in command else ["--certs", str(certs)]
    photos = [str(draw_photo(1))] if "diagnose" in command else ["--bind", "tcp://127.0.0.1:0"]
    done = run_command(*command, *flags, *photos)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(
        f"error: OpenSSL's settings on this machine forbid what securesplit needs of it ({FORBIDDING[text]}"
    )
    assert "hint: unset OPENSSL_CONF" in done.stderr


def test_an_error_of_what_is_built_on_openssl_is_no_internal_one(
    configure: Callable[[str], Path], tmp_path: Path
) -> None:
    configure(list(FORBIDDING)[-1])
    done = run_command("keygen", "--out", tmp_path / "certs")
    assert done.returncode == 2
    assert "OpenSSL's settings on this machine" in done.stderr


def test_what_securesplit_sets_itself_may_stand_there(configure: Callable[[str], Path]) -> None:
    for line in HARMLESS:
        configure(TLS + line)
        run_fresh(TRIED)


def test_without_the_variable_the_file_of_openssl_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(openssl_settings.VARIABLE, raising=False)
    monkeypatch.setattr(openssl_settings, "_failure", lambda: "ee key too small")
    with pytest.raises(ConfigError) as refused:
        openssl_settings.check()
    assert re.search(r"let /\S+/openssl\.cnf allow TLS 1\.3", refused.value.hint)


def test_what_a_certificate_lacks_is_said_in_words_and_not_as_a_number() -> None:
    _, error = handshake_errors.server_refusal(66, "localhost")
    assert error.message == "the worker's certificate failed verification (EE certificate key too weak)"
