"""Tests of the channel: real TLS and real AES-GCM in memory, no socket and no mock."""
