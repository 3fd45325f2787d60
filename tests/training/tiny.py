"""A backbone that costs next to nothing, for tests of everything in the training but the networks themselves.

``python -m tests.training.tiny training.train --set backbone=tiny ...`` is that command, and knows this
backbone; with ``TINY_DEVICES=2`` it finds two devices, with ``TINY_KILLED_AFTER=6`` it is killed after six steps.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import signal
import subprocess
import sys
from typing import Any

import keras

from securesplit.model import backbones
from tests.conftest import REPO
from training import command
from training.network import train


def build(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    assert not include_top
    assert weights is None
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="stem")(input_tensor)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="middle")(x)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="end")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def run_on_jax(module: str, *arguments: object) -> None:
    """Run a command of the training on JAX in a process of its own, where this backbone is known; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.tiny", module, *map(str, arguments)],
        cwd=REPO,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


keras.applications.Tiny = build
NAME = "tiny"
backbones.BACKBONES[NAME] = backbones.Backbone("Tiny", cut="middle")

trained: list[keras.Model] = []
compile_model, callbacks = train.compile_model, train._callbacks


def remember(model: keras.Model, *rest: Any) -> None:
    trained.append(model)
    compile_model(model, *rest)


class KilledAfter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Kills this process after so many steps, of all epochs together."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the module of the training that the first argument names."""
    if "TINY_DEVICES" in os.environ:  # so many, out of one CPU
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * int(os.environ["TINY_DEVICES"])
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    train.compile_model = remember
    if steps := int(os.environ.get("TINY_KILLED_AFTER", "0")):
        train._callbacks = lambda *given: [*callbacks(*given), KilledAfter(steps)]
    module = importlib.import_module(sys.argv.pop(1))
    command.run(module.main)
    for model in trained[-1:]:
        values = [keras.ops.convert_to_numpy(variable).tobytes() for variable in model.trainable_variables]
        print("weights", hashlib.sha256(b"".join(values)).hexdigest())


if __name__ == "__main__":
    main()
