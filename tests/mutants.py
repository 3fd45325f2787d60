"""Mutants that once lived, or would be worst: each changes one line of a copy of the code, and tests must fail on it.

    python -m tests.mutants            # all of them; some seconds each
    python -m tests.mutants noise      # those with this word in their names

`python -m tests.mutation` makes every mutant that mutmut knows of the same files, and takes the better part of an hour.
This is the part that CI has time for: a mutant whose tests pass, or whose line is no longer there, is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PASSED, FAILED = 0, 1
"""Exit codes of pytest where tests ran; others mean that nothing was tested."""
WORKERS = 2


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Args:
        name: what it would mean.
        file: below `REPO`.
        old: text that stands there once.
        new: in its place.
        tests: ids or files, of which at least one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PRIVACY, CHANNEL, DEVICE, AUDIT = (f"securesplit/{name}" for name in ("privacy", "channel", "device", "audit"))
REPEATS, EXACT, LEDGER = (f"tests/privacy/test_{name}.py" for name in ("repeats", "exact", "ledger"))
GOALS = "tests/privacy/test_attacks_bundle.py::test_a"
MUTANTS = (
    Mutant(
        "no noise at the shipped size",
        f"{PRIVACY}/discrete_gaussian.py",
        "return [self.sample() for _ in range(count)]",
        "return [self.sample() if self.sigma_squared > 1 else 0 for _ in range(count)]",
        (REPEATS,),
    ),
    Mutant(
        "noise of half the standard deviation",
        f"{PRIVACY}/release.py",
        "* self.clip_steps) ** 2",
        "* self.clip_steps / 2) ** 2",
        ("tests/privacy/test_release.py", REPEATS),
    ),
    Mutant(
        "noise keyed without its variance",
        f"{PRIVACY}/noise.py",
        'self._key(b"noise", pixels, bundle_identity, spec)',
        'self._mac(b"noise", *_pixel_fields(pixels), bundle_identity, spec.preset.encode())',
        (REPEATS,),
    ),
    Mutant(
        "noise keyed by the name that people see",
        f"{PRIVACY}/noise.py",
        "spec.stored_name.encode()",
        "spec.preset.encode()",
        ("tests/test_renamed_preset.py",),
    ),
    Mutant(
        "noise keyed without the photo",
        f"{PRIVACY}/noise.py",
        "return self._mac(purpose, *_pixel_fields(pixels), bundle_identity,",
        "return self._mac(purpose, bundle_identity,",
        ("tests/privacy/test_noise.py",),
    ),
    Mutant(
        "the name in the ledger is the key of the noise",
        f"{PRIVACY}/noise.py",
        "return self._mac(purpose, ",
        'return self._mac(b"", ',
        ("tests/privacy/test_noise.py",),
    ),
    Mutant(
        "sensitivity one step too small",
        f"{PRIVACY}/release.py",
        "return float(highest - lowest)",
        "return float(highest - lowest - 1)",
        (EXACT,),
    ),
    Mutant(
        "levels that are not enforced",
        f"{PRIVACY}/release.py",
        "grid if spec.levels is None else grid.clip(*spec.levels)",
        "grid",
        ("tests/privacy/test_release.py",),
    ),
    Mutant(
        "one level too few is accounted",
        f"{PRIVACY}/accounting.py",
        "values = 1 + (",
        "values = (",
        (EXACT, "tests/privacy/test_leakage.py"),
    ),
    Mutant(
        "the composition forgets k in the exact sum",
        f"{PRIVACY}/accounting.py",
        "IntegerReleases(part.variance, part.shift, int(part.count * count))",
        "IntegerReleases(part.variance, part.shift, part.count)",
        (EXACT, LEDGER),
    ),
    Mutant(
        "the composition forgets k in maximal leakage",
        f"{PRIVACY}/accounting.py",
        "self.leakage * many",
        "self.leakage",
        ("tests/privacy/test_leakage.py", LEDGER),
    ),
    Mutant(
        "the convolution forgets one factor",
        f"{PRIVACY}/exact.py",
        "found[further] += mass * share",
        "found[further] += mass",
        (EXACT,),
    ),
    Mutant(
        "the ledger composes one release a noise",
        f"{DEVICE}/ledger.py",
        'f"SELECT variance, shift, COUNT(*) FROM',
        'f"SELECT variance, shift, 1 FROM',
        (LEDGER,),
    ),
    Mutant(
        "a receipt above what the levels hold",
        f"{DEVICE}/ledger.py",
        "SUM(MIN(leakage, support))",
        "SUM(leakage)",
        (LEDGER,),
    ),
    Mutant(
        "a budget that is not composed",
        f"{DEVICE}/ledger.py",
        "compose([spent.loss, loss]).within",
        "loss.within",
        (LEDGER,),
    ),
    Mutant(
        "a row that another program relies on can be taken back",
        f"{DEVICE}/ledger.py",
        "SET hold = NULL",
        "SET hold = hold",
        (LEDGER,),
    ),
    Mutant(
        "sending does not wait for an early row",
        f"{DEVICE}/charging.py",
        "all(entry.found is not None for entry in self.entries)",
        "any(entry.is_early for entry in self.entries)",
        ("tests/integration/test_early_charge.py",),
    ),
    Mutant(
        "what has left is taken back",
        f"{DEVICE}/charging.py",
        "if entry.is_early and not entry.is_due:",
        "if entry.is_early:",
        ("tests/integration/test_charging.py::test_it_is_on_the_disk_before_a_byte_of_it_leaves",),
    ),
    Mutant(
        "A8 against the upper end of the baseline's interval",
        f"{AUDIT}/attacks/attributes.py",
        "met = True if gain.high <= MAX_ATTRIBUTE_GAIN",
        "met = True if r.release.mean <= r.label_only.high",
        (f"{GOALS}n_attribute_is_judged_by_the_paired_difference",),
    ),
    Mutant(
        "intervals that take photos of one lesion for as many lesions",
        f"{AUDIT}/metrics.py",
        "np.arange(count) if clusters is None else clusters",
        "np.arange(count)",
        ("tests/privacy/test_metrics.py::test_three_photos_of_each_lesion_say_no_more_than_one",),
    ),
    Mutant(
        "3 × label-only where arithmetic meets it",
        f"{AUDIT}/attacks/identification.py",
        "if r.certified_bound > limit:",
        "if True:",
        (f"{GOALS}_goal_that_arithmetic_meets_is_not_judged",),
    ),
    Mutant(
        "a broken promise that nobody made",
        f"{AUDIT}/judge.py",
        'promised=audit.claims.get(preset) != "none"',
        "promised=False",
        ("tests/privacy/test_audit_promises.py",),
    ),
    Mutant(
        "a promise that a name does not make",
        "securesplit/device/promise.py",
        'return "none" if spec.preset in CLAIMLESS else "measured"',
        'return "none"',
        ("tests/privacy/test_audit_promises.py",),
    ),
    Mutant(
        "a device's promise in spite of a release without one",
        "securesplit/device/promise.py",
        "accounting.UNBOUNDED if total.unbounded else total.loss",
        "total.loss",
        ("tests/test_unprotected.py::test_one_release_without_a_promise_leaves_the_device_none",),
    ),
    Mutant(
        "a threshold at an answer",
        "training/evaluation/calibration.py",
        "return (least + below) / 2",
        "return least",
        ("tests/training/bundle/test_calibrate.py",),
    ),
    Mutant(
        "the network's intervals take photos of one lesion for as many lesions",
        "training/evaluation/metrics.py",
        "auc_interval(logits, malignant, np.tile(split.lesion, draws))",
        "auc_interval(logits, malignant, np.arange(len(logits)))",
        ("tests/training/evaluation/test_metrics.py::test_three_photos_of_each_lesion_say_no_more_than_one",),
    ),
    Mutant(
        "a key of a device that is over takes the next one with it",
        f"{DEVICE}/encryption_key.py",
        "            if self._is_there():\n                self._file.unlink",
        "            if True:\n                self._file.unlink",
        ("tests/device/test_encryption_key.py::test_a_key_that_is_over_takes_not_the_next_one_with_it",),
    ),
    Mutant(
        "an earlier revocation list behind a newer one",
        "securesplit/pki/enrolling.py",
        "sorted(lists.revocations(path), key=profile.crl_number)",
        "lists.revocations(path)",
        ("tests/pki/test_enrolling.py::test_of_several_lists_of_a_ca_in_one_file_the_newest_counts",),
    ),
    Mutant(
        "what was held of dropped peers makes room for others",
        "securesplit/transport/peers.py",
        "        except ZmtpError:\n            self._held_bytes += peer.held_bytes - before\n",
        "        except ZmtpError:\n",
        ("tests/transport/test_bounds.py::test_bytes_of_peers_that_were_dropped_make_no_room_for_others",),
    ),
    Mutant(
        "a label where answers are chance",
        "securesplit/results/parts.py",
        "CHANCE_AUC = 0.55",
        "CHANCE_AUC = 0.05",
        ("tests/model/test_noise_calibration.py",),
    ),
    Mutant(
        "one nonce for all messages",
        f"{CHANNEL}/sealing.py",
        "(self._iv ^ sequence)",
        "(self._iv)",
        ("tests/channel/test_sealing.py",),
    ),
    Mutant(
        "a header that is not authenticated",
        f"{CHANNEL}/sealing.py",
        "self._nonce(frame.seq), frame.body if sealed is None else sealed, frame.header)",
        'self._nonce(frame.seq), frame.body if sealed is None else sealed, b"")',
        ("tests/channel/test_sealing.py",),
    ),
    Mutant(
        "a message that is taken twice",
        f"{CHANNEL}/sealing.py",
        "if frame.seq <= self.sequence:",
        "if frame.seq < self.sequence:",
        ("tests/channel/test_sealing.py",),
    ),
    Mutant(
        "the network sees the centre square where it learned others",
        f"{DEVICE}/release_step.py",
        "load_square(photo, bundle.manifest.side, bundle.manifest.framing)",
        "load_square(photo, bundle.manifest.side)",
        ("tests/model/test_packing.py::test_devices_show_a_network_the_square_that_was_asked_for",),
    ),
    Mutant(
        "attackers of an audit have other squares than devices send",
        f"{AUDIT}/suite.py",
        "seen = bundle.manifest.side, bundle.manifest.framing",
        'seen = bundle.manifest.side, "centre square"',
        ("tests/privacy/test_audit.py::test_attackers_have_the_squares_that_devices_show",),
    ),
    Mutant(
        "a square around a lesion has fewer pixels than a network needs",
        "securesplit/imaging/lesion.py",
        "math.ceil(LEAST_SHARE_OF_SIDE * side)",
        "math.floor(LEAST_SHARE_OF_SIDE * side)",
        ("tests/imaging/test_lesion.py::test_a_square_has_pixels_enough_for_the_network",),
    ),
)


def copied(folder: Path) -> None:
    """The code, its tests and their settings, in `folder`."""
    for name in ("securesplit", "training", "securesplit_testing", "tests"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(REPO / "pyproject.toml", folder / "pyproject.toml")


def tested(folder: Path, tests: Iterable[str], expected: int) -> str:
    """What is wrong with the exit code of these tests in the copy; empty where it is the expected one."""
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    told = f"pytest ended with {done.returncode}: {done.stdout.strip().splitlines()[-2:]} {done.stderr[-500:]}"
    return "" if done.returncode == expected else told


def problem(mutant: Mutant) -> str:
    """Why the mutant is not killed; empty where it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(folder)
        text = (folder / mutant.file).read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            return f"its line stands {text.count(mutant.old)} times in {mutant.file}"
        (folder / mutant.file).write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        return tested(folder, mutant.tests, FAILED)


def problem_of_none(mutants: Iterable[Mutant]) -> str:
    """Why the same tests do not pass in a copy without a change: then no mutant was killed by its change."""
    with tempfile.TemporaryDirectory() as name:
        copied(Path(name))
        return tested(Path(name), sorted({test for mutant in mutants for test in mutant.tests}), PASSED)


def timed(name: str, judge: Callable[[], str]) -> bool:
    """Whether that found no problem; says so."""
    started = time.monotonic()
    found = judge()
    print(f"{'FAILED' if found else 'good'} {time.monotonic() - started:5.1f} s  {name}  {found}", flush=True)
    return not found


def main() -> int:
    """Command line; 1 where a mutant lives, none was tried, or the tests fail without any."""
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in sys.argv[1:])]
    with ThreadPoolExecutor(WORKERS) as pool:
        control = pool.submit(timed, "without a change the tests pass", partial(problem_of_none, chosen))
        killed = list(pool.map(lambda mutant: timed(mutant.name, partial(problem, mutant)), chosen))
    print(f"{sum(killed)} of {len(chosen)} mutants killed")
    return 0 if chosen and all(killed) and control.result() else 1


if __name__ == "__main__":
    sys.exit(main())
