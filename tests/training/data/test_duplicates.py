from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from securesplit.imaging.synthetic import draw_lesion
from training.data.dataset import list_photos
from training.data.duplicates import across_splits, grey_picture, groups, hash_bits, near_duplicates
from training.data.photo import SPLITS, Photo


def save(folder: Path, name: str, image: Image.Image, quality: int = 90) -> Photo:
    path = folder / f"{name}.jpg"
    image.save(path, quality=quality)
    return Photo(path, malignant=False, lesion=name)


def drawn(seed: int) -> Image.Image:
    return Image.fromarray(draw_lesion(seed, 160))


CHANGES = {
    "recompressed": lambda image: image,
    "turned": lambda image: image.rotate(90),
    "mirrored and turned": lambda image: ImageOps.mirror(image).rotate(180),
    "smaller": lambda image: image.resize((70, 70)),
    "another colour cast": lambda image: Image.fromarray((np.asarray(image) * [0.8, 0.95, 1.0]).astype(np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_across_the_split(tmp_path: Path, change: str) -> None:
    train = [save(tmp_path, f"train{seed}", drawn(seed)) for seed in range(12)]
    test = [save(tmp_path, f"test{seed}", drawn(seed)) for seed in range(20, 26)]
    test.append(save(tmp_path, "copy", CHANGES[change](drawn(7)), quality=40))
    pairs = across_splits({"train": train, "val": [], "test": test})
    assert [(p.one, p.other) for p in pairs] == [(("train", 7), ("test", 6))]
    assert pairs[0].correlation > 0.985


def test_groups_link_copies_of_copies(tmp_path: Path) -> None:
    photos = [save(tmp_path, str(n), drawn(seed)) for n, seed in enumerate((1, 2, 1, 3, 1))]
    grey = np.stack([grey_picture(p.path) for p in photos])
    assert groups(grey) == [0, 1, 0, 3, 0]


def test_a_hash_is_balanced_and_blind_to_light() -> None:
    grey = np.random.default_rng(1).normal(size=(5, 32, 32)).astype(np.float32)
    bits = hash_bits(grey)
    assert bits.shape == (5, 64)
    assert (bits.sum(1) == 0).all()
    assert (hash_bits(3 * grey) == bits).all()
    assert near_duplicates(grey, -grey) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_split_has_one_copy_at_most(real_data: Path) -> None:
    photos = list_photos(real_data / "ham10000")
    few = {split: photos[split] if split == "test" else photos[split][3500:4500] for split in SPLITS}
    found = [
        (p.one[0], few[p.one[0]][p.one[1]].path.stem, few["test"][p.other[1]].path.stem) for p in across_splits(few)
    ]
    assert found == [("train", "ISIC_0030074", "ISIC_0025226")]
