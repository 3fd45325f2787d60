"""What is fuzzed. A target corrupts something by a mutation, feeds it in, and returns the outcome as a word.

A finding is any exception that a target does not expect, or an assertion of its own. Assertions go further than "no
crash": what was refused has changed nothing, and what was accepted is what was sent.
"""

from __future__ import annotations

import base64
import contextlib
import io
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from numpy.typing import NDArray
from PIL import Image

from securesplit import config
from securesplit.channel import frames, payload, tensor
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Drop, HandshakeReady, Refused, Reply, Request, Send
from securesplit.channel.frames import Code, ErrorBody, FrameError
from securesplit.channel.server import ServerChannel
from securesplit.channel.states import ClientState
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.cli import settings_check
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.cli.main import all_commands
from securesplit.errors import BundleError, ConfigError, CredentialError, PhotoError, TrustError, WorkerError
from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import manifest
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.pki import keystore, profile
from securesplit_testing import photo_files
from securesplit_testing.channels import BUNDLE, PEER, World
from securesplit_testing.fuzz.metadata import draw_exif
from securesplit_testing.fuzz.mutation import Mutation, spell

MAX_SEGMENT_BYTES = 65_000  # JPEG's have two bytes for their length

Target = Callable[[Mutation], str]
PLAINTEXT = bytes(range(64))


class Frames:
    """The header, and the body of ERR: whatever decodes has one spelling."""

    def __init__(self) -> None:
        error = ErrorBody(250, frames.Reason.ALERT, b"alert").encode()
        self.seeds = [
            frames.encode(frames.Frame(kind, code, 7, 9, bytes(range(16)), error))
            for kind in frames.FrameType
            for code in (Code.BUSY if kind is frames.FrameType.ERR else Code.OK,)
        ]

    def __call__(self, mutation: Mutation) -> str:
        data = mutation.apply(self.seeds[mutation.pick % len(self.seeds)])
        try:
            frame = frames.decode(data, max_body_bytes=512)
            assert frames.encode(frame) == data
            body = ErrorBody.decode(frame.body)
            assert body.encode() == frame.body
        except FrameError:
            return "refused"
        return "decoded"


class Tensors:
    """The tensor codec and the request around it: nothing but the allowed header, nothing read past the end."""

    def __init__(self) -> None:
        self._allowed = [TensorSpec((8,), "int8"), TensorSpec((4, 4, 2), "int16"), TensorSpec((2,), "float32")]
        self.seeds = [bytes(8) + tensor.encode(np.ones(spec.shape, spec.dtype)) for spec in self._allowed]

    def __call__(self, mutation: Mutation) -> str:
        data = mutation.apply(self.seeds[mutation.pick % len(self.seeds)])
        try:
            wanted = payload.parse_request(data, self._allowed)
        except TensorError:
            return "refused"
        assert wanted.spec in self._allowed
        assert tensor.encode(wanted.release) == data[8:]
        return "decoded"


class Answers:
    """The answer's plaintext as a client reads it: two numbers, or a WorkerError; and what a worker writes is read."""

    def __init__(self) -> None:
        self.seeds = [payload.encode_answer(logit, 3.5) for logit in (-2.25, 0.0, 7.5)]

    def __call__(self, mutation: Mutation) -> str:
        data = mutation.apply(self.seeds[mutation.pick % len(self.seeds)])
        try:
            logit, tail_ms = payload.parse_answer(data)
        except WorkerError:
            return "refused"
        assert len(data) == len(self.seeds[0])
        assert np.array([logit, tail_ms], np.float32).tobytes() == data[-8:] or np.isnan([logit, tail_ms]).any()
        return "read"


