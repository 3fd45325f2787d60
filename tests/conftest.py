"""Fixtures that every folder of tests shares: photos drawn on the spot, and the real ones where they are at hand."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from securesplit.atomic import create_once
from securesplit.device.noise_key import SECRET_FILE
from securesplit.device.release_step import Releaser
from securesplit.encrypted import seal
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.privacy.noise import SECRET_BYTES
from securesplit.user_folders import make_state_folder, state_folder
from securesplit_testing import encryption, ports
from securesplit_testing.threads import end_within

REPO = Path(__file__).resolve().parents[1]
BEGAN_S = time.monotonic()
LEFT_BEHIND_S = 60.0
MOST_S = 60 * float(os.environ.get("TEST_MINUTES", "inf"))
"""After so long no further slow proof begins; CI must end in time on a busy machine, too."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell began the suite in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in the foreground, also for what tests start
with contextlib.suppress(ImportError):  # before TensorFlow: after it, TenSEAL's protocol buffers end the process
    import tenseal  # noqa: F401

# The same examples in every run, however slow the machine: chance decides nothing about a change.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def real_data_folder() -> Path | None:
    """The folder with ``ham10000/`` in it: ``SECURESPLIT_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("SECURESPLIT_DATA")
    folder = Path(named) if named else REPO.parent / "shared" / "data"
    return folder if (folder / "ham10000" / "metadata.csv").is_file() else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave slow proofs out once the time for them is over."""
    slow = {"slow", "browser", "faults"} & {mark.name for mark in item.iter_markers()}
    if slow and time.monotonic() - BEGAN_S > MOST_S:
        pytest.skip("the time for slow proofs is over (TEST_MINUTES)")


def pytest_unconfigure() -> None:
    """A thread that a test left behind must not keep the process from ending."""
    end_within(LEFT_BEHIND_S)


@pytest.fixture(autouse=True)
def _own_random_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's RNG begins anew for each test: what one draws does not hang on which ran before it in its process."""
    if isinstance(getattr(request.module, "RNG", None), np.random.Generator):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0))


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own state, settings or environment."""
    for name in [n for n in os.environ if n.startswith("SECURESPLIT_") and n != "SECURESPLIT_DATA"]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("SECURESPLIT_STATE", str(home / "state"))


@pytest.fixture
def known_noise(_own_state: None, draw_photo: Callable[..., Path]) -> None:
    """A noise secret under which the photos of seeds 1 to 3 keep their levels; by chance a few have another risk."""
    photos, bundle = [draw_photo(seed) for seed in (1, 2, 3)], Bundle.load()
    secrets = (bytes([number]) * SECRET_BYTES for number in range(256))
    kept = next(secret for secret in secrets if keeps_levels(Releaser(bundle, secret), photos))
    create_once(make_state_folder(state_folder()) / SECRET_FILE, kept)


@pytest.fixture(scope="session")
def _drawn_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a device's keys for the preset ``encrypted``, drawn once a process."""
    folder = tmp_path_factory.mktemp("device")
    if seal.is_installed():
        encryption.give_key(folder)
    return folder


@pytest.fixture
def known_keys(_own_state: None, _drawn_keys: Path) -> Path:
    """The state folder of a device that has its keys already, as a worker has that another test asked with them.

    Else every test draws 27 MB of them, and its worker is given and opens them: two seconds.
    """
    state = make_state_folder(state_folder())
    for file in _drawn_keys.iterdir():
        (state / file.name).hardlink_to(file)  # nothing writes into them: damaged ones are removed
    return state


def keeps_levels(releaser: Releaser, photos: Iterable[Path]) -> bool:
    """Whether no photo's noise changes what is released."""
    return all(
        np.array_equal(releaser.release(photo).release, releaser.release(photo, with_noise=False).release)
        for photo in photos
    )


@pytest.fixture
def draw_photo(tmp_path: Path) -> Callable[..., Path]:
    """``draw_photo(seed, suffix=".png")`` draws a synthetic lesion to a file and returns its path."""

    def draw(seed: int, suffix: str = ".png", side: int = 300) -> Path:
        path = tmp_path / f"mole-{seed}{suffix}"
        path.write_bytes(_drawn(seed, suffix, side))
        return path

    return draw


@functools.cache
def _drawn(seed: int, suffix: str, side: int) -> bytes:
    """A synthetic lesion as the content of a file."""
    stream = io.BytesIO()
    Image.fromarray(draw_lesion(seed, side)).save(stream, Image.registered_extensions()[suffix])
    return stream.getvalue()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """``free_port()`` gives a TCP port of the loopback interface that nothing listens on."""
    return ports.free_port


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos; without it the test is skipped and the summary says so."""
    folder = real_data_folder()
    if folder is None:
        pytest.skip("real photos are not at hand (SECURESPLIT_DATA)")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line which tests on real photos did not run."""
    skipped = [
        r.nodeid for r in terminalreporter.getreports("skipped") if "real photos are not at hand" in str(r.longrepr)
    ]
    if skipped:
        terminalreporter.write_line(f"real-data tests skipped ({len(skipped)}): {', '.join(skipped)}")
