"""Bytes <-> ZeroMQ: the only package that imports zmq.

``client.py`` is what a device uses, ``server.py`` and ``pool.py`` are the sockets of a worker, ``poll.py`` waits for
all of them at once. What the bytes mean is the business of `securesplit.channel`.
"""
