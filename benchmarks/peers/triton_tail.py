"""The tail behind NVIDIA's Triton server and its Python backend, from PyTriton's package; gRPC with mutual TLS.

Triton's HTTP side has no TLS, so gRPC is what is measured. A model has one fixed kind of input, so each preset is a
model of its own. ``serve`` computes request by request, ``batches`` what waits, by Triton's own dynamic batching.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import burst
from benchmarks.peers.peer import BATCH, LOOPBACK, Inputs

_TYPES = {"int8": "INT8", "int16": "INT16"}
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
{batching}
input [{{ name: "release" data_type: TYPE_{type} dims: {shape} }}]
output [{{ name: "logit" data_type: TYPE_FP32 dims: [1] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters {{ key: "inputs" value: {{ string_value: "{folder}" }} }}
"""


def batches(inputs: Inputs, port: int) -> None:
    """As `serve`, with batches."""
    serve(inputs, port, "dynamic_batching {}")


def serve(inputs: Inputs, port: int, batching: str = "") -> None:
    """Become ``tritonserver``; `batching` is of the models' configuration."""
    import pytriton

    package = Path(pytriton.__file__).parent
    home, libraries = package / "tritonserver", package.parent / "nvidia_pytriton.libs"
    own = inputs.folder / "triton"
    shutil.rmtree(own, ignore_errors=True)
    models = own / "models"
    for name, preset in inputs.facts["presets"].items():
        _write_model(models / name, inputs, preset, batching)
    tls = inputs.server_tls
    options = {
        "model-repository": models,
        "backend-directory": _backends(home, own / "backends"),
        "allow-http": "false",
        "allow-metrics": "false",
        "grpc-address": LOOPBACK,
        "grpc-port": port,
        "grpc-use-ssl-mutual": "true",
        "grpc-server-cert": tls["cert"],
        "grpc-server-key": tls["key"],
        "grpc-root-cert": tls["ca"],
    }
    os.environ["LD_LIBRARY_PATH"] = f"{libraries}:{sysconfig.get_config_var('LIBDIR')}"
    os.environ["PEER_PATH"] = os.pathsep.join([str(Path.cwd()), str(package.parent)])
    command = ["tritonserver", *(f"--{name}={value}" for name, value in options.items())]
    os.execv(home / "bin/tritonserver", command)  # noqa: S606  (a list of arguments needs no shell)


def _write_model(folder: Path, inputs: Inputs, preset: dict[str, Any], batching: str) -> None:
    (folder / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_model.py"), folder / "1/model.py")
    words = {"name": folder.name, "type": _TYPES[preset["dtype"]], "shape": preset["shape"], "folder": inputs.folder}
    (folder / "config.pbtxt").write_text(_CONFIG.format(**words, batch=BATCH, batching=batching))


def _backends(home: Path, folder: Path) -> Path:
    """Triton's backends with the stub of this version of Python, which PyTriton keeps apart."""
    shutil.copytree(home / "backends", folder)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", folder / "python")
    return folder


@dataclass(frozen=True)
class TritonClient:
    """One client with a channel of its own."""

    channel: Any
    inputs: Inputs

    async def ask(self, release: bytes) -> float:
        """Release -> logit."""
        from tritonclient import grpc

        grid = self.inputs.grid(release)[None]
        tensor = grpc.InferInput("release", grid.shape, _TYPES[grid.dtype.name])
        tensor.set_data_from_numpy(grid)
        name = next(n for n, p in self.inputs.facts["presets"].items() if p == self.inputs.presets[len(release)])
        found = await self.channel.infer(name, [tensor])
        return float(found.as_numpy("logit").item())


def ask(inputs: Inputs, port: int) -> None:
    """Ask until standard input ends."""
    from tritonclient.grpc import aio

    certs = inputs.folder / "certs"
    keys = {
        "root_certificates": certs / "ca.crt",
        "private_key": certs / "clients/device.key",
        "certificate_chain": certs / "clients/device.crt",
    }

    async def connect() -> TritonClient:
        files = {name: str(file) for name, file in keys.items()}
        return TritonClient(aio.InferenceServerClient(f"{LOOPBACK}:{port}", ssl=True, **files), inputs)

    asyncio.run(burst.run(inputs, connect))


if __name__ == "__main__":
    {"serve": serve, "batches": batches, "ask": ask}[sys.argv[1]](Inputs(Path(sys.argv[2])), int(sys.argv[3]))