class Junk:
    """ServerChannel.receive without a handshake: frames of every type that belong to no session."""

    def __init__(self) -> None:
        self._world = World()
        self._world.open()
        body = bytes(32) + (20).to_bytes(2, "big") + bytes(60)
        self.seeds = [
            frames.encode(frames.Frame(kind, seq=1, ref=2, session=bytes(16), body=body))
            for kind in frames.FrameType
            if kind is not frames.FrameType.ERR
        ]

    def __call__(self, mutation: Mutation) -> str:
        event = self._world.server.receive(PEER, mutation.apply(self.seeds[mutation.pick % len(self.seeds)]))
        assert isinstance(event, Send | Drop), event
        assert self._world.server.session_count == 1
        return f"{_word(event)} {event.reason}"


class Server:
    """ServerChannel.receive: junk, and spoiled HELLO, FIN and REQ of real handshakes and open sessions."""

    def __init__(self) -> None:
        self._world = World()
        self._client, _ = self._world.open()
        self._hello = self._world.client().hello()
        self._ref = 1

    def __call__(self, mutation: Mutation) -> str:
        self._world.clock.now_s += 0.1
        return (self._on_junk, self._on_hello, self._on_fin, self._on_req)[mutation.pick % 4](mutation)

    def _on_junk(self, mutation: Mutation) -> str:
        return self._harmless(mutation.apply(b"SSP1"))

    def _on_hello(self, mutation: Mutation) -> str:
        word = self._harmless(mutation.apply(self._hello))
        assert self._world.server.half_open_count <= 256
        return f"hello {word}"

    def _on_fin(self, mutation: Mutation) -> str:
        client = self._world.client()
        self._world.say_hello(client)
        data = mutation.apply(client.request(3, PLAINTEXT))
        event = self._world.server.receive(PEER, data)
        return "fin " + self._judged(event, 3)

    def _on_req(self, mutation: Mutation) -> str:
        if self._client.needs_new_handshake:
            self._client, _ = self._world.open()
        self._ref += 1
        good = self._client.request(self._ref, PLAINTEXT)
        data = mutation.apply(good)
        event = self._world.server.receive(PEER, data)
        if not isinstance(event, Request):
            after = self._world.server.receive(PEER, good)  # what was refused has changed nothing
            assert isinstance(after, Request), (event, after)
        return "req " + self._judged(event, self._ref)

    def _harmless(self, data: bytes) -> str:
        before = self._world.server.session_count
        event = self._world.server.receive(PEER, data)
        assert isinstance(event, Send | Drop), event
        assert self._world.server.session_count <= before
        return _word(event)

    def _judged(self, event: object, ref: int) -> str:
        if isinstance(event, Request):  # a byte that TLS ignores, such as the version of a record
            assert (event.ref, event.plaintext) == (ref, PLAINTEXT)
        return _word(event)


class Client:
    """ClientChannel.receive: junk, and spoiled HREPLY, FREPLY, REP and ERR."""

    def __init__(self) -> None:
        self._world = World()
        self._client, self._session = self._world.open()
        self._ref = 1

    def __call__(self, mutation: Mutation) -> str:
        self._world.clock.now_s += 0.01
        return (self._on_flight, self._on_first, self._on_reply, self._on_error)[mutation.pick % 4](mutation)

    def _on_flight(self, mutation: Mutation) -> str:
        client = self._world.client()
        event = self._world.server.receive(PEER, client.hello())
        assert isinstance(event, Send)
        word = _taken(client, mutation.apply(event.frame))
        if word == "ready":  # a byte that TLS ignores: then both sides still agree
            request = self._world.ask(client, PLAINTEXT)
            assert request.plaintext == PLAINTEXT
        elif word == "malformed":
            assert client.receive(event.frame) == HandshakeReady()
        elif word == "untrusted":
            assert client.state is ClientState.IDLE
        return f"flight {word}"

    def _on_first(self, mutation: Mutation) -> str:
        client = self._world.client()
        self._world.say_hello(client)
        request = self._world.ask(client)
        good = self._world.server.seal_reply(request.session, request.ref, PLAINTEXT)
        return "first " + self._refused(client, mutation.apply(good), good)

    def _on_reply(self, mutation: Mutation) -> str:
        if self._client.needs_new_handshake:
            self._client, self._session = self._world.open()
        self._ref += 1
        self._world.ask(self._client, ref=self._ref)
        good = self._world.server.seal_reply(self._session, self._ref, PLAINTEXT)
        return "reply " + self._refused(self._client, mutation.apply(good), good)

    def _on_error(self, mutation: Mutation) -> str:
        if self._client.needs_new_handshake:
            self._client, self._session = self._world.open()
        good = self._world.server.error(Code.TLS, 1, self._session, reason=frames.Reason.ALERT, detail=bytes(24))
        before = self._client.state
        word = _taken(self._client, mutation.apply(good))
        assert word in ("refusal", "malformed")
        assert self._client.state is before
        return f"error {word}"

    def _refused(self, client: ClientChannel, spoiled: bytes, good: bytes) -> str:
        word = _taken(client, spoiled)
        if word == "reply":
            assert spoiled == good
        else:
            assert word in ("malformed", "refusal")
            reply = client.receive(good)  # what was refused has changed nothing
            assert isinstance(reply, Reply)
            assert reply.plaintext == PLAINTEXT
        return word


