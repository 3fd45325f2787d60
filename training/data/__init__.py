"""Photos on disk, labelled and split: data sets, near-duplicates, the packed copy."""
