"""Bytes <-> ZeroMQ: the only package that imports zmq.

``connection.py`` and ``async_connection.py`` are what a device uses, ``server.py`` is a worker's socket, ``poll.py``
waits for sockets, pipes and processes at once. What the bytes mean is the business of `securesplit.channel`.
"""