def _word(event: object) -> str:
    return {Request: "accepted", Send: "answered", Drop: "dropped"}[type(event)]


def _taken(client: ClientChannel, data: bytes) -> str:
    try:
        event = client.receive(data)
    except FrameError:
        return "malformed"
    except TrustError:
        return "untrusted"
    return {HandshakeReady: "ready", Reply: "reply", Refused: "refusal"}[type(event)]


class Certificates:
    """The certs folder as a worker reads it at its start and on SIGHUP, and as `doctor` does: no more than a
    CredentialError and a finding.

    Args:
        folder: an empty one to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._now = datetime.now(UTC)
        self._folder = folder / "certs"
        keystore.create(self._folder, days=90, now=self._now)
        self._files = {
            name: (self._folder / name).read_bytes()
            for name in ("ca.crt", "crl.pem", "server.crt", "server.key", "allowed-clients.txt")
        }
        server = keystore.load_server(self._folder, now=self._now)
        key = profile.load_key(server.private_key)
        certificates = {"ca.crt": server.ca, "server.crt": server.certificate}
        self._der: Mapping[str, tuple[str, bytes]] = {
            **{name: ("CERTIFICATE", der(armoured)) for name, armoured in certificates.items()},
            "crl.pem": ("X509 CRL", der(server.crl)),
            "server.key": ("PRIVATE KEY", key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())),
        }

    def __call__(self, mutation: Mutation) -> str:
        names = list(self._files)
        name = names[mutation.pick % len(names)]
        if name in self._der and mutation.pick // 16 % 4:  # mostly inside the armour, where a parser gets to see it
            label, content = self._der[name]
            spoiled = pem(label, mutation.apply(content))
        else:
            spoiled = mutation.apply(self._files[name])
        (self._folder / name).write_bytes(spoiled)
        if mutation.pick // 64 % 8 == 0:
            assert all(finding.message for finding in CertsCheck(self._folder, None, self._now).run())
        try:
            ServerChannel(keystore.load_server(self._folder, now=self._now), BUNDLE)
        except CredentialError:
            return f"{name} refused"
        finally:
            (self._folder / name).write_bytes(self._files[name])
        return f"{name} taken"


def der(armoured: bytes) -> bytes:
    """What is inside a PEM file of one object."""
    return base64.b64decode(b"".join(armoured.splitlines()[1:-1]))


def pem(label: str, content: bytes) -> bytes:
    """The same the other way round."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n".encode()


