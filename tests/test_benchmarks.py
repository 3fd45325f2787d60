"""Benchmarks run against the program as it is, keep what they measure, and leave the user's own state alone."""

from __future__ import annotations

import ast
import json
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import distance, flood, footprint, operations, search, table
from benchmarks.arguments import need
from benchmarks.peers import burst
from benchmarks.performance import __main__ as performance
from securesplit.imaging.lesion import find_lesion
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker
from securesplit_testing.serving import wait_until
from tests.conftest import REPO


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    return tmp_path


def test_a_table_is_kept_as_json_whatever_is_in_it(folder: Path) -> None:
    table.show("t", ["a", "b"], [[nan, np.int64(3)], [np.float32(0.5), Path("x")], [None, True]])
    saved = json.loads((folder / "t.json").read_text(), parse_constant=pytest.fail)
    assert saved["rows"] == [[None, 3], [0.5, "x"], [None, True]]
    assert (folder / "t.txt").read_text().splitlines() == ["a     b", "nan   3", "0.5   x", "None  True"]


def test_a_table_without_rows_has_its_columns(folder: Path) -> None:
    table.show("t", ["what", "ms"], [])
    assert (folder / "t.txt").read_text() == "what  ms\n"


def test_a_photo_from_afar_has_its_mole_as_small_as_wanted_and_cut_again_as_large() -> None:
    image = Image.fromarray(draw_lesion(6, 300))
    lesion = find_lesion(image)
    assert lesion is not None

    def width(picture: Image.Image) -> float:
        grey = np.asarray(picture.convert("L"), np.float64)
        return float(np.any(grey < 0.6 * np.median(np.asarray(image.convert("L"))), axis=0).mean())

    own = distance.share(lesion, image)
    for wanted in (0.1, 0.3):
        drawn = distance.from_afar(image, lesion, wanted, np.random.default_rng(1))
        assert width(drawn) == pytest.approx(width(image) * wanted / own, rel=0.1)
        assert width(distance.cut_again(drawn, wanted, 0.4)) == pytest.approx(width(image) * 0.4 / own, rel=0.1)


def test_a_page_of_metrics_can_be_timed() -> None:
    assert operations._page_us() > 0


def test_clients_beside_a_flood_ask_what_a_worker_answers() -> None:
    with EmbeddedWorker() as worker:
        clients = flood.Clients(worker.endpoint, worker.client_credentials)
        try:
            wait_until(lambda: bool(clients.seen.open_ms and clients.seen.new_ms))
        finally:
            clients.stop()
    assert clients.seen.failed == 0


def test_an_answer_that_is_no_number_is_wrong() -> None:
    class Lost:
        async def ask(self, _release: bytes) -> float:
            return nan

    found = burst.asyncio.run(burst._burst([Lost()], [burst.Question(b"", 0.5)], 0.01))
    assert found["wrong"] == len(found["ms"]) > 0


def lasting_clients(source: str) -> list[int]:
    """Lines that make a client with the state folder, and so the ledger, of the user who runs them."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in ("Client", "AsyncClient") and not any(key.arg == "state" for key in call.keywords)
    ]


def test_no_benchmark_writes_into_the_user_s_own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lasting_clients("Client(where)\nAsyncClient(where, state=folder)") == [1]
    sources = sorted((REPO / "benchmarks").rglob("*.py"))
    assert {str(path): found for path in sources if (found := lasting_clients(path.read_text()))} == {}
    monkeypatch.setenv("SECURESPLIT_STATE", "/home/somebody")
    monkeypatch.setenv("SECURESPLIT_CONNECT", "tcp://example.org:5555")
    own = footprint.environment(tmp_path)
    assert own["SECURESPLIT_STATE"].startswith(str(tmp_path))
    assert "SECURESPLIT_CONNECT" not in own


def test_a_package_that_a_benchmark_lacks_is_named_before_anything_is_measured() -> None:
    need("fuzz", "json")
    with pytest.raises(SystemExit) as caught:
        need("fuzz", "json", "no_such_module")
    told = str(caught.value)
    assert told.startswith("error: not installed: no_such_module\nhint: ")
    assert told.endswith("install 'securesplit[fuzz]'")


def test_a_name_that_no_peer_has_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(SystemExit, match="no such peer: nobody"):
        performance.main(["--quick", "--only", "nobody"])


def test_a_search_is_told_of_what_it_can_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ciphertexts have no gradient."""
    monkeypatch.setattr("sys.argv", ["search", "--surface", "encrypted"])
    with pytest.raises(SystemExit):
        search.main()
    assert "choose of stem, " in capsys.readouterr().err
