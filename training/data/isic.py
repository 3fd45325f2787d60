r"""Dermoscopy photos from the ISIC Archive, through its own client, into the layout that training reads.

    python -m training.data.isic --out ../isic --search 'image_type:dermoscopic' --limit 2000

Downloads with ``isic image download`` (package ``isic-cli``, checked with 12.4.0), maps the archive's diagnoses to the
seven of HAM10000, groups photos by lesion, patient and near-duplicate, and splits the groups 70/15/15. What is left
out stands in ``dropped.csv`` with its reason, licences and attribution stay beside the photos.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from securesplit.text import pip_install
from training import command
from training.data.duplicates import components, grey_picture, groups
from training.data.photo import SPLITS, DataError, is_malignant, rows_of
from training.data.splits import allocate
from training.output import write_json

COLUMNS = (
    *("image_id", "split", "label", "dx", "lesion_id", "group", "dx_type", "age", "sex", "localization"),
    "copyright_license",
)
DIAGNOSES = (
    ("melanoma", "mel"),
    ("basal cell carcinoma", "bcc"),
    ("squamous cell carcinoma", "akiec"),
    ("actinic keratosis", "akiec"),
    ("nevus", "nv"),
    ("seborrheic keratosis", "bkl"),
    ("benign keratosis", "bkl"),
    ("solar lentigo", "bkl"),
    ("lichen planus like keratosis", "bkl"),
    ("dermatofibroma", "df"),
    ("hemangioma", "vasc"),
    ("angiokeratoma", "vasc"),
    ("vascular lesion", "vasc"),
)
"""Words of an ISIC diagnosis and the HAM10000 class they mean; the first that fits counts."""

Row = dict[str, str]


def download(folder: Path, *, search: str = "", collections: str = "", limit: int = 0) -> None:
    """Let ``isic`` put photos, ``metadata.csv``, ``attribution.txt`` and ``licenses/`` into `folder`.

    Args:
        folder: is made where it is not there; photos that are there already are not fetched again by ``isic``.
        search: in the archive's query language; "": everything.
        collections: comma-separated numbers of collections; "": all.
        limit: at most so many photos; 0: all.

    Raises:
        DataError: ``isic`` is not installed, or it failed.
    """
    program = shutil.which("isic")
    if program is None:
        raise DataError(f"the ISIC Archive's client is not installed: {pip_install('isic-cli')}")
    called = [program, "image", "download"]
    called += ["--search", search] if search else []
    called += ["--collections", collections] if collections else []
    called += ["--limit", str(limit)] if limit else []
    done = subprocess.run([*called, str(folder)], check=False)
    if done.returncode or not (folder / "metadata.csv").is_file():
        raise DataError(f"isic ended with {done.returncode}; what it says stands above")


def diagnosis(record: Mapping[str, str]) -> tuple[str, str]:
    """The HAM10000 class of an ISIC record, or "" and why there is none."""
    words = " ".join(record.get(c, "") for c in ("diagnosis", "diagnosis_5", "diagnosis_4", "diagnosis_3")).lower()
    dx = next((dx for name, dx in DIAGNOSES if name in words), "")
    if not dx:
        return "", "diagnosis is none of the seven" if words.strip() else "no diagnosis"
    stated = (record.get("diagnosis_1") or record.get("benign_malignant") or "").lower()
    if stated in ("benign", "malignant") and (stated == "malignant") != (is_malignant(dx)):
        return "", f"stated as {stated}, diagnosed as {dx}"
    return dx, ""


def arrange(folder: Path, *, seed: int = 1) -> Counter[str]:
    """Read what ``isic`` left in ``folder/images``, and write ``folder/metadata.csv`` and ``dropped.csv``.

    Returns:
        How many photos each split got, and how many were ``dropped``.

    Raises:
        DataError: nothing usable was downloaded.
    """
    records = rows_of(folder / "images" / "metadata.csv", ("isic_id",))
    kept, dropped = [], []
    for record in records:
        dx, reason = diagnosis(record)
        if dx and not _photo(folder, record["isic_id"]).is_file():
            reason = "no photo"
        if reason:
            dropped.append({"image_id": record["isic_id"], "reason": reason})
        else:
            kept.append(_row(record, dx))
    if not kept:
        raise DataError(f"none of the {len(records)} photos has a diagnosis that can be used")
    _group(folder, kept, records)
    _split(kept, seed)
    _write(folder / "metadata.csv", COLUMNS, kept)
    _write(folder / "dropped.csv", ("image_id", "reason"), dropped)
    return Counter({**Counter(row["split"] for row in kept), "dropped": len(dropped)})


def _photo(folder: Path, isic_id: str) -> Path:
    return folder / "images" / f"{isic_id}.jpg"


def _row(record: Mapping[str, str], dx: str) -> Row:
    return {
        "image_id": record["isic_id"],
        "label": "malignant" if is_malignant(dx) else "benign",
        "dx": dx,
        "lesion_id": record.get("lesion_id") or record["isic_id"],
        "dx_type": "histo" if "histo" in record.get("diagnosis_confirm_type", "").lower() else "",
        "age": record.get("age_approx", ""),
        "sex": record.get("sex", ""),
        "localization": record.get("anatom_site_general", ""),
        "copyright_license": record.get("copyright_license", ""),
    }


def _group(folder: Path, rows: Sequence[Row], records: Iterable[Mapping[str, str]]) -> None:
    """Name in ``group`` whatever must stay on one side: the same lesion, patient or picture."""
    patients = {record["isic_id"]: record.get("patient_id", "") for record in records}
    alike = groups(np.stack([grey_picture(_photo(folder, row["image_id"])) for row in rows]))
    places: dict[str, int] = {}
    links = []
    for number, (row, twin) in enumerate(zip(rows, alike, strict=True)):
        patient = patients[row["image_id"]]
        shared = [f"lesion {row['lesion_id']}", *([f"patient {patient}"] if patient else [])]
        links += [(number, twin), *((number, len(rows) + places.setdefault(key, len(places))) for key in shared)]
    found = components(links, len(rows) + len(places))[: len(rows)]
    names = {number: row["image_id"] for number, row in zip(found, rows, strict=True)}  # of the last photo of each
    for number, row in zip(found, rows, strict=True):
        row["group"] = names[number]


def _split(rows: Sequence[Row], seed: int) -> None:
    members: dict[str, list[bool]] = {}
    for row in rows:
        members.setdefault(row["group"], []).append(row["label"] == "malignant")
    side = allocate(members, seed)
    for row in rows:
        row["split"] = side[row["group"]]


def _write(file: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--search", default="", help="query of the ISIC Archive")
    parser.add_argument("--collections", default="", help="comma-separated collection numbers")
    parser.add_argument("--limit", type=command.whole(0), default=0, help="at most so many photos; 0: all")
    parser.add_argument("--seed", type=command.seed, default=1, help="of the split")
    parser.add_argument("--arrange-only", action="store_true", help="split what was downloaded before")
    args = parser.parse_args()
    asked = {"search": args.search, "collections": args.collections, "limit": args.limit}
    if not args.arrange_only:
        args.out.mkdir(parents=True, exist_ok=True)
        download(args.out / "images", **asked)
        write_json(args.out / "acquired.json", asked)
    counts = arrange(args.out, seed=args.seed)
    print(", ".join(f"{name} {counts[name]}" for name in (*SPLITS, "dropped")))


if __name__ == "__main__":
    command.run(main)
