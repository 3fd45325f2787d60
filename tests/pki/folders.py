"""What is in a certs folder, and whether a worker and a device come to terms with what is in theirs."""

from __future__ import annotations

from pathlib import Path

from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Request
from securesplit.channel.server import ServerChannel
from securesplit.pki.credentials import Credentials
from securesplit_testing.channels import BUNDLE, PEER, sent


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def talk(server: Credentials, client: Credentials) -> str:
    """Run a handshake and one request; the client's name as the server knows it."""
    front, device = ServerChannel(server, BUNDLE), ClientChannel(client, BUNDLE, "localhost")
    device.receive(sent(front.receive(PEER, device.hello())))
    event = front.receive(PEER, device.request(1, b"ask"))
    if not isinstance(event, Request):
        device.receive(sent(event))
    assert isinstance(event, Request)
    return event.client
