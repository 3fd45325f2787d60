"""The secure channel, without any I/O: TLS 1.3 handshake, AES-256-GCM sealing, frames, tensors.

Bytes go in, bytes and events come out; clock and randomness are arguments. ``docs/protocol.md`` describes the wire,
``states.py`` what is legal when. Import what you need from the modules.
"""
