"""An encrypted preset in an audit: a worker has ciphertexts of it, so what is attacked is their bytes.

The attackers are given more than a worker has: ciphertexts of their own photos under the same key as the targets, as in
the definition of IND-CPA. They are not given the answers, which a worker cannot decrypt: every baseline is then a guess
without any answer, so that bytes which tell as much as an answer does are found. Each photo of a gallery is encrypted
again, since nobody sends one ciphertext twice. Attacks that need what no worker has are left out, and say so: a
gradient through the encryption (A2, A4) and the answer (A12). A13 is a *client's*, which knows its own integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.ciphertexts import encrypted
from securesplit.audit.observations import Answers, Observations, Progress, stored
from securesplit.audit.setting import Releases
from securesplit.privacy.accounting import UNBOUNDED, Loss
from securesplit.privacy.release import ReleaseSpec

AVERAGED = 4
"""Ciphertexts of one photo whose mean A5 is given; each takes 10 ms to make."""


@dataclass(frozen=True, kw_only=True)
class CiphertextObservations(Observations):
    """An encrypted preset on all photos; `auxiliary` and `targets` are features of ciphertexts.

    Args:
        seen: other ciphertexts of the targets, those that were sent.
        client: the same of the integers, which a device has and a worker never sees.
    """

    seen: Releases
    client: Observations

    @property
    def of_client(self) -> Observations:
        """What a client knows of its own photos."""
        return self.client

    @property
    def loss(self) -> Loss:
        """Nothing is certified without an assumption about what is hard to compute."""
        return UNBOUNDED

    def noise_free(self, grids: NDArray[np.integer]) -> Releases:
        """Fresh ciphertexts of these photos."""
        return encrypted(grids, self.preset.spec)

    def observe(self, *, seed: int, releases: int = 1) -> tuple[Releases, NDArray[np.float32]]:  # noqa: ARG002
        """What the worker has of every target; the mean of fresh ciphertexts where it has several of a photo."""
        return (self.seen if releases == 1 else self._averaged), unread(self.seen)

    def repeated(self, releases: int) -> Loss:  # noqa: ARG002  (the same for any number)
        """Likewise."""
        return UNBOUNDED

    @cached_property
    def _averaged(self) -> Releases:
        grids = _integers(self.client.targets, self.preset.spec)
        drawn = [encrypted(grids, self.preset.spec) for _ in range(AVERAGED)]
        return np.asarray(np.mean(drawn, axis=0), np.float32)


def observe_ciphertexts(client: Observations, cache: Path, progress: Progress) -> CiphertextObservations:
    """An encrypted preset on all photos, from what is known of its integers.

    Args:
        client: the integers.
        cache: folder of the audit's files.
        progress: gets a line.

    Raises:
        ConfigError: TenSEAL is not installed.
    """
    preset = client.preset

    def made() -> Mapping[str, Releases]:
        progress(f"encrypting {len(client.auxiliary) + 2 * len(client.targets)} releases")
        sides = {"auxiliary": client.auxiliary, "targets": client.targets, "seen": client.targets}
        return {name: encrypted(_integers(side, preset.spec), preset.spec) for name, side in sides.items()}

    found = stored(cache / f"ciphertexts-{preset.spec.preset}.npz", made)
    return CiphertextObservations(
        preset=preset,
        auxiliary=found["auxiliary"],
        targets=found["targets"],
        auxiliary_answers=unread(found["auxiliary"]),
        target_answers=unread(found["targets"]),
        answer=unread,
        seen=found["seen"],
        client=client,
    )


def unread(ciphertexts: Releases) -> Answers:
    """What a worker reads of the answers that it computes: the same of all."""
    return np.zeros(len(ciphertexts), np.float32)


def _integers(releases: Releases, spec: ReleaseSpec) -> NDArray[np.int64]:
    return np.asarray(np.rint(releases / spec.step), np.int64)
