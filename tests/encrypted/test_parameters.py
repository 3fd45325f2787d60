"""Parameters below 128 bits of security are refused, by our own table and by SEAL's."""

from __future__ import annotations

import pytest

from securesplit.encrypted import seal
from securesplit.encrypted.parameters import MOST_MODULUS_BITS, SHIPPED, Parameters
from securesplit.errors import ConfigError
from tests.conftest import REPO


def test_the_shipped_ones_are_at_the_standard_s_limit_and_seal_agrees() -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    assert sum(SHIPPED.prime_bits) == MOST_MODULUS_BITS[SHIPPED.degree]
    assert seal.context(SHIPPED).parameters_set()
    for degree, most in MOST_MODULUS_BITS.items():
        assert seal.library().CoeffModulus.MaxBitCount(degree, seal.library().SEC_LEVEL_TYPE.TC128) == most


def test_what_the_standard_allows_against_quantum_computers_is_said() -> None:
    util = pytest.importorskip("tenseal.sealapi.util", reason="TenSEAL is not installed")
    allowed, ours = util.seal_he_std_parms_128_tq(SHIPPED.degree), sum(SHIPPED.prime_bits)
    said = " ".join((REPO / "threat_model.md").read_text(encoding="utf-8").split())
    assert f"at this size, where ours has {ours}, " in said
    assert f"table for attacks with a quantum computer allows {allowed} bits: against them it is less again" in said


@pytest.mark.parametrize(
    ("degree", "bits", "scale", "why"),
    [
        (8192, (38, 27, 27, 27, 27, 27, 46), 27, "less than 128 bits"),
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