class Photos:
    """The photo loader, each format: pixels of the right form, or a PhotoError.

    Args:
        folder: an empty one to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "photo"
        picture = Image.fromarray(draw_lesion(3, 48))
        exif = Image.Exif()
        exif[0x0112] = 6
        self.seeds: list[bytes] = []
        self._kinds: list[str] = []
        for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
            with io.BytesIO() as buffer:
                picture.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
                self._add(kind, buffer.getvalue())
        with io.BytesIO() as buffer:
            picture.save(buffer, "TIFF", compression="tiff_lzw")
            self._add("TIFF", buffer.getvalue())

    def _add(self, kind: str, seed: bytes) -> None:
        self._kinds.append(kind)
        self.seeds.append(seed)

    def __call__(self, mutation: Mutation) -> str:
        which = mutation.pick % len(self.seeds)
        kind = self._kinds[which]
        self._file.write_bytes(mutation.apply(self.seeds[which]))
        try:
            pixels = load_photo(self._file, 32)
        except PhotoError:
            return f"{kind} refused"
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8
        return f"{kind} read"


class Metadata:
    """Well-shaped EXIF that makes no sense, spoiled a little or not at all: it never costs the pixels.

    Args:
        folder: an empty one to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "photo"
        picture = Image.fromarray(draw_lesion(3, 48))
        self._photos: list[tuple[str, Callable[[bytes], bytes]]] = [
            ("JPEG", lambda block: photo_files.jpeg_with(picture, photo_files.segment(0xE1, block))),
            ("PNG", lambda block: photo_files.png_with(picture, photo_files.chunk(b"eXIf", block))),
            ("WEBP", lambda block: photo_files.webp_with(picture, b"EXIF", block)),
        ]
        self._samples = {kind: np.sort(self._read(put(b""))) for kind, put in self._photos}

    def _read(self, content: bytes) -> NDArray[np.uint8]:
        self._file.write_bytes(content)
        return load_photo(self._file, 32).ravel()

    def __call__(self, mutation: Mutation) -> str:
        kind, put = self._photos[mutation.pick % len(self._photos)]
        block = draw_exif(random.Random(spell(mutation)))
        if mutation.pick % 2:
            block = mutation.apply(block)
        found = self._read(put((b"Exif\0\0" + block)[:MAX_SEGMENT_BYTES]))
        assert (np.sort(found) == self._samples[kind]).all(), "more than a turn"
        return f"{kind} {'spoiled' if mutation.pick % 2 else 'drawn'}"


class Texts:
    """The bundle's manifest and the settings file.

    Args:
        folder: an empty one to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "settings.toml"
        self._manifest = (DEFAULT_FOLDER / "manifest.json").read_bytes()
        self._commands = all_commands()
        self._settings = b'certs = "certs"\n[diagnose]\nconnect = ["tcp://localhost:1"]\ntimeout = 3.5\n'

    def __call__(self, mutation: Mutation) -> str:
        if mutation.pick % 2:
            with contextlib.suppress(BundleError):
                manifest.parse(mutation.apply(self._manifest))
                return "manifest read"
            return "manifest refused"
        self._file.write_bytes(mutation.apply(self._settings))
        try:
            settings = config.read_config(self._file)
        except ConfigError:
            return "settings refused"
        return "settings wrong" if list(settings_check.check_file(settings, self._commands)) else "settings read"


def make(name: str, folder: Path) -> Target:
    """A target by its name, with an empty folder of its own."""
    inner = folder / name
    inner.mkdir()
    if name in ON_FILES:
        return ON_FILES[name](inner)
    return IN_MEMORY[name]()


IN_MEMORY: Mapping[str, Callable[[], Target]] = {
    "frames": Frames,
    "tensors": Tensors,
    "answers": Answers,
    "junk": Junk,
    "server": Server,
    "client": Client,
}
ON_FILES: Mapping[str, Callable[[Path], Target]] = {
    "certificates": Certificates,
    "photos": Photos,
    "metadata": Metadata,
    "texts": Texts,
}
NAMES = (*IN_MEMORY, *ON_FILES)
