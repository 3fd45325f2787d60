"""How much an audit does: quick for a first look within minutes, full for figures that are quoted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditProfile:
    """Sizes of one audit.

    Args:
        name: ``quick`` or ``full``.
        minutes: that the whole may take; attacks that are not through by then are cut short and say so.
        auxiliary: the attacker's photos, at most.
        targets: photos to identify, at most.
        rebuilt: of those, how many are rebuilt.
        side: resolution of the rebuilt photos, pixels.
        seeds: of the attacker that rebuilds photos, and of the noise that it meets.
        draws: seeds of the noise for everything else.
        decoder_photos: sizes of the attacker's collection for A3.
        decoder_updates: most steps of Adam of A3.
        search_photos: how many photos A2 and A4 search for where a release is a map; 0: not in this profile.
        search_photos_few: the same where it is a few numbers, which are found in few steps.
        search_steps: steps of Adam of A2 and A4.
        generated_photos: how many photos A9 searches for where a release is a map; 0: A9 is not in this profile.
        generator_updates: steps of Adam of A9's generator.
        latent_steps: steps of Adam of A9's search.
        population: photos that A9 draws where a release has no gradients.
        averaged: numbers of releases for A5.
        candidates: numbers of candidates for A6.
        decisions: how many photos are picked at least for each number of candidates, in random galleries.
        epsilons: points of the frontier.
        looks_at_views: whether A7 and A11 look at several views of the photos in the gallery, each through the head.
    """

    name: str
    minutes: float
    auxiliary: int
    targets: int
    rebuilt: int
    side: int
    seeds: tuple[int, ...]
    draws: tuple[int, ...]
    decoder_photos: tuple[int, ...]
    decoder_updates: int
    search_photos: int
    search_photos_few: int
    search_steps: int
    generated_photos: int
    generator_updates: int
    latent_steps: int
    population: int
    averaged: tuple[int, ...] = (1, 4, 16, 64)
    candidates: tuple[int, ...] = (10, 100, 1000)
    decisions: int = 2000
    epsilons: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    looks_at_views: bool = False


QUICK = AuditProfile(
    name="quick",
    minutes=5.0,
    auxiliary=1000,
    targets=1000,
    rebuilt=200,
    side=64,
    seeds=(1,),
    draws=(1, 2, 3),
    decoder_photos=(1000,),
    decoder_updates=2000,
    search_photos=0,
    search_photos_few=0,
    search_steps=0,
    generated_photos=8,
    generator_updates=300,
    latent_steps=100,
    population=300,
)
FULL = AuditProfile(
    name="full",
    minutes=60.0,
    auxiliary=5000,
    targets=2000,
    rebuilt=200,
    side=64,
    seeds=(1, 2, 3),
    draws=(1, 2, 3),
    decoder_photos=(100, 1000, 5000),
    decoder_updates=6000,
    search_photos=16,
    search_photos_few=18,
    search_steps=300,
    generated_photos=18,
    generator_updates=2000,
    latent_steps=300,
    population=2000,
    looks_at_views=True,
)
