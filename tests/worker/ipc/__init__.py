"""Tests of the messages between a front and its tails, over real sockets."""
