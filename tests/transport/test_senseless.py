"""A worker with a good certificate that answers what no tail can: never a label, and never in the way of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import Client
from securesplit.channel import payload, tensor
from securesplit.device.pipeline import _probability
from securesplit.errors import BundleError, WorkerError
from securesplit.model import Bundle
from securesplit.model.presets import Calibration
from securesplit.results import Diagnosis
from securesplit_testing.serving import Running
from tests.transport.clients import CLIENTS, KEYS, TIMEOUTS
from tests.transport.posing import Reply, posing


def says(*numbers: float, dtype: str = "float32") -> Reply:
    return lambda request: (request.ref, tensor.encode(np.array(numbers, dtype)))


SENSELESS: dict[str, Reply] = {
    **{f"logit {number}": says(number, 1.0) for number in (nan, inf, -inf)},
    **{f"{number} ms": says(5.0, number) for number in (nan, inf, -inf, -1.0, -1e-45, 1e4, 1e30, 3.4e38)},
    "both": says(nan, nan),
    "three numbers": says(1.0, 2.0, 3.0),
    "integers": says(1, 2, dtype="int32"),
    "half precision": says(1.0, 2.0, dtype="float16"),
    "nothing": lambda request: (request.ref, b""),
    "bytes": lambda request: (request.ref, bytes(40)),
    "another request's": lambda request: (request.ref + 1, tensor.encode(np.array([5.0, 1.0], np.float32))),
}


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("name", SENSELESS)
def test_another_worker_is_asked(worker: Running, name: str, ask: Any) -> None:
    with posing(SENSELESS[name]) as evil:
        assert ask([evil.endpoint, worker.front.endpoint], TIMEOUTS, [3, 4]) == [3, 4]


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("name", [name for name in SENSELESS if name != "another request's"])
def test_alone_it_is_an_error(name: str, ask: Any) -> None:
    with posing(SENSELESS[name]) as evil, pytest.raises(WorkerError, match="makes no sense"):
        ask([evil.endpoint], TIMEOUTS, [3])


@pytest.mark.parametrize("numbers", [(3e38, 0.0), (-3e38, 1e-45), (1e-45, -0.0)])
def test_extreme_but_finite_answers_are_read(numbers: tuple[float, float]) -> None:
    plaintext = tensor.encode(np.array(numbers, np.float32))
    assert payload.parse_answer(plaintext) == tuple(np.array(numbers, np.float32).tolist())
    assert Calibration(1.0, 0.0).probability(numbers[0]) in (0.0, 0.5, 1.0)


def test_through_the_whole_client_there_is_no_label(
    tmp_path: Path, draw_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Bundle.load().identity
    for name in ("logit nan", "logit inf", "nan ms"):
        with (
            posing(SENSELESS[name], identity) as evil,
            Client(evil.endpoint, credentials=KEYS[1], state=tmp_path, privacy="certified") as client,
            pytest.raises(WorkerError, match="makes no sense"),
        ):
            client.diagnose(draw_photo(1))
    with (
        posing(says(5.0, 0.0), identity) as good,
        Client(good.endpoint, credentials=KEYS[1], state=tmp_path, privacy="certified") as client,
    ):
        json.loads(json.dumps(client.diagnose(draw_photo(1)).to_json(), allow_nan=False))


@pytest.mark.parametrize(("scale", "offset"), [(nan, 0.0), (inf, -inf), (1.0, nan), (inf, nan)])
def test_a_calibration_without_a_probability_gives_no_label(scale: float, offset: float) -> None:
    """Manifests are refused when they are read; this is the second border, where the label is made."""
    preset = Bundle.load().preset("compact")
    broken = type(preset)(preset.spec, Calibration(scale, offset), preset.threshold, preset.quality)
    with pytest.raises(BundleError, match="calibration"):
        _probability(broken, 1.0)


@pytest.mark.parametrize(("malignant", "threshold"), [(nan, 0.3), (0.5, nan), (inf, 0.3), (-0.1, 0.3), (0.5, inf)])
def test_no_diagnosis_can_be_made_of_them(malignant: float, threshold: float) -> None:
    good = dict.fromkeys(("model", "privacy", "timing_ms"))
    with pytest.raises(ValueError, match="no probability"):
        Diagnosis("mole.jpg", malignant, threshold, payload_bytes=0, **good)  # type: ignore[arg-type]
