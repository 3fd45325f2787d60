"""Options of ``securesplit cuts`` that are refused before any network is loaded."""

from __future__ import annotations

import pytest

from securesplit.cli.main import run
from securesplit.config import parse_bandwidth
from securesplit.errors import ConfigError

MEASURE = ("--measure", "--bandwidth", "10Mbit/s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--measure", "--bandwidth", "10"), "--bandwidth '10' is not a bandwidth"),
        (("--measure", "--bandwidth", "-3Mbit/s"), "is not a bandwidth"),
        (("--measure", "--bandwidth", "0Mbit/s"), "out of range"),
        (("--measure", "--bandwidth", "9000Gbit/s"), "out of range"),
        (("--measure", "--bandwidth", "nanMbit/s"), "is not a bandwidth"),
        (("--bandwidth", "10Mbit/s"), "--bandwidth needs --measure"),
        (("--plot", "cuts.png"), "--plot needs --measure"),
        (("--measure", "--max-leakage", "0.5"), "--max-leakage needs --bandwidth"),
        (("--measure", "--worker-speed", "2"), "--worker-speed needs --bandwidth"),
        ((*MEASURE, "--worker-speed", "0"), "--worker-speed 0 is out of range"),
        ((*MEASURE, "--round-trip", "-1"), "--round-trip -1 is out of range"),
        ((*MEASURE, "--max-leakage", "1.5"), "--max-leakage 1.5 is out of range"),
        ((*MEASURE, "--seconds", "inf"), "--seconds inf is out of range"),
        ((*MEASURE, "--plot", "cuts.txt"), "--plot cannot write cuts.txt"),
    ],
)
def test_what_cannot_be_meant(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    assert run(["cuts", "absent.keras", *arguments]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "hint: " in error


def test_settings_for_all_commands_do_not_need_measure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESPLIT_PRIVACY", "certified")
    assert run(["cuts", "absent.keras"]) == 2
    assert "no such file" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("10Mbit/s", 1e7),
        (" 1.25 MB/s ", 1e7),
        ("56kbit/s", 56e3),
        ("1Gbit/s", 1e9),
        ("5000bit/s", 5e3),
        ("2kB/s", 16e3),
    ],
)
def test_bandwidths(text: str, bits: float) -> None:
    assert parse_bandwidth(text, "--bandwidth") == pytest.approx(bits)


@pytest.mark.parametrize("text", ["", "Mbit/s", "1e3Mbit/s", "10mbit/s", "10Mbit", "1,5Mbit/s", "١٠Mbit/s"])
def test_what_is_no_bandwidth(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a bandwidth"):
        parse_bandwidth(text, "--bandwidth")
