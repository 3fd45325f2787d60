"""DICOM photos: every way that pixels are written gives the same photo, and no tag leaves the decoder's process.

Most tests run the decoder in this process, since starting one for each of them takes long; the others say so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit import Bundle, Releaser
from securesplit.errors import PhotoError
from securesplit.imaging import decoder, isolated, load_photo
from securesplit.imaging.dicom import SOP_CLASSES
from securesplit_testing.photo_files import lesion, saved
from tests.imaging.profiles import DISPLAY_P3, in_space, matrix_profile

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

PHOTOGRAPHIC, DERMOSCOPIC = SOP_CLASSES
MOLE = lesion(120)
PIXELS = np.asarray(MOLE)
GREY = np.asarray(MOLE.convert("L"))
YBR = np.asarray(MOLE.convert("YCbCr"))


def dicom(pixels: bytes, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> bytes:
    """A dermoscopic photo of 120 × 120 pixels, with whatever tags."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = DERMOSCOPIC, "1.2.3"
    dataset.Rows = dataset.Columns = 120
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def grey(pixels: bytes, photometric: str = "MONOCHROME2", **tags: Any) -> bytes:
    return dicom(pixels, SamplesPerPixel=1, PhotometricInterpretation=photometric, **tags)


def deep(bits: int) -> dict[str, int]:
    return {"BitsAllocated": 16, "BitsStored": bits, "HighBit": bits - 1}


