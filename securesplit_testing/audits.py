"""An audit so small that a test can run the whole of it."""

from __future__ import annotations

from dataclasses import replace

from securesplit.audit.profile import QUICK

TINY = replace(
    QUICK,
    minutes=60.0,
    auxiliary=40,
    targets=40,
    rebuilt=6,
    decoder_photos=(40,),
    decoder_updates=10,
    generated_photos=0,
    averaged=(1, 4),
    candidates=(10,),
    draws=(1,),
    decisions=10,
    epsilons=(8.0,),
)
"""Every attack of the quick audit but A9, which trains a generator, each on as few photos and steps as it can be run
with."""
