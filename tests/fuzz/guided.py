"""A target under atheris, which follows coverage: ``python -m tests.fuzz.guided TARGET CORPUS [libFuzzer's flags]``.

Inputs are the bytes that `mutation.parse` reads. The target's own messages are written to the folder CORPUS first, and
new inputs go there too; one that is a finding is written to where ``-artifact_prefix`` says, and the exit code is then
not 0. Atheris ends the process itself.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["securesplit", "PIL"]):
    from securesplit_testing.fuzz import targets
    from securesplit_testing.fuzz.mutation import parse


def main(name: str, corpus: str, *flags: str) -> None:
    folder = tempfile.TemporaryDirectory()
    target = targets.make(name, Path(folder.name))
    for number, seed in enumerate(getattr(target, "seeds", [])):
        whole = number.to_bytes(2, "big") + b"\0" + seed  # how `mutation.parse` spells an input as it is
        (Path(corpus) / hashlib.sha1(whole, usedforsecurity=False).hexdigest()).write_bytes(whole)
    atheris.Setup([sys.argv[0], *flags, corpus], lambda data: target(parse(data)) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