def packed_as_rle() -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom(PIXELS.tobytes())))
    dataset.compress(RLELossless)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def palette(bits: int) -> bytes:
    """A picture of 200 colours, whose numbers begin at 10."""
    few = MOLE.quantize(200)
    colours = np.asarray(few.getpalette("RGB")[:600], np.uint16).reshape(200, 3)
    tags: dict[str, Any] = {}
    for name, column in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [200, 10, bits]
        table = column.astype(np.uint8) if bits == 8 else column * 257
        tags[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    return grey((np.asarray(few) + 10).tobytes(), "PALETTE COLOR", **tags)


def as_jpeg_without_marks() -> bytes:
    """RGB in a JPEG that does not say so."""
    plain = saved(MOLE, "JPEG", quality=98, subsampling=0, keep_rgb=True)
    at = plain.index(b"\xff\xee")
    return plain[:at] + plain[at + 16 :]


def jpeg(content: bytes, photometric: str) -> bytes:
    return dicom(encapsulate([content]), JPEGBaseline8Bit, PhotometricInterpretation=photometric)


def in_halves() -> bytes:
    """YBR_FULL_422: two pixels share their colours."""
    pairs = YBR.reshape(120, 60, 2, 3)
    colours = pairs[..., 1:].mean(2).round().astype(np.uint8)
    return np.concatenate([pairs[..., 0], colours], axis=2).tobytes()


def jpeg_2000() -> bytes:
    frame = saved(MOLE, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
    return dicom(encapsulate([frame]), JPEG2000Lossless, PhotometricInterpretation="YBR_RCT")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder in this process, without its bounds."""

    @contextlib.contextmanager
    def answer(kind: str, stream: bytes, most: int) -> Iterator[io.BytesIO]:
        written = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the process does
            decoder.answer(kind, stream, most, written)
        yield io.BytesIO(written.getvalue())

    monkeypatch.setattr(isolated, "_answer", answer)


EXACT: dict[str, Callable[[], bytes]] = {
    "RGB": lambda: dicom(PIXELS.tobytes()),
    "VL photographic": lambda: dicom(PIXELS.tobytes(), SOPClassUID=PHOTOGRAPHIC),
    "implicit": lambda: dicom(PIXELS.tobytes(), ImplicitVRLittleEndian),
    "planes": lambda: dicom(PIXELS.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1),
    "16 bits": lambda: dicom((PIXELS.astype("<u2") * 257).tobytes(), **deep(16)),
    "big-endian": lambda: dicom((PIXELS.astype(">u2") * 257).tobytes(), ExplicitVRBigEndian, **deep(16)),
    "big-endian words of two": lambda: dicom(PIXELS.reshape(-1, 2)[:, ::-1].tobytes(), ExplicitVRBigEndian).replace(
        b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW"
    ),
    "12 bits of 16": lambda: dicom((PIXELS.astype("<u2") << 4).tobytes(), **deep(12)),
    "12 bits and an overlay": lambda: dicom((PIXELS.astype("<u2") << 4 | 0xA000).tobytes(), **deep(12)),
    "RLE": packed_as_rle,
    "JPEG 2000": jpeg_2000,
}
NEAR: dict[str, Callable[[], bytes]] = {
    "YBR_FULL": lambda: dicom(YBR.tobytes(), PhotometricInterpretation="YBR_FULL"),
    "YBR_FULL_422": lambda: dicom(in_halves(), PhotometricInterpretation="YBR_FULL_422"),
    "palette of 8 bits": lambda: palette(8),
    "palette of 16 bits": lambda: palette(16),
    "JPEG": lambda: jpeg(saved(MOLE, "JPEG", quality=95, subsampling=0), "YBR_FULL_422"),
    "JPEG of RGB without a mark": lambda: jpeg(as_jpeg_without_marks(), "RGB"),
}
IN_GREY: dict[str, Callable[[], bytes]] = {
    "MONOCHROME2": lambda: grey(GREY.tobytes()),
    "MONOCHROME1": lambda: grey((255 - GREY).tobytes(), "MONOCHROME1"),
    "12 bits": lambda: grey((GREY.astype("<u2") << 4).tobytes(), **deep(12)),
    "12 bits of MONOCHROME1": lambda: grey((4095 - (GREY.astype("<u2") << 4)).tobytes(), "MONOCHROME1", **deep(12)),
    "12 bits and an overlay": lambda: grey((GREY.astype("<u2") << 4 | 0x5000).tobytes(), **deep(12)),
}


def read(content: bytes) -> NDArray[np.int16]:
    return load_photo(io.BytesIO(content), 100).astype(np.int16)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", [*EXACT, *NEAR])
def test_however_it_is_written_it_is_the_same_photo(name: str) -> None:
    distance = np.abs(read((EXACT | NEAR)[name]()) - read(saved(MOLE, "PNG")))
    assert distance.mean() < (2 if name in NEAR else 1e-9)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", IN_GREY)
def test_grey_has_its_black_where_the_file_says(name: str) -> None:
    assert np.abs(read(IN_GREY[name]()) - read(saved(MOLE.convert("L"), "PNG"))).max() <= 2


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("within", [False, True])
def test_colours_are_those_of_the_profile(within: bool) -> None:
    profile = matrix_profile(DISPLAY_P3, None)
    path = Dataset()
    path.ICCProfile = profile
    tags: dict[str, Any] = {"OpticalPathSequence": [path]} if within else {"ICCProfile": profile}
    other = in_space(PIXELS, DISPLAY_P3, None).tobytes()
    assert np.abs(read(dicom(other, **tags)) - read(saved(MOLE, "PNG"))).mean() < 1.5
    assert np.abs(read(dicom(other)) - read(saved(MOLE, "PNG"))).mean() > 2


NAMED = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711-0815",
    "PatientBirthDate": "19700101",
    "InstitutionName": "Charite Berlin",
    "ImageComments": "melanoma in situ",
}


def test_a_process_of_its_own_reads_it() -> None:
    for content in (dicom(PIXELS.tobytes()), jpeg_2000()):
        assert (read(content) == read(saved(MOLE, "PNG"))).all()
    with pytest.raises(PhotoError, match=r"CT Image"):
        read(REFUSED["CT"][0]())


def test_no_tag_travels() -> None:
    """The release is that of the pixels alone, and this process never gets a tag of anything else."""
    plain, named = dicom(PIXELS.tobytes()), dicom(PIXELS.tobytes(), **NAMED)
    done = subprocess.run(
        [sys.executable, "-P", str(isolated._DECODER), "DICOM", str(1 << 26)],
        input=named,
        capture_output=True,
        check=True,
    )
    assert PIXELS.tobytes() in done.stdout
    for text in NAMED.values():
        assert text.encode() in named
        assert text.encode() not in done.stdout
    releaser = Releaser(Bundle.load(None), bytes(32), privacy="certified")
    releases = [releaser.release(io.BytesIO(content)).release for content in (plain, named, saved(MOLE, "PNG"))]
    assert (releases[0] == releases[1]).all()
    assert (releases[0] == releases[2]).all()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "CT": (lambda: dicom(PIXELS.tobytes(), SOPClassUID=CTImageStorage), r"CT Image Storage"),
    "an unknown kind": (lambda: dicom(PIXELS.tobytes(), SOPClassUID="1.2.3.4"), r"another kind \(1.2.3.4\)"),
    "frames": (lambda: dicom(PIXELS.tobytes() * 2, NumberOfFrames=2), r"2 frames"),
    "signed": (lambda: dicom(PIXELS.tobytes(), PixelRepresentation=1), r"signed 8-bit"),
    "32 bits": (lambda: dicom(bytes(120 * 120 * 12), BitsAllocated=32, BitsStored=32, HighBit=31), r"32-bit"),
    "shifted bits": (lambda: dicom(bytes(120 * 120 * 6), BitsAllocated=16, BitsStored=12, HighBit=15), r"12-bit"),
    "other colours": (lambda: dicom(PIXELS.tobytes(), PhotometricInterpretation="CMYK"), r"CMYK"),
    "contradicting": (lambda: dicom(PIXELS.tobytes(), SamplesPerPixel=1), r"contradict"),
    "no palette": (lambda: grey(GREY.tobytes(), "PALETTE COLOR"), r"palette"),
    "too few pixels": (lambda: dicom(PIXELS.tobytes()[:-700]), r"missing"),
    "no rows": (lambda: dicom(PIXELS.tobytes(), Rows=0), r"missing"),
    "a bomb": (lambda: dicom(PIXELS.tobytes(), Rows=9000, Columns=9000), r"MiB of memory"),
    "a larger bomb": (lambda: dicom(PIXELS.tobytes(), Rows=60_000, Columns=60_000), r"megapixels"),
    "too small": (lambda: dicom(PIXELS.tobytes(), Rows=16, Columns=16), r"smaller"),
    "a JPEG that ends early": (lambda: jpeg(saved(MOLE, "JPEG")[:1500], "YBR_FULL_422"), r"damaged"),
    "12-bit JPEG": (
        lambda: jpeg(saved(MOLE, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "YBR_FULL_422"),
        r"12 bits",
    ),
    "a DICOM head alone": (lambda: bytes(128) + b"DICM", r"damaged"),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_named_with_what_to_do(name: str) -> None:
    write, message = REFUSED[name]
    with pytest.raises(PhotoError, match=message) as caught:
        read(write())
    assert caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.usefixtures("here")
def test_a_truncated_or_damaged_file_never_does_more_than_refuse() -> None:
    content, source = dicom(PIXELS.tobytes(), **NAMED), random.Random(5)
    for length in (140, 300, 600, 5000, len(content) - 1):
        with pytest.raises(PhotoError) as caught:
            read(content[:length])
        assert caught.value.hint
    for _ in range(8):
        spoiled = bytearray(content)
        for _ in range(4):
            spoiled[source.randrange(132, 900)] = source.randrange(256)
        try:
            assert read(bytes(spoiled)).shape == (100, 100, 3)
        except PhotoError as error:
            assert error.hint


@pytest.mark.usefixtures("here")
def test_what_is_damaged_is_said_in_words_of_ours_and_quotes_no_tag() -> None:
    """pydicom quotes what it cannot read: where a length is damaged, the bytes of tags behind it, such as a name."""
    said, source = set(), random.Random(7)
    spoiled = [with_longer(tag, length) for tag in DICOM_TAGS for length in (20, 60, 120, 300)]
    for write in (lambda: dicom(PIXELS.tobytes(), **NAMED), packed_as_rle, lambda: jpeg(saved(MOLE, "JPEG"), "RGB")):
        content = write()
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(source.choice((1, 2))):
                damaged[source.randrange(132, 700)] = source.randrange(256)
            spoiled.append(bytes(damaged[: source.choice((len(damaged), source.randrange(140, 900)))]))
    for content in spoiled:
        with contextlib.suppress(PhotoError):
            try:
                read(content)
            except PhotoError as error:
                said.add(error.message)
                assert error.hint
                raise
    for content in spoiled:
        decoder.answer("DICOM", content, 1 << 26, told := io.BytesIO())
        length = int.from_bytes(told.getvalue()[:4], "big")
        assert not [tag for tag in NAMED.values() if tag.encode() in told.getvalue()[4 : 4 + length]]
    damaged = {text for text in said if text.startswith("the DICOM file is damaged or truncated")}
    assert {text.partition("(")[2].rstrip(")") for text in damaged} <= OURS, damaged
    assert len(damaged) > 2
    assert not [text for text in said for tag in NAMED.values() if tag in text]


def with_longer(tag: bytes, more: int) -> bytes:
    """A file whose tag says that its value is longer, and so goes on through those behind it."""
    content = bytearray(dicom(PIXELS.tobytes(), **NAMED))
    place = content.index(tag, 132) + 6
    content[place : place + 2] = (int.from_bytes(content[place : place + 2], "little") + more).to_bytes(2, "little")
    return bytes(content)


DICOM_TAGS = [b"\x08\0\x16\0UI", b"\x02\0\x02\0UI", b"\x02\0\x10\0UI", b"\x28\0\x04\0CS", b"\x28\0\x10\0US"]
"""SOPClassUID, MediaStorageSOPClassUID, TransferSyntaxUID, PhotometricInterpretation, Rows."""
OURS = {
    *("in a header", "its pixels are missing or damaged", "a tag of its pixels is missing"),
    *("its tags contradict each other", "a part of the pixels is missing", "its palette is missing"),
}


@pytest.mark.parametrize(
    "told",
    [
        {"parts": [-1, 0, 0, 0, 43_200]},
        {"parts": [0, 0, 0, 43_200]},
        {"parts": "none"},
        {"rows": "120"},
        {"palette": 7},
        {"frames": []},
    ],
    ids=str,
)
def test_a_subverted_decoder_is_not_believed(told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    facts, parts = decoder.take_dicom_apart(dicom(PIXELS.tobytes()), 1 << 26)
    head = json.dumps(facts | told).encode()
    content = len(head).to_bytes(4, "big") + head + b"".join(parts)
    monkeypatch.setattr(isolated, "_answer", lambda *_: contextlib.nullcontext(io.BytesIO(content)))
    with pytest.raises(PhotoError) as caught:
        read(b"\0" * 128 + b"DICM")
    assert caught.value.hint


def test_the_hint_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PhotoError, match="pydicom") as caught:
        read(dicom(PIXELS.tobytes()))
    assert "securesplit[dicom]" in caught.value.hint


def test_a_decoder_that_is_not_there_is_named() -> None:
    from securesplit.imaging import dicom as facts

    told = facts.problem({"problem": "no decoder", "syntax_name": "JPEG-LS Lossless Image Compression"})
    assert "JPEG-LS" in told.message
    assert "pylibjpeg" in told.hint
