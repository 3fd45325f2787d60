"""What commands of the training write is whole, or an error of the system says why not."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPO
from tests.training.full_disk import largest_file
from training.output import write_array, write_weights

IN_A_PROCESS = """
import sys
from pathlib import Path
import keras
from tests.training.full_disk import largest_file
from training import command
from training.output import write_weights
layers = [keras.layers.Dense(100) for _ in range(60)]
network = keras.Sequential([keras.layers.Input((100,)), *layers])
def main():
    with largest_file(1 << 20):
        write_weights(network, Path(sys.argv[1]))
command.run(main)
"""


pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_back_as_it_was_written(tmp_path: Path, order: str) -> None:
    array = np.asarray(np.arange(24, dtype=np.float16).reshape(2, 3, 4), order=order)
    write_array(tmp_path / "array.npy", array)
    found = np.load(tmp_path / "array.npy", allow_pickle=False)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    write_array(tmp_path / "array.npy", np.float32(2.5))
    assert np.load(tmp_path / "array.npy", allow_pickle=False) == 2.5


def test_an_array_on_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    write_array(tmp_path / "array.npy", np.zeros(3))
    with largest_file(1 << 16), pytest.raises(OSError) as caught:  # noqa: PT011  (its number is what matters)
        write_array(tmp_path / "array.npy", np.zeros(1 << 16))
    assert caught.value.errno == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == ["array.npy"]
    assert np.load(tmp_path / "array.npy", allow_pickle=False).shape == (3,)


def test_weights_and_optimizer_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    def network() -> object:
        made = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
        made.compile("adam", "mse")
        made.optimizer.build(made.trainable_variables)
        return made

    written, read = network(), network()
    written.optimizer.iterations.assign(7)
    write_weights(written, tmp_path / "w.weights.h5")
    read.load_weights(tmp_path / "w.weights.h5")
    assert int(read.optimizer.iterations) == 7
    for mine, theirs in zip(read.get_weights(), written.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_on_a_full_disk_end_a_command_with_two_lines(tmp_path: Path) -> None:
    """HDF5 itself would end the process with a segmentation fault, behind a page for each object."""
    pytest.importorskip("keras")
    file = tmp_path / "w.weights.h5"
    command = [sys.executable, "-c", IN_A_PROCESS, file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-2].startswith("error: File too large")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
