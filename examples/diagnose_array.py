"""Diagnose a photo that is an array, a PIL image or a file: the same pixels give the same release and answer."""

import tempfile
from pathlib import Path

from PIL import Image

from securesplit import Client, Refusal
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker


def main() -> None:
    """Ask about one lesion in three forms, and about one photo that is refused."""
    pixels = draw_lesion(7)  # (300, 300, 3) uint8, upright sRGB
    with EmbeddedWorker() as worker, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mole.png"
        Image.fromarray(pixels).save(file)
        with Client(worker.endpoint, credentials=worker.client_credentials, state=folder) as client:
            for photo in (pixels, Image.fromarray(pixels), file):
                found = client.diagnose(photo, anyway=True)
                print(f"{type(photo).__name__}: malignant {found.malignant:.3f}, threshold {found.threshold:.3f}")
                print(f"  claim {found.privacy.claim}, {found.privacy.releases} distinct release so far")
            answer = client.diagnose(pixels // 16)
            if isinstance(answer, Refusal):
                print(f"refused, and nothing was sent: {answer.reason}")


if __name__ == "__main__":
    main()
