"""Mutations: what a fuzzer does to bytes, as values, so that Hypothesis and a plain random generator draw the same.

A mutation says nothing of the bytes that it is applied to; a target applies it to a message of its own that is alive.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st

KINDS = ("flip", "set", "drop", "insert", "copy", "cut", "number", "garbage")
_STEP_BYTES = 5
_MAX_STEPS = 8
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 64) - 1)


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        kind: one of `KINDS`.
        where: decides the place; any number.
        size: decides how much, and which bit or number.
        data: bytes to put in.
    """

    kind: str
    where: int
    size: int
    data: bytes

    def apply(self, old: bytes) -> bytes:
        """The changed bytes."""
        at = self.where % (len(old) + 1)
        end = min(len(old), at + 1 + self.size % 32)
        match self.kind:
            case "flip":
                return old[:at] + bytes([old[at] ^ 1 << self.size % 8]) + old[at + 1 :] if at < len(old) else old
            case "set":
                return old[:at] + self.data[: end - at] + old[min(end, at + len(self.data)) :]
            case "drop":
                return old[:at] + old[end:]
            case "insert":
                return old[:at] + self.data + old[at:]
            case "copy":
                return old[:end] + old[at:]
            case "cut":
                return old[:at]
            case "number":
                width = 1 << self.size % 4
                number = NUMBERS[self.size % len(NUMBERS)] & (1 << 8 * width) - 1
                return old[:at] + number.to_bytes(width, "big" if self.size % 2 else "little") + old[at + width :]
            case _:
                return self.data * (1 + self.size % 8)


@dataclass(frozen=True)
class Mutation:
    """A choice of what to spoil, and how.

    Attributes:
        pick: decides which message, file or field; any number.
        steps: changes, in order.
    """

    pick: int
    steps: tuple[Step, ...]

    def apply(self, data: bytes) -> bytes:
        """The spoiled bytes."""
        for step in self.steps:
            data = step.apply(data)
        return data


def parse(data: bytes) -> Mutation:
    """A mutation out of raw bytes, for a fuzzer that is guided by coverage; any bytes are one.

    Two bytes of `pick`, a byte that says how, and the rest: 0 to 127 is the input itself, whatever the message was, and
    128 to 255 are steps of ``kind, where (2), size, length, data``.
    """
    pick, how, rest = int.from_bytes(data[:2], "big"), data[2:3], data[3:]
    if how < b"\x80":
        return Mutation(pick, (Step("garbage", 0, 0, rest),))
    found: list[Step] = []
    while len(rest) >= _STEP_BYTES and len(found) < _MAX_STEPS:
        kind, where, size, length = rest[0], int.from_bytes(rest[1:3], "big"), rest[3], rest[4]
        found.append(Step(KINDS[kind % len(KINDS)], where, size, rest[5 : 5 + length] or b"\0"))
        rest = rest[5 + length :]
    return Mutation(pick, tuple(found))


def spell(mutation: Mutation) -> bytes:
    """The bytes that `parse` reads as this mutation, for a corpus."""
    parts = [
        bytes([KINDS.index(step.kind)]) + step.where.to_bytes(2, "big") + bytes([step.size, len(step.data)]) + step.data
        for step in mutation.steps
    ]
    return mutation.pick.to_bytes(2, "big") + b"\x80" + b"".join(parts)


places = st.integers(0, (1 << 16) - 1)
steps = st.builds(Step, st.sampled_from(KINDS), places, st.integers(0, 255), st.binary(min_size=1, max_size=40))
mutations = st.builds(Mutation, places, st.lists(steps, min_size=1, max_size=4).map(tuple))


def draw(source: random.Random) -> Mutation:
    """The same from a random generator, about ten times as fast as Hypothesis."""
    chosen = tuple(
        Step(
            KINDS[int(source.random() * len(KINDS))],
            int(source.random() * (1 << 16)),
            int(source.random() * 256),
            source.randbytes(1 + int(source.random() * 40)),
        )
        for _ in range(1 + int(source.random() ** 3 * 4))
    )
    return Mutation(int(source.random() * (1 << 16)), chosen)
