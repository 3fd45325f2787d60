import functools
import json
import math
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.cli import main as cli
from securesplit.device import ledger
from securesplit.device.ledger import LEDGER_FILE, Ledger
from securesplit.errors import BudgetError, ConfigError
from securesplit.privacy.accounting import NO_LOSS, UNBOUNDED, compose, loss_of, zcdp_epsilon
from securesplit.text import rounded_up

LOSS = loss_of(48.0**2, 2 * 40.0, 4)
NOVEMBER, DECEMBER = 1_793_534_400.0, 1_796_126_400.0  # 2026-11-01 and 2026-12-01, UTC


def spend(book, name, *, loss=LOSS, photo=None, budget=None, preset="certified"):
    photo = name if photo is None else photo
    return book.spend(bytes([name]) * 16, bytes([photo]) * 16, loss, preset=preset, bundle_id="sha256:0", budget=budget)


@pytest.mark.parametrize("by", ["week", "", None, 3])
def test_a_period_that_no_ledger_keeps_is_refused_rather_than_empty(tmp_path, by):
    with Ledger(tmp_path) as book, pytest.raises(ConfigError, match="by cannot be"):
        book.totals(by)


def test_a_distinct_release_counts_once(tmp_path):
    with Ledger(tmp_path) as book:
        assert spend(book, 1).first
        assert not spend(book, 1).first
        assert spend(book, 2).first
    with Ledger(tmp_path) as book:
        total = book.totals()[-1]
        assert (total.period, total.releases, total.unbounded) == ("total", 2, 0)
        assert total.loss.epsilon() == pytest.approx(LOSS.times(2).epsilon())


def test_releases_of_one_photo_compose(tmp_path):
    with Ledger(tmp_path) as book:
        spend(book, 1, photo=9)
        spend(book, 2)
        receipt = spend(book, 3, photo=9)
    assert receipt.photo_releases == 2
    assert receipt.photo_loss.mu == pytest.approx(LOSS.times(2).mu)


def test_periods(tmp_path):
    now = NOVEMBER
    with Ledger(tmp_path, clock=lambda: now) as book:
        spend(book, 1)
        spend(book, 2)
        now = DECEMBER
        spend(book, 3)
        assert [(t.period, t.releases) for t in book.totals("month")] == [("2026-11", 2), ("2026-12", 1), ("total", 3)]
        assert [t.period for t in book.totals("day")] == ["2026-11-01", "2026-12-01", "total"]
        assert [t.period for t in book.totals("year")] == ["2026", "total"]


def test_an_empty_ledger(tmp_path):
    with Ledger(tmp_path) as book:
        assert [(t.period, t.releases, t.loss.epsilon()) for t in book.totals()] == [("total", 0, 0.0)]


def test_the_budget_refuses_before_it_is_overspent(tmp_path):
    budget = LOSS.times(3).epsilon() * 1.000001
    with Ledger(tmp_path) as book:
        for name in (1, 2, 3):
            spend(book, name, budget=budget)
        with pytest.raises(BudgetError, match="overspend") as caught:
            spend(book, 4, budget=budget)
        assert caught.value.exit_code == 10
        assert not spend(book, 3, budget=budget).first, "a retry reveals nothing new and stays free"
        assert book.totals()[-1].releases == 3
        spend(book, 4)


def test_a_release_without_a_promise(tmp_path):
    with Ledger(tmp_path) as book:
        with pytest.raises(BudgetError, match="no promise"):
            spend(book, 1, loss=UNBOUNDED, budget=100.0, preset="compact")
        spend(book, 1, loss=UNBOUNDED, preset="compact")
        alone = book.totals()[-1]
        receipt = spend(book, 2, budget=100.0)
        total = book.totals()[-1]
    assert receipt.photo_loss.epsilon() == pytest.approx(LOSS.epsilon())
    assert (alone.epsilon, alone.identification_bound_n1000) == (None, None)
    assert (total.releases, total.unbounded) == (2, 1)
    assert total.epsilon == pytest.approx(LOSS.epsilon(), abs=1e-4)
    assert total.identification_bound_n1000 is None
    assert total.loss.mu == pytest.approx(LOSS.mu)


