"""Does a TLS server that is said to ask for certificates really turn away who has none?"""

from __future__ import annotations

import socket
import ssl

from benchmarks.peers.peer import LOOPBACK, Inputs

_WAIT_S = 5.0


def is_let_in(inputs: Inputs, port: int) -> bool:
    """Whether a client without a certificate gets an answer, even an error, inside of TLS.

    With TLS 1.3 a client learns that it was refused only when it reads, so a request has to be sent.
    """
    context = ssl.create_default_context(cafile=inputs.server_tls["ca"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((LOOPBACK, port), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=LOOPBACK) as stream,
        ):
            hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # RFC 9113 3.4, empty SETTINGS
            http = f"GET / HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: 0\r\n\r\n".encode()
            stream.sendall(hello if stream.selected_alpn_protocol() == "h2" else http)
            return bool(stream.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False
    except TimeoutError:
        return True
