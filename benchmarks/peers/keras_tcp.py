"""Split inference as a student's project has it: Keras ``predict``, a pickled float32 map, plain TCP.

Nothing is encrypted, nobody proves who they are, and whoever reaches the port can run code in the server, since it
unpickles what it gets. It is a measuring stick: never serve anything this way.
"""

from __future__ import annotations

import pickle
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import LOOPBACK, Inputs, answer_photos

_LENGTH = struct.Struct("!I")


def serve(inputs: Inputs, port: int) -> None:
    """One client after the other, until the process ends."""
    import keras

    tail = keras.models.load_model(inputs.folder / "tail.keras", compile=False)
    with socket.create_server((LOOPBACK, port)) as listener:
        while True:
            client, _ = listener.accept()
            with client:
                while message := _receive(client):
                    features = pickle.loads(message)  # noqa: S301  (this is what is measured; see above)
                    _send(client, pickle.dumps(tail.predict(features, verbose=0)))


def ask(inputs: Inputs, port: int) -> None:
    """Answer photos."""
    import keras

    head = keras.models.load_model(inputs.folder / "head.keras", compile=False)
    with socket.create_connection((LOOPBACK, port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer(photo: Path) -> float:
            _send(server, pickle.dumps(head.predict(inputs.pixels(photo), verbose=0)))
            logits: Any = pickle.loads(_receive(server))  # noqa: S301  (likewise)
            return float(logits.item())

        answer_photos(inputs, answer)


def _send(stream: socket.socket, message: bytes) -> None:
    stream.sendall(_LENGTH.pack(len(message)) + message)


def _receive(stream: socket.socket) -> bytes:
    """The next message; empty at the end."""
    head = _exactly(stream, _LENGTH.size)
    return _exactly(stream, *_LENGTH.unpack(head)) if head else b""


def _exactly(stream: socket.socket, many: int) -> bytes:
    found = b""
    while len(found) < many:
        part = stream.recv(many - len(found))
        if not part:
            return b""
        found += part
    return found


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](Inputs(Path(sys.argv[2])), int(sys.argv[3]))
