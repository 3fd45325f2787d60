"""What a handshake negotiates, and what it refuses to. Real TLS between our side and a hand-made peer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from OpenSSL import SSL

from securesplit.channel import context, sealing
from securesplit.channel.context import client_context, server_context
from securesplit.channel.states import ProtocolError
from securesplit.channel.tls import Handshake, HandshakeError
from securesplit.errors import ConfigError
from securesplit.pki import profile
from securesplit_testing.channels import Authority, World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def finish(client: Handshake, server: Handshake) -> bytes:
    """Run a handshake and return what the server would still send after it."""
    return server.step(client.step(server.step(client.step())))


def ours(world: World) -> tuple[Handshake, Handshake]:
    client = Handshake(client_context(world.client_credentials), "localhost")
    return client, Handshake(server_context(world.server_credentials))


def test_the_post_quantum_group_and_aes_256_gcm_are_negotiated(world: World) -> None:
    client, server = ours(world)
    finish(client, server)
    for side in (client, server):
        assert side._connection.get_group_name() == "X25519MLKEM768"
        assert side._connection.get_cipher_name() == "TLS_AES_256_GCM_SHA384"
        assert side._connection.get_protocol_version_name() == "TLSv1.3"
        assert side._connection.get_alpn_proto_negotiated() == b"securesplit/1"


def test_both_sides_derive_the_same_keys_and_know_each_other(world: World) -> None:
    client, server = ours(world)
    finish(client, server)
    assert profile.fingerprint(server.peer) == world.client_credentials.fingerprint
    assert profile.fingerprint(client.peer) == world.server_credentials.fingerprint
    prints = [bytes.fromhex(profile.fingerprint(side.peer)) for side in (server, client)]
    keys = [sealing.derive(side.export, b"i" * 32, *prints) for side in (client, server)]
    assert keys[0] == keys[1]
    assert len({keys[0].session, *keys[0].client, *keys[0].server}) == 5
    assert [len(part) for part in (*keys[0].client, *keys[0].server)] == [32, 12, 32, 12]


def test_nothing_is_exported_before_the_handshake_is_complete(world: World) -> None:
    client, server = ours(world)
    server.step(client.step())
    for use in (
        lambda: server.export(b"label", 32, b""),
        lambda: server.peer,
    ):
        with pytest.raises(ProtocolError, match="not complete"):
            use()


def test_no_session_can_be_resumed(world: World) -> None:
    """Not even by who gets what the server would send after the handshake, at the very server that would send it."""
    settings, servers = client_context(world.client_credentials), server_context(world.server_credentials)
    client, again, server = Handshake(settings, "localhost"), Handshake(settings, "localhost"), Handshake(servers)
    client.read_alert(finish(client, Handshake(servers)))
    session = client._connection.get_session()
    assert session is not None
    again._connection.set_session(session)
    finish(again, server)
    assert context.binding.SSL_session_reused(server._connection._ssl) == 0


def limit_version(settings: SSL.Context) -> None:
    settings.set_min_proto_version(SSL.TLS1_2_VERSION)
    settings.set_max_proto_version(SSL.TLS1_2_VERSION)


def only_chacha(settings: SSL.Context) -> None:
    settings.set_tls13_ciphersuites(b"TLS_CHACHA20_POLY1305_SHA256")


def only_p384(settings: SSL.Context) -> None:
    assert context.binding.SSL_CTX_set1_curves_list(settings._context, b"P-384") == 1


def other_alpn(settings: SSL.Context) -> None:
    settings.set_alpn_protos([b"securesplit/2", b"h2"])


@pytest.mark.parametrize("spoil", [limit_version, only_chacha, only_p384, other_alpn], ids=lambda f: f.__name__)
def test_a_server_refuses_a_client_that_offers_less(world: World, spoil: Callable[[SSL.Context], None]) -> None:
    settings = client_context(world.client_credentials)
    spoil(settings)
    client, server = Handshake(settings, "localhost"), Handshake(server_context(world.server_credentials))
    with pytest.raises(HandshakeError) as caught:
        server.step(client.step())
    assert caught.value.outgoing
    assert not server.complete


def test_a_server_refuses_a_client_without_alpn(world: World) -> None:
    settings = SSL.Context(SSL.TLS_METHOD)
    context._load_own(settings, world.client_credentials)
    client = SSL.Connection(settings, None)
    client.set_connect_state()
    server = Handshake(server_context(world.server_credentials))
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    client.bio_write(server.step(client.bio_read(16384)))
    client.do_handshake()
    with pytest.raises(HandshakeError, match="did not agree on the protocol"):
        server.step(client.bio_read(16384))
    assert not server.complete


@pytest.mark.parametrize("group", [b"X25519", b"P-256"])
def test_without_ml_kem_the_next_group_takes_one_round_trip(world: World, group: bytes) -> None:
    settings = client_context(world.client_credentials)
    assert context.binding.SSL_CTX_set1_curves_list(settings._context, group) == 1
    client, server = Handshake(settings, "localhost"), Handshake(server_context(world.server_credentials))
    finish(client, server)
    assert server.complete


def test_a_server_without_ml_kem_is_reached_in_one_round_trip(world: World) -> None:
    settings = server_context(world.server_credentials)
    assert context.binding.SSL_CTX_set1_curves_list(settings._context, context.GROUPS_BEFORE_3_5) == 1
    client, server = Handshake(client_context(world.client_credentials), "localhost"), Handshake(settings)
    finish(client, server)
    assert server.complete
    assert server._connection.get_group_name().lower() == "x25519"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"])
def test_a_name_of_the_certificate_is_accepted(world: World, name: str) -> None:
    client = Handshake(client_context(world.client_credentials), name)
    finish(client, Handshake(server_context(world.server_credentials)))
    assert client.complete


@pytest.mark.parametrize("name", ["tail.example.org.", "Münch.example", "모반.example."])
def test_a_name_that_a_certificate_was_asked_for_is_accepted(name: str) -> None:
    authority = Authority()
    device = authority.client()
    server = Handshake(server_context(authority.credentials(authority.server(name), device)))
    client = Handshake(client_context(authority.credentials(device)), name)
    finish(client, server)
    assert client.complete
    assert server.complete


@pytest.mark.parametrize(
    "name", ["local", "local.", "localhost.example.org", "127.0.0.2", "::1", "[::1]", "2130706433"]
)
def test_another_name_is_refused(world: World, name: str) -> None:
    client = Handshake(client_context(world.client_credentials), name)
    server = Handshake(server_context(world.server_credentials))
    with pytest.raises(HandshakeError) as caught:
        client.step(server.step(client.step()))
    assert caught.value.verify_error in (62, 64)


@pytest.mark.parametrize("name", ["", ".", "localhost..", "a" * 64, "a..b", "evil\0.localhost"])
def test_what_cannot_be_a_name_is_an_error_of_the_configuration(world: World, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a server"):
        Handshake(client_context(world.client_credentials), name)


def test_a_common_name_is_no_name(world: World) -> None:
    """Certificates carry a title in the common name; RFC 9525 forbids to match it."""
    client = Handshake(client_context(world.client_credentials), "securesplit server".replace(" ", "-"))
    server = Handshake(server_context(world.server_credentials))
    with pytest.raises(HandshakeError):
        client.step(server.step(client.step()))
