"""Tails as actors of a Ray cluster, and the front's handle on one; this side imports no Ray.

What speaks to Ray unpickles what the cluster sends, so it is a process of its own, without keys: the bridge
(``ray_bridge.py``). The front starts it with a socket, and passes it one end of a pair of sockets for each tail. On a
tail's pair the same messages travel as to a local process. The bridge closes a pair when its actor is gone, and ends an
actor when its pair is closed; when the bridge dies all pairs end, and the next tail starts another bridge.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict

from securesplit.child_env import child_environment
from securesplit.errors import ConfigError
from securesplit.text import pip_install
from securesplit.worker.key_arena import KeyArena
from securesplit.worker.pool.process import PipedTail
from securesplit.worker.pool.tails import Tails
from securesplit.worker.resources import resident_bytes
from securesplit.worker.settings import EngineSpec, PoolSettings

CONNECTED = b"c"
"""What the bridge writes once it is connected to the cluster."""


class RayTails(Tails):
    """Starts actors by way of a bridge.

    Args:
        engine: what they run.
        settings: of the pool; `ray` is given.
        arena: of evaluation keys, which the bridge reads; needed where the engine takes ciphertexts.

    Raises:
        ConfigError: Ray is not installed, or is to be used without a token.
    """

    def __init__(self, engine: EngineSpec, settings: PoolSettings, arena: KeyArena | None) -> None:
        assert settings.ray is not None  # noqa: S101  (the pool chooses by it)
        _require_ray()
        self._engine, self._settings, self._ray, self._arena = engine, settings, settings.ray, arena
        self._bridge: _Bridge | None = None
        self._has_connected = False

    def start(self, name: str, core: int | None) -> RayTail:  # noqa: ARG002  (a cluster's cores are Ray's)
        """Ask for an actor.

        Raises:
            OSError: no descriptor, process or memory is left, or the bridge has just died.
        """
        if self._bridge is not None and self._bridge.has_ended():
            self._has_connected = self._has_connected or self._bridge.has_connected()
            self._bridge.close()
            self._bridge = None
        if self._bridge is None:
            self._bridge = _Bridge(self._settings_of_bridge(), self._arena, show_errors=self._settings.show_tail_errors)
        return RayTail(name, self._bridge)

    def close(self) -> None:
        """End the bridge, and with it every actor."""
        if self._bridge is not None:
            self._bridge.close()

    def _settings_of_bridge(self) -> dict[str, object]:
        arena = self._arena
        return {
            "address": self._ray.address,
            "anywhere": self._ray.anywhere,
            "explain": not self._has_connected,
            "engine": asdict(self._engine),
            "confine": self._settings.confine,
            "arena": None if arena is None else [arena.descriptor, arena.size, self._settings.evaluation_key_bytes],
        }


class RayTail(PipedTail):
    """An actor that was asked for.

    Args:
        name: for people.
        bridge: to Ray.

    Raises:
        OSError: no descriptor is left, or the bridge is gone.
    """

    def __init__(self, name: str, bridge: _Bridge) -> None:
        super().__init__(name)
        self._bridge = bridge
        try:
            bridge.pass_on(self._pipe.theirs)
        except OSError:
            self._pipe.close()
            raise
        self._pipe.hand_over()

    @property
    def pid(self) -> int:
        """The bridge's process; the actor's own is on another machine, perhaps."""
        return self._bridge.pid

    def resident_bytes(self) -> int:
        """The resident memory of the bridge; 0 where it has ended, or the system does not tell. From any thread."""
        return resident_bytes(self.pid)

    def exit_cause(self) -> str:
        """Ray does not tell."""
        return ""

    def kill(self) -> None:
        """Close the pair; the bridge then ends the actor."""
        self._pipe.close()

    def is_gone(self) -> bool:
        """Nothing of it is left on this machine."""
        return True

    def wait(self) -> None:
        """Likewise."""


class _Bridge:
    """The process between the front and Ray.

    Args:
        settings: of JSON types.
        arena: of evaluation keys.
        show_errors: let it write to our stderr.

    Raises:
        OSError: it cannot be started now.
    """

    def __init__(self, settings: dict[str, object], arena: KeyArena | None, *, show_errors: bool) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "securesplit.worker.ray_bridge",
                        json.dumps(settings, allow_nan=False),
                    ],
                    stdin=theirs.fileno(),
                    pass_fds=[] if arena is None else [arena.descriptor],
                    stdout=subprocess.DEVNULL,
                    stderr=None if show_errors else subprocess.DEVNULL,
                    env=child_environment() | _ray_environment(),
                    start_new_session=True,
                )
            except OSError:
                self._control.close()
                raise
        self.pid: int = self._process.pid

    def pass_on(self, theirs: socket.socket) -> None:
        """Give it the other end of a tail's pair.

        Raises:
            OSError: it is gone.
        """
        socket.send_fds(self._control, [b"t"], [theirs.fileno()], socket.MSG_DONTWAIT)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def has_connected(self) -> bool:
        """Whether it was connected to the cluster."""
        with contextlib.suppress(OSError):
            return self._control.recv(1, socket.MSG_DONTWAIT) == CONNECTED
        return False

    def close(self) -> None:
        """End it, and collect its exit status."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def _require_ray() -> None:
    """Whether there can be a bridge at all; what the cluster is like, the bridge finds out.

    Raises:
        ConfigError: Ray is not installed, or is to be used without a token.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("tails on Ray need Ray, which is not installed", hint=pip_install("securesplit[ray]"))
    if os.environ.get("RAY_AUTH_MODE") != "token":
        message = "without a token everybody who reaches a node of Ray runs programs there"
        raise ConfigError(message, hint="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here and on every node")


def _ray_environment() -> dict[str, str]:
    """What Ray is told by variables, its token among them; nothing phones home."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith("RAY_") or name == "HOME"}
    return passed_on | {"RAY_USAGE_STATS_ENABLED": "0"}
