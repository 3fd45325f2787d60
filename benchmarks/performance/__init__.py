"""The harness of `make bench`: inputs, environments, rounds, comparison, page and plot."""
