"""Bytes <-> ZeroMQ: the only package that imports zmq.

``connection.py`` is what a device uses, ``server.py`` is the socket of a worker and ``pipe.py`` its way to a tail (without
ZeroMQ), ``poll.py`` waits for all of them at once. What the bytes mean is the business of `securesplit.channel`.
"""
