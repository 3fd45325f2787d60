"""Photos on disk in every layout that the training reads, drawn, and a list of photos that are nowhere."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from training.data.dataset import Dataset
from training.data.photo import DX_CLASSES, SPLITS, Photo

HAM = "image_id,split,label,dx,lesion_id,group,dx_type,age,sex,localization"
ARCHIVE = "image_id,label,dx,source,geometry,dx_type,license,lesion_id,repo,commit,path"
PHONE = "file,label,dx,patient_id,lesion_id,biopsied,fitzpatrick,age,sex,region,license,repo,path"
SMARTPHONE = "file,label,diagnostic,biopsed,patient_id,lesion_id,age,gender,fitzpatrick,region"
"""Headings of ``metadata.csv`` of four sources."""


def listed(name: str) -> Dataset:
    """One photo of each split, of a lesion of that name."""
    photos = {split: [Photo(Path(f"{split}.jpg"), malignant=False, lesion=f"{split} {name}")] for split in SPLITS}
    return Dataset(Path(), photos, Path())


def draw_tree(root: Path) -> None:
    """Two photos a class and split."""
    seed = 0
    for split in ("train", "val", "test"):
        for label in ("benign", "malignant"):
            (root / split / label).mkdir(parents=True)
            for _ in range(2):
                seed += 1
                Image.fromarray(draw_lesion(seed, 90)).save(root / split / label / f"m{seed}.png")


def draw_isic(root: Path) -> None:
    """The HAM10000 layout with one photo a diagnosis and split."""
    (root / "images").mkdir(parents=True)
    rows = [HAM]
    for number, split in enumerate(("train", "val", "test")):
        for place, dx in enumerate(DX_CLASSES):
            name = f"I{number}{dx}"
            rows.append(f"{name},{split},x,{dx},L{name},G{name},histo,50,female,back")
            Image.fromarray(draw_lesion(10 * number + place, 60)).save(root / "images" / f"{name}.jpg")
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")


def draw_folders(root: Path, benign: int = 20, malignant: int = 14) -> None:
    """Two folders that are to be split."""
    for label, first, count in (("benign", 0, benign), ("malignant", 100, malignant)):
        (root / label).mkdir(parents=True)
        for seed in range(first, first + count):
            Image.fromarray(draw_lesion(seed, 64)).save(root / label / f"m{seed}.png")


def write_source(root: Path, name: str, heading: str, rows: list[str]) -> None:
    """The folder of one source: a table, and the photo of each of its rows."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    (folder / "metadata.csv").write_text("\n".join([heading, *rows]) + "\n")
    for seed, row in enumerate(rows):
        file = row.split(",")[0]
        path = folder / "images" / (file if file.endswith(".jpg") else f"{file}.jpg")
        Image.fromarray(draw_lesion(seed, 40)).save(path)


def draw_collection(root: Path) -> None:
    """Data sets of a few photos each."""
    ham = [
        f"H{split}{dx},{split},x,{dx},L{split}{dx},G{split}{dx},histo,50,female,back"
        for split in ("train", "val", "test")
        for dx in ("nv", "mel")
    ]
    write_source(root, "ham10000", HAM, ham)
    archive = ["A1,benign,nevus,komour,,,,,r,c,p", "A2,malignant,melanoma,komour,,histopathology,,,r,c,p"]
    archive += ["B1,malignant,melanoma,isic9,,,,,r,c,p"]
    write_source(root, "isic_archive", ARCHIVE, archive)
    shown = [("benign", "NEV"), ("malignant", "BCC"), ("actinic_keratosis", "ACK")]
    shown += [("malignant", "SCC"), ("benign", "SEK"), ("malignant", "MEL")]
    phone = [f"P{i}.jpg,{label},{dx},PAT_{i // 2},{i},True,,61,MALE,ARM,l,r,p" for i, (label, dx) in enumerate(shown)]
    write_source(root, "phone", PHONE, phone)
    write_source(root, "smartphone", SMARTPHONE, ["S1.jpg,benign,NEV,False,PAT_900,1,40,FEMALE,,ARM"])
