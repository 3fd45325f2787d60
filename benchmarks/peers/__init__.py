"""What securesplit is measured beside, one small file each; `registry` lists them, `benchmarks.performance` runs them.

A peer runs in an environment of its own, where securesplit is not installed: apart from ours, a file here imports the
standard library, numpy, Pillow, the peer's library and `peer`. As a program each takes a word and the folder of
`benchmarks.performance.inputs`: ``ask INPUTS [PORT]`` answers photos, ``serve INPUTS PORT`` answers releases or maps.
To add one, write such a file and an entry in `registry.PEERS`, with pinned requirements; environment, rounds, checks of
its answers, tables and plot follow. ``python -m benchmarks.performance --rounds 1 --only "Its name"`` tries it.
"""