@pytest.mark.parametrize("why", ["readonly", "locked"])
def test_a_log_that_cannot_be_kept_is_an_error_and_not_waited_for_for_ever(tmp_path, monkeypatch, why):
    file = tmp_path / LEDGER_FILE
    with closing(sqlite3.connect(file)) as holder:
        holder.execute("CREATE TABLE one (n INTEGER)")
        if why == "locked":
            monkeypatch.setattr(ledger, "LOCK_WAIT_S", 0.1)
            holder.execute("BEGIN EXCLUSIVE")
        mode = "ro" if why == "readonly" else "rw"
        with (
            closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, timeout=0.0)) as db,
            pytest.raises(sqlite3.OperationalError, match=why),
        ):
            ledger._write_ahead(db)


def test_the_file_is_private(tmp_path):
    with Ledger(tmp_path / "state") as book:
        spend(book, 1)
        for file in (tmp_path / "state").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_row_is_forced_to_the_disk(tmp_path):
    """Without that, power that goes after a release has left takes the row of it; also where a fork opens it again."""
    with Ledger(tmp_path) as book:
        for _ in range(2):
            found = [book._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
            assert found == [2, "wal"], "FULL: SQLite waits for the disk at the end of every transaction"
            book._connection.before()
            book._connection.after_in_parent()


def test_a_broken_ledger_stops_the_release(tmp_path):
    (tmp_path / LEDGER_FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(BudgetError, match="cannot be used"):
        Ledger(tmp_path)


def _replace(state):
    shutil.copytree(state, backup := state.with_name("backup"))
    shutil.rmtree(state)
    backup.rename(state)


@pytest.mark.parametrize(
    "change",
    [shutil.rmtree, lambda state: state.rename(state.with_name("elsewhere")), _replace],
    ids=["removed", "moved", "replaced"],
)
def test_nothing_is_spent_in_a_ledger_that_nobody_finds_again(tmp_path, change):
    state = tmp_path / "state"
    with Ledger(state) as book:
        spend(book, 1)
        change(state)
        for _ in range(2):
            with pytest.raises(BudgetError, match="was moved, removed or replaced while this program uses it"):
                spend(book, 2)
    with Ledger(state) as book:
        assert spend(book, 2).first
        assert book.total().releases == (2 if change is _replace else 1)


def test_a_ledger_stays_where_it_is_when_the_working_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger("state") as book:
        monkeypatch.chdir("/")
        assert spend(book, 1).device.releases == 1
    assert Ledger(tmp_path / "state").total().releases == 1


def test_threads_share_one_ledger(tmp_path):
    with Ledger(tmp_path) as book, ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda i: spend(book, i % 50).first, range(400)))
        assert sum(firsts) == 50
        assert book.totals()[-1].releases == 50


def provisional(book, *names, **kwargs):
    pairs = [(bytes([name]) * 16,) * 2 for name in names]
    kwargs = {"preset": "certified", "bundle_id": "sha256:0", "may_be_taken_back": True, **kwargs}
    return book.spend_together(pairs, LOSS, **kwargs)


def test_what_did_not_leave_is_taken_back_by_its_writer_alone(tmp_path):
    with Ledger(tmp_path) as book, Ledger(tmp_path) as other:
        (receipt,) = provisional(book, 1)
        assert receipt.first
        assert not other.take_back(bytes([1]) * 16, receipt.hold + 1)
        assert book.take_back(bytes([1]) * 16, receipt.hold)
        assert not book.take_back(bytes([1]) * 16, receipt.hold), "once"
        assert book.total().releases == 0
        assert spend(book, 1).hold is None


@pytest.mark.parametrize("again", [spend, provisional])
def test_what_another_program_has_found_there_stays(tmp_path, again):
    """It counts on the row, and may have sent the release."""
    with Ledger(tmp_path) as book, Ledger(tmp_path) as other:
        (receipt,) = provisional(book, 1)
        again(other, 1)
        assert not book.take_back(bytes([1]) * 16, receipt.hold)
        assert book.total().releases == 1


