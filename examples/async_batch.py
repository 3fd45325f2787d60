"""Many photos at once from an asyncio program: one connection, answers in the order of the photos."""

import asyncio
import io
import tempfile

from securesplit import AsyncClient, SecureSplitError
from securesplit.imaging import PhotoSource
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker


async def ask(worker: EmbeddedWorker, state: str) -> None:
    """Ask about all photos; an error of one is no error of the others."""
    photos: list[PhotoSource] = [*(draw_lesion(seed) for seed in range(4)), io.BytesIO(b"not a photo")]
    async with AsyncClient(worker.endpoint, credentials=worker.client_credentials, state=state) as client:
        answers = await asyncio.gather(
            *(client.diagnose(photo, anyway=True) for photo in photos), return_exceptions=True
        )
    for number, answer in enumerate(answers):
        if isinstance(answer, SecureSplitError):
            print(f"photo {number}: {answer.message}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(f"photo {number}: {answer.risk}, malignant {answer.malignant:.3f}")


def main() -> None:
    """Start a worker with two tails, and ask it."""
    with EmbeddedWorker(workers=2) as worker, tempfile.TemporaryDirectory() as state:
        asyncio.run(ask(worker, state))


if __name__ == "__main__":
    main()
