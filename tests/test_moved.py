"""Old names of modules go on working for one release (`securesplit.moved`)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from securesplit.moved import MOVED, new_name
from tests.conftest import REPO


@pytest.mark.parametrize("old", [*sorted(MOVED), "securesplit.privacy.attacks.setting"])
def test_an_old_name_is_the_module_itself(old: str) -> None:
    new = new_name(old)
    parent, _, name = old.rpartition(".")
    code = (
        f"import importlib; from {parent} import {name} as found; new = importlib.import_module({new!r}); "
        f"assert found is new is importlib.import_module({old!r}); assert new.__spec__.name == new.__name__ == {new!r}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def test_an_old_command_still_runs() -> None:
    env = {"SECURESPLIT_METRICS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "securesplit.worker.ask", "/readyz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO, env=env)
    assert (done.returncode, done.stdout[:9], done.stderr) == (1, "no answer", "")


def test_a_script_that_serves_a_model_of_its_own_still_finds_the_class() -> None:
    code = "from securesplit.worker.served import Served; from securesplit.worker.served_model import ServedModel as S"
    subprocess.run([sys.executable, "-c", f"{code}; assert Served is S"], check=True, cwd=REPO)


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"securesplit\.channel\.nothing"):
        __import__("securesplit.channel.nothing")


def test_a_function_that_moved_is_found_under_its_old_module() -> None:
    from securesplit.device.noise_key import load_secret
    from securesplit.privacy import noise

    assert noise.load_secret is load_secret
    with pytest.raises(AttributeError, match=r"module 'securesplit\.privacy\.noise' has no attribute 'load'"):
        noise.load  # noqa: B018  (it is asked for)


def test_attacks_of_packages_find_the_names_that_they_were_written_with() -> None:
    import numpy as np
    from securesplit.audit.attacks.setting import Known

    from securesplit.audit.setting import AttackerKnowledge

    known = Known(np.zeros((2, 8, 8, 3), np.float32), np.ones((2, 3), np.float32), np.zeros(2, bool))
    assert type(known) is AttackerKnowledge
    assert known.clean is known.noise_free
