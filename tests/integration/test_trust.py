"""Every refusal of the channel, over real sockets against a real worker with the real bundle: one clear error each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from securesplit.errors import TrustError
from securesplit.model import Bundle
from securesplit.transport.connection import Connection
from securesplit.worker.served_model import ServedModel
from securesplit_testing.channels import Authority
from securesplit_testing.serving import Running, running
from tests.channel.test_refusals import THE_WORKER_REFUSES, WE_REFUSE, Case, good

REFUSALS = [(spoil, message, hint) for spoil, message, hint, *_ in [*WE_REFUSE, *THE_WORKER_REFUSES]]


@pytest.fixture
def authority() -> Authority:
    return Authority(now=datetime.now(UTC))


def ask(worker: Running, case: Case, identity: bytes) -> float:
    spec = Bundle.load().preset("compact").spec
    with Connection([worker.front.endpoint], case.client, identity, server_name=case.name, timeout_s=10) as connection:
        return connection.request(np.zeros(spec.shape, spec.dtype)).logit


@pytest.fixture
def serve() -> Iterator[Callable[[Case], Running]]:
    """Start the real worker with the server's side of a case."""
    open_workers = []

    def start(case: Case) -> Running:
        manager = running(ServedModel.from_bundle(None), keys=(case.server, case.client))
        open_workers.append(manager)
        return manager.__enter__()

    yield start
    for manager in open_workers:
        manager.__exit__(None, None, None)


@pytest.mark.parametrize(("spoil", "message", "hint"), REFUSALS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_refusal_is_one_clear_error(
    authority: Authority,
    serve: Callable[[Case], Running],
    spoil: Callable[[Authority], Case],
    message: str,
    hint: str,
) -> None:
    case = spoil(authority)
    worker = serve(case)
    with pytest.raises(TrustError) as caught:
        ask(worker, case, Bundle.load().identity)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 7


def test_another_bundle_is_refused_by_name(authority: Authority, serve: Callable[[Case], Running]) -> None:
    case = good(authority)
    with pytest.raises(TrustError, match=f"the worker serves {Bundle.load().id[:15]}") as caught:
        ask(serve(case), case, bytes(32))
    assert "in unauthenticated clear text" in caught.value.message
    assert "--model" in caught.value.hint


def test_the_good_case_is_answered(authority: Authority, serve: Callable[[Case], Running]) -> None:
    case = good(authority)
    assert np.isfinite(ask(serve(case), case, Bundle.load().identity))
