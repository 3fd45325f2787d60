"""The audit of one preset from Python, in a size for a first look; `securesplit audit` does the same in minutes.

It draws its photos, so its figures say that the attacks run and nothing of real photos.
"""

import dataclasses
import tempfile
from pathlib import Path

from securesplit import Bundle
from securesplit.audit import report, suite
from securesplit.audit.profile import QUICK

FIRST_LOOK = dataclasses.replace(
    QUICK,
    auxiliary=40,
    targets=40,
    rebuilt=4,
    seeds=(1,),
    draws=(1,),
    decoder_photos=(40,),
    decoder_updates=20,
    generated_photos=0,  # A9 trains a generator of photos, which takes TensorFlow and time
    averaged=(1, 4),
    candidates=(10,),
    decisions=10,
    epsilons=(8.0,),
)


def main() -> None:
    """Attack `certified`, write the report, and print the verdict."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        context = suite.prepare(Bundle.load(), None, out, FIRST_LOOK, ["certified"], lambda _: None)
        found = report.finish(suite.run(context, lambda _: None))
        files = report.write(found, context, out)
        print(*report.verdict(found), sep="\n")
        print("written:", ", ".join(sorted(file.name for file in files)))


if __name__ == "__main__":
    main()
