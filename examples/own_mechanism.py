"""A release mechanism of your own: randomised response (Warner 1965) in the place of the discrete Gaussian noise.

As an entry point of a package (`securesplit.releases`) it is chosen by `--privacy NAME`, and `securesplit audit
--privacy NAME` attacks it; here its releases are drawn by hand. Nothing is proven of a mechanism of one's own.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from securesplit import Bundle, Mechanism
from securesplit.device.release_step import preset_of_mechanism
from securesplit.privacy.mechanism import Draw
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec


def randomised_response(grid: NDArray[np.int64], spec: ReleaseSpec, draw: Draw) -> NDArray[np.int64]:
    """The photo's level in three of four cases, else any level, by bytes that are the photo's own."""
    lowest, highest = spec.levels or (-1, 1)
    if draw(1)[0] < 192:
        return grid
    return np.full_like(grid, lowest + int.from_bytes(draw(8)) % (highest - lowest + 1))


def main() -> None:
    """Release the lowest level for many photos."""
    bundle = Bundle.load()
    preset = preset_of_mechanism(bundle, Mechanism(randomised_response, "certified", "coin", "example"))
    lowest, _ = preset.spec.levels or (-1, 1)
    source, embedding = NoiseSource(bytes(range(32))), np.full(preset.spec.shape, lowest * preset.spec.step)
    photos = [np.full((4, 4, 3), number, np.uint8) for number in range(250)]
    sent = Counter(int(source.release(embedding, photo, bundle.identity, preset.spec)[0]) for photo in photos)
    for level, count in sorted(sent.items()):
        print(f"level {level:+d}: {count} of {len(photos)}")
    print("promise:", "none" if preset.spec.loss.epsilon() == float("inf") else "proven")


if __name__ == "__main__":
    main()
