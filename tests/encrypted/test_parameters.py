"""Parameters below 128 bits of security are refused, by our own table and by SEAL's."""

from __future__ import annotations

import pytest

from securesplit.encrypted import seal
from securesplit.encrypted.parameters import MOST_MODULUS_BITS, SHIPPED, Parameters
from securesplit.errors import ConfigError
from tests.conftest import REPO


def test_limits_are_the_standard_s_against_quantum_computers() -> None:
    util = pytest.importorskip("tenseal.sealapi.util", reason="TenSEAL is not installed")
    assert {degree: util.seal_he_std_parms_128_tq(degree) for degree in MOST_MODULUS_BITS} == MOST_MODULUS_BITS


def test_the_shipped_ones_are_within_them_and_the_threat_model_says_so() -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    allowed, ours = MOST_MODULUS_BITS[SHIPPED.degree], sum(SHIPPED.prime_bits)
    assert ours <= allowed
    assert seal.context(SHIPPED).parameters_set()
    said = " ".join((REPO / "threat_model.md").read_text(encoding="utf-8").split())
    assert f"allows a modulus of {allowed} bits at this size against attacks with a quantum computer" in said
    assert f"Ours has {ours}." in said


@pytest.mark.parametrize(
    ("degree", "bits", "scale", "why"),
    [
        (8192, (38, 27, 27, 27, 27, 27, 45), 27, "less than 128 bits"),
        (8192, (38, 27, 27, 27, 27, 57), 27, "less than 128 bits"),
        (4096, (38, 27, 45), 27, "less than 128 bits"),
        (8000, (38, 27, 45), 27, "no security is known"),
        (65536, (38, 27, 45), 27, "no security is known"),
        (8192, (38,), 27, "no sizes of primes"),
        (8192, (38, 61), 27, "no sizes of primes"),
        (8192, (30, 27, 45), 27, "no room for an answer"),
    ],
)
def test_weaker_ones_are_refused(degree: int, bits: tuple[int, ...], scale: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Parameters(degree, bits, scale)