def test_releases_that_leave_together_are_written_all_or_none(tmp_path):
    with Ledger(tmp_path) as book:
        with pytest.raises(BudgetError, match="overspend"):
            provisional(book, 1, 2, 3, budget=LOSS.times(2).epsilon() * 1.000001)
        assert book.total().releases == 0
        receipts = provisional(book, 1, 2, 2, 3)
        assert [receipt.first for receipt in receipts] == [True, True, False, True]
        assert [receipt.device.releases for receipt in receipts] == [1, 2, 2, 3]


SPENDER = """
import sys
from pathlib import Path
from securesplit.errors import BudgetError
from securesplit.privacy.accounting import loss_of
from securesplit.device.ledger import Ledger
state, who, budget = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
book = Ledger(state)
print("ready", flush=True)
sys.stdin.readline()
for i in range(100_000):
    name = bytes([who]) + i.to_bytes(15)
    try:
        book.spend(name, name, loss_of(48.0**2, 80.0, 4), preset="certified", bundle_id="b", budget=budget)
    except BudgetError:
        break
    print(name.hex(), flush=True)
"""


def start(state, who, budget):
    return subprocess.Popen(
        [sys.executable, "-c", SPENDER, str(state), str(who), str(budget)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


OPENER = """
import sys
from pathlib import Path
from securesplit.device.ledger import Ledger
print("ready", flush=True)
sys.stdin.readline()
for round in range(25):
    Ledger(Path(sys.argv[1]) / str(round)).close()
"""


def test_first_uses_at_once_all_get_the_ledger(tmp_path):
    """SQLite waits for no lock where it begins a write-ahead log; whoever comes at that moment waits all the same."""
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    openers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("\n")
        opener.stdin.flush()
    assert [opener.communicate(timeout=60)[1] for opener in openers] == [""] * 3


def test_two_processes_at_once_do_not_overspend(tmp_path):
    budget = LOSS.times(40).epsilon() * 1.000001
    racers = [start(tmp_path, who, budget) for who in (1, 2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    granted = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert sum(map(len, granted)) == 40
    with Ledger(tmp_path) as book:
        total = book.totals()[-1]
    assert total.releases == 40
    assert total.loss.within(budget)


@pytest.mark.parametrize("after", [1, 7, 20])
def test_a_kill_loses_nothing_that_was_granted(tmp_path, after):
    """kill -9 while rows are being written: every grant that the process had announced is in the ledger."""
    victim = start(tmp_path, 1, 1e9)
    assert victim.stdout.readline() == "ready\n"
    victim.stdin.write("\n")
    victim.stdin.flush()
    granted = [victim.stdout.readline().strip() for _ in range(after)]
    os.kill(victim.pid, signal.SIGKILL)
    rest = victim.stdout.read().split("\n")  # `communicate` would leave out what readline has read ahead
    victim.communicate(timeout=30)
    granted += [line for line in rest[:-1] if len(line) == 32]
    with Ledger(tmp_path) as book:
        releases = book.totals()[-1].releases
        assert spend(book, 255).first, "the ledger still works"
    with sqlite3.connect(tmp_path / LEDGER_FILE) as db:
        names = {row[0].hex() for row in db.execute("SELECT release FROM releases")}
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert set(granted) <= names
    assert releases - len(granted) <= 1, "at most the one whose announcement the kill cut off"


def test_spending_is_fast(tmp_path):
    """The defence may cost 10 ms; the ledger's share is a row on the disk."""
    with Ledger(tmp_path) as book:
        times = []
        for name in range(100):
            start_s = time.perf_counter()
            spend(book, name, budget=1e6)
            times.append(time.perf_counter() - start_s)
    assert sorted(times)[50] < 0.010


def run_cli(capsys, *arguments):
    code = cli.run(["ledger", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_text(tmp_path, capsys):
    with Ledger(tmp_path, clock=lambda: NOVEMBER) as book:
        spend(book, 1)
        spend(book, 2, loss=UNBOUNDED, preset="compact")
    code, out, err = run_cli(capsys, "--state", str(tmp_path), "--budget", "100")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split() == ["2026-11", "2", f"{rounded_up(LOSS.epsilon(), 2):.2f}", "1", "2", "-"]
    assert lines[2].split()[0] == "total"
    assert f"one photo: epsilon at most {rounded_up(LOSS.epsilon(), 2):.2f}" in out
    assert "noise secret" not in out
    left = int(lines[-1].split("about ")[1].split()[0])
    assert LOSS.times(1 + left).within(100)
    assert not LOSS.times(2 + left).within(100)


def test_command_json(tmp_path, capsys):
    with Ledger(tmp_path, clock=lambda: NOVEMBER) as book:
        spend(book, 1)
    code, out, _ = run_cli(capsys, "--state", str(tmp_path), "--format", "json")
    answer = json.loads(out)
    assert code == 0
    assert answer["schema"] == "securesplit.ledger/1"
    assert answer["total"] == {
        "period": "total",
        "releases": 1,
        "without_promise": 0,
        "epsilon": rounded_up(LOSS.epsilon(), 4),
        "photos": 1,
        "identification_bound_n1000": rounded_up(LOSS.identification_bound(1000), 6),
    }
    assert answer["photo"] == {
        name: answer["total"][name] for name in ("releases", "epsilon", "identification_bound_n1000")
    }
    assert answer["noise_keys"] == 0
    assert [p["period"] for p in answer["periods"]] == ["2026-11"]


def test_command_on_a_new_device(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path / "new"))
    code, out, _ = run_cli(capsys, "--budget", "8")
    assert code == 0
    assert "no release yet" in out


def test_command_on_a_broken_ledger(tmp_path, capsys):
    (tmp_path / LEDGER_FILE).write_bytes(b"no database" * 100)
    code, out, err = run_cli(capsys, "--state", str(tmp_path))
    assert (code, out) == (10, "")
    assert err.startswith("error: the privacy ledger")
    assert "hint:" in err


ADDED = ("leakage", "support", "variance", "shift")


def forget_periods(db):
    """As a ledger was before the totals of its periods were kept."""
    db.execute("DROP TRIGGER count_release_of_period")
    for table in ("releases_of_period", "groups_of_period", "photos_of_period", "most_released"):
        db.execute(f"DROP TABLE {table}")


def forget_totals(db):
    """As a ledger was before its totals were kept."""
    forget_periods(db)
    db.execute("DROP TRIGGER count_release")
    for table in ("releases_alike", "groups_alike", "photos_counted"):
        db.execute(f"DROP TABLE {table}")


def test_a_ledger_of_an_earlier_version_goes_on(tmp_path):
    """Its old rows promise nothing about maximal leakage and have no exact loss; new ones do."""
    with Ledger(tmp_path) as book:
        spend(book, 1)
    db = sqlite3.connect(tmp_path / LEDGER_FILE)
    forget_totals(db)
    for column in ADDED:
        db.execute(f"ALTER TABLE releases DROP COLUMN {column}")
    db.execute("DROP TABLE noise_keys")
    db.commit()
    db.close()
    for _ in range(2):
        with Ledger(tmp_path) as book:
            assert book.recognise(b"f" * 16)
            assert book.totals()[-1].loss.leakage == math.inf
            assert book.totals()[-1].loss.integers is None
            assert book.totals()[-1].loss.rho == pytest.approx(LOSS.rho)
    with Ledger(tmp_path) as book:
        assert spend(book, 2).photo_loss.leakage == pytest.approx(LOSS.leakage)


SIX = loss_of(0.35**2, 5, 1)
QUIET = loss_of(2.0, 5, 1)


def test_one_integer_is_accounted_exactly_over_the_device(tmp_path):
    """Also under several noises; one release of another kind leaves the bounds."""
    with Ledger(tmp_path) as book:
        for name in range(10):
            receipt = spend(book, name, loss=SIX)
        assert receipt.device.loss.integers == SIX.times(10).integers
        assert receipt.device.loss.epsilon() == pytest.approx(SIX.times(10).epsilon())
        mixed = spend(book, 20, loss=QUIET).device.loss
        assert mixed.integers == compose([SIX.times(10), QUIET]).integers
        assert spend(book, 21, loss=LOSS).device.loss.integers is None


def test_releases_of_one_photo_leak_no_more_than_its_level(tmp_path):
    """Whatever noises it was released under; photos and presets of their own add up."""
    with Ledger(tmp_path) as book:
        for name in range(5):
            receipt = spend(book, name, photo=9, loss=(SIX, QUIET)[name % 2])
        assert SIX.times(5).leakage > math.log(6) + 1
        assert receipt.photo_loss.identification_bound(1000) <= 6.0001e-3
        assert receipt.photo_loss.epsilon() > SIX.times(3).epsilon(), "the differences between photos do compose"
        other = spend(book, 30, photo=9, loss=SIX, preset="other")
        assert other.photo_loss.leakage == pytest.approx(math.log(6) + SIX.leakage)
        two = spend(book, 31, photo=10, loss=SIX).device
        assert (two.photos, two.releases) == (2, 7)
        assert two.loss.leakage == pytest.approx(math.log(6) + 2 * SIX.leakage)


@pytest.mark.parametrize("photos", [1, 2, 3, 4])
def test_k_photos_identify_a_person_up_to_the_power_of_k(tmp_path, photos):
    with Ledger(tmp_path) as book:
        for name in range(photos):
            receipt = spend(book, name, loss=SIX)
    bound = receipt.device.loss.identification_bound(1000)
    assert bound == pytest.approx(min(1.0, math.exp(SIX.leakage) ** photos / 1000))
    assert receipt.photo_loss.identification_bound(1000) == pytest.approx(math.exp(SIX.leakage) / 1000)


def test_a_replaced_noise_secret_is_noticed(tmp_path):
    with Ledger(tmp_path, clock=lambda: NOVEMBER) as book:
        assert book.recognise(b"a" * 16)
        assert book.recognise(b"b" * 16), "nothing was released yet, so nothing is released twice"
        spend(book, 1)
    with Ledger(tmp_path, clock=lambda: DECEMBER) as book:
        assert book.recognise(b"b" * 16)
        assert not book.recognise(b"c" * 16)
        assert book.recognise(b"b" * 16), "a secret that was restored"
        assert list(book.noise_keys().values()) == [NOVEMBER, NOVEMBER, DECEMBER]


def test_the_command_tells_of_a_replaced_noise_secret(tmp_path, capsys):
    with Ledger(tmp_path, clock=lambda: NOVEMBER) as book:
        book.recognise(b"a" * 16)
        spend(book, 1)
    with Ledger(tmp_path, clock=lambda: DECEMBER) as book:
        book.recognise(b"b" * 16)
    _, out, _ = run_cli(capsys, "--state", str(tmp_path))
    assert "the noise secret was replaced, last on 2026-12-01" in out
    assert json.loads(run_cli(capsys, "--state", str(tmp_path), "--format", "json")[1])["noise_keys"] == 2


def test_the_budget_knows_the_exact_loss(tmp_path):
    """Ten releases fit a budget that zCDP would call overspent."""
    budget = SIX.times(10).epsilon() * 1.000001
    assert zcdp_epsilon(SIX.times(10).rho) > 1.03 * budget
    with Ledger(tmp_path) as book:
        for name in range(10):
            spend(book, name, loss=SIX, budget=budget)
        with pytest.raises(BudgetError, match="of this device"):
            spend(book, 11, loss=SIX, budget=budget)


class CutOff(sqlite3.Connection):
    """A database at which a signal arrives just when a transaction has begun."""

    arriving = False

    def execute(self, sql, *rest):
        done = super().execute(sql, *rest)
        if CutOff.arriving and sql == "BEGIN IMMEDIATE":
            CutOff.arriving = False
            raise KeyboardInterrupt
        return done


def test_a_signal_at_the_start_of_a_transaction_is_harmless(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=CutOff))
    with Ledger(tmp_path) as ledger:
        CutOff.arriving = True
        with pytest.raises(KeyboardInterrupt):
            spend(ledger, 1)
        spend(ledger, 2)
        assert ledger.totals()[-1].releases == 1


LOSSES = [LOSS, UNBOUNDED, NO_LOSS, SIX, QUIET, replace(SIX, integers=None), replace(LOSS, leakage=math.inf)]


TIMES = [NOVEMBER, NOVEMBER + 86_399, NOVEMBER + 86_400, DECEMBER, DECEMBER + 40 * 86_400, -1.0, 1e300]
FORMATS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


def insert(book, rows):
    """Rows of (number of the photo, preset and bundle, loss, time), each a release of its own, at once."""
    with book._immediate():
        for photo, (preset, bundle), loss, at in rows:
            book._clock = lambda at=at: at
            book._insert(os.urandom(16), photo.to_bytes(16), preset, bundle, loss, hold=1)


GRIDS = [("a", "sha256:0"), ("b", "sha256:0"), ("a", "sha256:1")]
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(GRIDS), st.sampled_from(LOSSES), st.sampled_from(TIMES)), max_size=15
)


def assert_same(kept, counted):
    assert replace(kept, loss=NO_LOSS) == replace(counted, loss=NO_LOSS)
    assert kept.loss.integers == counted.loss.integers
    for figure in ("rho", "mu", "eta", "leakage", "support"):
        assert getattr(kept.loss, figure) == pytest.approx(getattr(counted.loss, figure), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(ROWS, ROWS, st.sampled_from([forget_totals, forget_periods]), st.integers(1, 4))
def test_kept_totals_are_those_of_all_rows(before, after, forget, every):
    """Of all, of each period, and of the photo with most; also where the ledger was begun by a version without them.

    That version's program goes on writing meanwhile; and some releases are taken back.
    """
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as book:
        forget(book._db)
        insert(book, before)
        with Ledger(Path(folder)) as later:
            insert(book, after)
            for (release,) in book._db.execute("SELECT release FROM releases ORDER BY 1").fetchall()[::every]:
                assert book.take_back(release, 1)
            assert_same(later.total(), book._total("total", "TRUE"))
            for by, form in FORMATS.items():
                *found, _ = later.totals(by)
                period = f"IFNULL(strftime('{form}', at, 'unixepoch'), '?')"
                assert [total.period for total in found] == periods_of(book._db, period)
                for total in found:
                    assert_same(total, book._total(total.period, f"{period} = ?", total.period))
            assert later.most_released_photo().loss.rho == pytest.approx(most_rho(book._db), rel=1e-12)


def periods_of(db, period):
    return [name for (name,) in db.execute(f"SELECT DISTINCT {period} FROM releases ORDER BY 1")]  # noqa: S608


def most_rho(db):
    of_photos = "SELECT SUM(rho) AS rho FROM releases WHERE rho < 9e999 GROUP BY photo"
    return max((rho for (rho,) in db.execute(of_photos)), default=0.0)


def test_several_processes_bring_a_ledger_up_to_date_and_count_once(tmp_path):
    with Ledger(tmp_path) as book:
        insert(book, [(n % 500, GRIDS[0], SIX, NOVEMBER) for n in range(3_000)])
        forget_totals(book._db)
    racers = [start(tmp_path, who, 1e9) for who in (1, 2, 3)]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
        assert len(racer.stdout.readline().strip()) == 32
    for racer in racers:
        racer.kill()
        racer.communicate(timeout=30)
    with Ledger(tmp_path) as book:
        assert_same(book.total(), book._total("total", "TRUE"))
        november, *_ = book.totals()
        assert_same(november, book._total("2026-11", "strftime('%Y-%m', at, 'unixepoch') = '2026-11'"))
        assert book.most_released_photo().releases == 6


@pytest.mark.parametrize(
    "use",
    [
        lambda book: spend(book, 251, loss=SIX),
        lambda book: book.total(),
        lambda book: book.totals("day"),
        lambda book: book.most_released_photo(),
    ],
    ids=["spend", "total", "totals", "most"],
)
def test_nothing_costs_a_look_at_all_releases(tmp_path, use):
    """An archive is millions of photos; a full look at 3,000 rows takes a hundred times the steps of one at 30."""
    with Ledger(tmp_path, clock=lambda: NOVEMBER) as book:
        steps = []
        for many in (30, 3_000):
            insert(book, [(photo, GRIDS[0], SIX, NOVEMBER) for photo in range(many)])
            book._db.set_progress_handler(lambda many=many: steps.append(many), 10)
            use(book)
            book._db.set_progress_handler(None, 0)
    assert steps.count(3_000) < 2 * steps.count(30) + 10
