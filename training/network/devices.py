"""What this machine offers a training: several devices, several machines, half precision; on any Keras backend.

Several machines are told of each other through ``TF_CONFIG``, as TensorFlow documents it; they need a run folder that
all of them see. Other backends than TensorFlow train on one device.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.network.batches import Shard

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Devices:
    """Where a network is trained.

    Attributes:
        strategy: a `tf.distribute.Strategy` over several devices or machines, or None.
        shard: which machine this is.
        names: of the accelerators, empty on a CPU.
    """

    strategy: Any
    shard: Shard
    names: tuple[str, ...]

    @property
    def is_chief(self) -> bool:
        """This machine writes the run's files."""
        return self.shard.index == 0

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, variables are made and updated for all devices."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def for_training(self, network: keras.Model) -> keras.Model:
        """`network`, made within `scope`, as a model whose `fit` runs on all devices; it shares its weights."""
        if self.shard.count == 1:
            return network
        return _SeveralMachines(network.inputs, network.output, name=network.name)

    def answers(self, network: keras.Model, photos: NDArray[np.uint8], batch: int = 64) -> dict[str, NDArray[Any]]:
        """Outputs for ``(n, h, w, 3)`` photos, computed on this machine alone."""
        if self.strategy is None:
            found: dict[str, NDArray[Any]] = network.predict(photos, batch_size=batch, verbose=0)
            return found
        parts = [
            network(photos[i : i + batch].astype(np.float32), training=False) for i in range(0, len(photos), batch)
        ]
        return {name: np.concatenate([keras.ops.convert_to_numpy(part[name]) for part in parts]) for name in parts[0]}


class _SeveralMachines(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """Two ways around Keras 3.15, whose `fit` fails under a strategy of several machines, and only there.

    It is made outside the strategy's scope, or `fit` reduces a nested batch that cannot be reduced; and it hands out
    its figures in one dimension, because `fit` averages them over an axis that a scalar lacks.
    """

    def train_step(self, *args: Any) -> dict[str, Any]:
        return {name: keras.ops.reshape(value, (1,)) for name, value in super().train_step(*args).items()}


def find() -> Devices:
    """All devices of this machine and the machines of ``TF_CONFIG``; call it before anything is computed."""
    if keras.backend.backend() != "tensorflow":
        return Devices(None, Shard(), _other_accelerators())
    import tensorflow as tf

    cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))
    workers = len(cluster.get("cluster", {}).get("worker", ()))
    gpus = tf.config.list_physical_devices("GPU")
    names = tuple(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus)
    if workers > 1:
        shard = Shard(int(cluster["task"]["index"]), workers)
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(), shard, names)
    devices = len(gpus) or len(tf.config.list_logical_devices("CPU"))
    return Devices(tf.distribute.MirroredStrategy(_local(tf)) if devices > 1 else None, Shard(), names)


def _local(tf: Any) -> list[str]:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def _other_accelerators() -> tuple[str, ...]:
    if keras.backend.backend() == "jax":
        import jax

        return tuple(str(d.device_kind) for d in jax.devices() if d.platform != "cpu")
    if keras.backend.backend() == "torch":
        import torch

        return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return ()


def precision(asked: str) -> str:
    """The Keras dtype policy for `asked`; ``auto``: bfloat16 arithmetic where an accelerator or the CPU has it.

    Half precision pays on accelerators (NVIDIA from compute capability 7) and on CPUs with AMX; elsewhere it is
    emulated and slower.
    """
    if asked != "auto":
        return asked
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        levels = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
        if levels:
            least = min(levels)
            return "mixed_bfloat16" if least >= (8, 0) else "mixed_float16" if least >= (7, 0) else "float32"
    elif _other_accelerators():
        return "mixed_bfloat16"
    return "mixed_bfloat16" if "amx_bf16" in _cpu_flags() else "float32"


def _cpu_flags() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.is_file() else ""


def hardware(devices: Devices) -> dict[str, Any]:
    """What the run's manifest says of the machine."""
    models = [line.partition(":")[2].strip() for line in _cpu_flags().splitlines() if line.startswith("model name")]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "accelerators": list(devices.names),
        "machines": devices.shard.count,
        "strategy": "one device" if devices.strategy is None else type(devices.strategy).__name__,
    }
