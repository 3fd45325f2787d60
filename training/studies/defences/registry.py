"""The defences of the study. To add one, write a module with an `EncoderStage` of its own and list its ``DEFENCE``."""

from __future__ import annotations

from training.release.guarded.press import EncoderStage
from training.release.guarded.stages import press_of
from training.studies.defences import adversarial, cem, disco, nopeek
from training.studies.defences.defence import Defence, plain

DEFENCES: tuple[Defence, ...] = (
    Defence("undefended", "undefended", "the same bottleneck", plain(EncoderStage), is_noisy=False, is_pressed=False),
    Defence("noise", "noise only", "the same bottleneck", plain(EncoderStage), is_pressed=False),
    nopeek.DEFENCE,
    adversarial.DEFENCE,
    cem.DEFENCE,
    disco.DEFENCE,
    Defence("guarded", "`guarded`", "ADR 094", press_of),
)
"""In the order of the table."""
