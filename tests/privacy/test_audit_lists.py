"""Lists of photos as people have them: read rightly or refused, and no lesion on both sides of an audit."""

import pytest
from PIL import Image

from securesplit.audit import photos
from securesplit.errors import ConfigError

COUNT = 90
COLUMNS = "image_id,lesion_id,dx,age,sex,localization"
PLAIN = [f"{i},L{i},{'mel' if i % 3 else 'nv'},50,male,back" for i in range(COUNT)]
SPLIT = [f"{line},{'test' if i % 2 else 'val'}" for i, line in enumerate(PLAIN)]


def draw(*levels):
    return Image.new("RGB", (64, 64), tuple([*levels, 0, 0][:3]))


def listed(*lines):
    return "\n".join([f"{COLUMNS},split", *lines])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(COUNT):
        draw(i).save(tmp_path / "images" / f"{i}.jpg")
    return tmp_path


def loaded(folder, content):
    (folder / "metadata.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    found = photos.load(folder, 8, auxiliary=COUNT, targets=COUNT)
    assert not set(found.auxiliary.lesions) & set(found.targets.lesions)
    return found


def test_a_folder_that_is_not_there_is_told_of(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        photos.load(tmp_path / "nowhere", 8, auxiliary=COUNT, targets=COUNT)


@pytest.mark.parametrize(
    "content",
    [
        listed(*SPLIT),
        b"\xef\xbb\xbf" + listed(*SPLIT).encode(),  # as spreadsheets save it
        "\n".join([COLUMNS, *PLAIN]),  # as HAM10000 itself is published, without our splits
    ],
    ids=["ours", "byte order mark", "as published"],
)
def test_a_list_is_read(folder, content):
    found = loaded(folder, content)
    assert (len(found.auxiliary.entries), len(found.targets.entries)) == (COUNT // 2, COUNT // 2)
    assert found.targets.malignant.sum() > 20
    assert {entry.site for entry in found.auxiliary.entries} == {"back"}


def test_a_list_may_be_of_photos_of_any_format(folder):
    for i in range(COUNT // 2):
        (folder / "images" / f"{i}.jpg").unlink()
        draw(i).save(folder / "images" / f"{i}.png")
    found = loaded(folder, listed(*SPLIT))
    assert (len(found.auxiliary.entries), len(found.targets.entries)) == (COUNT // 2, COUNT // 2)


def test_the_photos_of_a_lesion_stay_together(folder):
    """Without splits: 45 lesions of two photos each."""
    found = loaded(folder, "\n".join([COLUMNS, *(f"{i},L{i // 2},nv,50,male,back" for i in range(COUNT))]))
    assert len(found.auxiliary.entries) + len(found.targets.entries) == COUNT


def test_the_attacker_does_without_lesions_of_the_victims(folder):
    """A list that puts two photos of a lesion on the two sides would let A7 recognise what it was trained on."""
    shared = [f"{i},L{i},nv,50,male,back,val" for i in range(2)] + [
        f"{i},L{i - 2},nv,50,male,back,test" for i in (2, 3)
    ]
    found = loaded(folder, listed(*shared, *SPLIT[4:]))
    assert len(found.auxiliary.entries) == COUNT // 2 - 2
    assert {"L0", "L1"} <= set(found.targets.lesions)


def test_the_attacker_does_without_other_lesions_of_the_victims(folder):
    """A list that puts two lesions of a person on the two sides would let A8 tell her age and sex by heart."""
    heading = f"{COLUMNS},split,patient_id"
    found = loaded(folder, "\n".join([heading, *(f"{line},P{max(i, 3)}" for i, line in enumerate(SPLIT))]))
    assert len(found.targets.entries) == COUNT // 2
    assert len(found.auxiliary.entries) == COUNT // 2 - 2  # 0 and 2, where 1 and 3 are targets
    assert not {*found.auxiliary.subjects} & {*found.targets.subjects}


def test_the_photos_of_a_person_stay_together(folder):
    """Without splits: 45 persons of two lesions each."""
    rows = [f"{i},L{i},nv,50,male,back,P{i // 2}" for i in range(COUNT)]
    found = loaded(folder, "\n".join([f"{COLUMNS},patient_id", *rows]))
    mine, theirs = ({*each.subjects} for each in (found.auxiliary, found.targets))
    assert (len(mine), len(theirs)) == (22, 23)
    assert not mine & theirs


def test_photos_of_no_known_lesion_are_lesions_of_their_own(folder):
    """As lists of the ISIC archive have them; together they would be one lesion, and all on one side."""
    found = loaded(folder, "\n".join([COLUMNS, *(f"{i},,nv,50,male,back" for i in range(COUNT))]))
    assert (len(found.auxiliary.entries), len(found.targets.entries)) == (COUNT // 2, COUNT // 2)
    assert len({*found.targets.clusters}) == COUNT // 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column age, dx, image_id"),
        (listed(*SPLIT).replace(",", ";"), "no column"),
        (listed(*SPLIT).replace("dx,", "diagnosis,"), "no column dx"),
        (listed(*SPLIT).replace("test", "hold-out"), "'hold-out'"),
        (listed(*SPLIT).replace("mel", "melanoma"), "a dx of .* is 'melanoma'"),  # which would pass for benign
        (listed(*SPLIT, "5,L5,nv"), "row 92"),
        (listed(*SPLIT, f"{SPLIT[0]},more"), "row 92"),
        (listed(*SPLIT).replace("back", "Rücken").encode("latin-1"), "cannot read"),
        (listed(*SPLIT, "x" * 200_000), "cannot read"),
    ],
)
def test_a_list_that_is_none_is_refused(folder, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        loaded(folder, content)
    assert caught.value.hint


def test_a_photo_without_a_diagnosis_has_no_label(folder):
    found = loaded(folder, listed(*(line.replace("nv", "") for line in SPLIT)))
    assert {entry.malignant for entry in found.targets.entries} == {True, None}
    assert found.targets.malignant is None


def test_photos_of_one_name_in_two_folders_are_two_lesions(tmp_path):
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
        for i in range(COUNT // 2):
            draw(i, len(label)).save(tmp_path / label / f"{i}.png")
    found = photos.load(tmp_path, 8, auxiliary=COUNT, targets=COUNT)
    assert len({*found.auxiliary.lesions, *found.targets.lesions}) == COUNT
