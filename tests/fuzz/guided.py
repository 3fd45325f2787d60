"""A target under atheris, which follows coverage: ``python -m tests.fuzz.guided TARGET CORPUS [libFuzzer's flags]``.

Inputs are the bytes that `mutation.parse` reads. New ones go to the folder CORPUS; an input that is a finding is
written to where ``-artifact_prefix`` says, and the exit code is then not 0. Atheris ends the process itself.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["securesplit", "PIL"]):
    from tests.fuzz import targets
    from tests.fuzz.mutation import parse


def main(name: str, *arguments: str) -> None:
    folder = tempfile.TemporaryDirectory()
    target = targets.make(name, Path(folder.name))
    atheris.Setup([sys.argv[0], *arguments], lambda data: target(parse(data)) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
