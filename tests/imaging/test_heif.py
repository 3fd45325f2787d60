"""HEIC and AVIF: the primary picture, upright, in its colours, without its metadata; and nothing that harms."""

from __future__ import annotations

import importlib.util
import io
import random
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from securesplit.errors import PhotoError
from securesplit.imaging import heif, isolated, load_photo
from securesplit_testing.photo_files import exif, lesion, saved, short
from tests.imaging.profiles import DISPLAY_P3, in_space, matrix_profile

pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
if "avif" not in features.modules or not features.check("avif"):
    pytest.skip("this Pillow has no AVIF", allow_module_level=True)

LOSSLESS: dict[str, Any] = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
SECRET = b"48.8584 N, 2.2945 E"


def heic(image: Image.Image, **options: Any) -> bytes:
    """As an HEVC encoder writes it, without loss."""
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, **{**LOSSLESS, **options})
    return stream.getvalue()


def avif(image: Image.Image, **options: Any) -> bytes:
    return saved(image, "AVIF", **{"quality": 95, "speed": 10, **options})


def read(content: bytes, side: int = 100) -> NDArray[np.int16]:
    return load_photo(io.BytesIO(content), side).astype(np.int16)


MOLE = ImageOps.expand(lesion(100), (0, 0, 28, 0), "tan")  # 128 × 100, so that a turn shows
SAME = read(saved(MOLE, "PNG"))
HEIC, AVIF = heic(MOLE), avif(MOLE)


def test_a_lossless_heic_is_the_same_photo_as_its_png() -> None:
    assert (read(HEIC) == SAME).all()


def test_an_avif_is_nearly_the_same_photo() -> None:
    assert np.abs(read(AVIF) - SAME).mean() < 1.5


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("write", [heic, avif])
def test_a_turn_is_made_once(write: Callable[..., bytes], orientation: int) -> None:
    """Encoders write EXIF's orientation as irot and imir, and some leave the tag where it was."""
    content = write(MOLE, exif=exif([short(0x112, orientation)]))
    tagged = Image.open(io.BytesIO(saved(MOLE, "PNG", exif=exif([short(0x112, orientation)]))))
    assert np.abs(read(content) - read(saved(ImageOps.exif_transpose(tagged), "PNG"))).mean() < 1.5


def test_an_orientation_in_exif_alone_says_nothing() -> None:
    content = bytearray(heic(MOLE, exif=exif([short(0x112, 1)])))
    at = content.rindex(b"\x12\x01\x03\0\1\0\0\0") + 8
    content[at] = 6
    assert (read(bytes(content)) == SAME).all()


@pytest.mark.parametrize("write", [heic, avif])
def test_metadata_reaches_no_decoder(write: Callable[..., bytes]) -> None:
    content = write(MOLE, exif=exif([(0x10E, 2, len(SECRET), SECRET)]), xmp=b"<x>" + SECRET + b"</x>")
    assert content.count(SECRET) == 2
    assert SECRET not in heif.read(content).stream
    assert (read(content) == read(write(MOLE))).all()


def test_colours_are_those_of_the_profile_or_of_the_code_points() -> None:
    other = Image.fromarray(in_space(np.asarray(MOLE), DISPLAY_P3, None))
    assert np.abs(read(heic(other)) - SAME).mean() > 2
    by_profile = heic(other, icc_profile=matrix_profile(DISPLAY_P3, None))
    by_points = heic(other, color_primaries=12, transfer_characteristics=13)
    for content in (by_profile, by_points, avif(other, icc_profile=matrix_profile(DISPLAY_P3, None))):
        assert np.abs(read(content) - SAME).mean() < 1.5
    with Image.open(io.BytesIO(avif(other, icc_profile=matrix_profile(DISPLAY_P3, None)))) as opened:
        assert np.abs(load_photo(opened, 100) - SAME).mean() < 1.5
    opened = pillow_heif.open_heif(by_points).to_pillow()
    assert np.abs(load_photo(opened, 100) - SAME).mean() < 1.5


def test_hdr_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"HDR \(PQ\)"):
        read(heic(MOLE, color_primaries=9, transfer_characteristics=16, matrix_coefficients=9))


def test_ten_bits_opacity_and_grey() -> None:
    deep = pillow_heif.from_bytes("RGB;16", MOLE.size, (np.asarray(MOLE, np.uint16) * 257).tobytes())
    stream = io.BytesIO()
    deep.save(stream, **LOSSLESS)
    assert np.abs(read(stream.getvalue()) - SAME).max() <= 1
    clear = MOLE.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 128).astype(np.uint8), (100, 1))))
    assert np.abs(read(heic(clear)) - read(saved(clear, "PNG"))).max() <= 1
    assert np.abs(read(heic(MOLE.convert("L"))) - read(saved(MOLE.convert("L"), "PNG"))).max() <= 2


def test_a_picture_of_a_mode_that_is_not_read_is_not_called_damaged() -> None:
    grey, stream = np.arange(128 * 100, dtype=np.uint16), io.BytesIO()
    pillow_heif.from_bytes("I;16", (128, 100), grey.tobytes()).save(stream)
    with pytest.raises(PhotoError) as caught:
        read(stream.getvalue())
    assert (caught.value.message, caught.value.hint) == (
        "a HEIC picture of mode I;16 cannot be read",
        "save it as a JPEG or PNG",
    )


def test_only_the_primary_picture_counts() -> None:
    file = pillow_heif.from_pillow(lesion(90, 9))
    file.add_from_pillow(MOLE)
    file.add_from_pillow(lesion(90, 8))
    stream = io.BytesIO()
    file.save(stream, primary_index=1, **LOSSLESS)
    assert (read(stream.getvalue()) == SAME).all()


def test_a_picture_of_tiles() -> None:
    large = MOLE.resize((640, 500), Image.Resampling.BICUBIC)
    assert (read(heic(large, tile_size=256)) == read(saved(large, "PNG"))).all()


@pytest.mark.parametrize("content", [HEIC, AVIF], ids=["HEIC", "AVIF"])
def test_a_truncated_file_is_told_of_before_a_decoder_runs(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "decode", None)
    for length in (*range(12, 700, 23), *range(700, len(content), 997), len(content) - 1):
        with pytest.raises(PhotoError, match=r"damaged or truncated|no picture|known format") as caught:
            read(content[:length])
        assert caught.value.hint


def test_a_hole_is_damage() -> None:
    middle = len(HEIC) // 2
    with pytest.raises(PhotoError, match="blank"):
        read(HEIC[:middle] + bytes(600) + HEIC[middle + 600 :])


def announcing(content: bytes, width: int, height: int) -> bytes:
    at = content.index(b"ispe") + 8
    return content[:at] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[at + 8 :]


@pytest.mark.parametrize(
    ("size", "message"), [((11_000, 11_000), "megapixels"), ((9_000, 9_000), "MiB of memory"), ((16, 16), "smaller")]
)
def test_what_announces_too_much_is_never_decoded(
    size: tuple[int, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "decode", None)
    with pytest.raises(PhotoError, match=message):
        read(announcing(HEIC, *size))


def test_what_announces_too_little_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"damaged or truncated"):
        read(announcing(HEIC, 40, 40))


def test_no_bytes_crash_or_hold_up_the_parser() -> None:
    source, started = random.Random(3), time.process_time()
    for _ in range(1500):
        content = bytearray(source.choice((HEIC, AVIF))[:1200])
        for _ in range(source.randrange(1, 6)):
            content[source.randrange(len(content))] = source.choice((0, 1, 2, 0x7F, 0xFF, source.randrange(256)))
        try:
            heif.read(bytes(content))
        except PhotoError as error:
            assert error.hint
    assert time.process_time() - started < 10


def box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def full_box(kind: bytes, body: bytes) -> bytes:
    return box(kind, bytes(4) + body)


def two(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def four(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def one_item(*, places: bytes = b"", links: bytes = b"", made_of: bytes = b"", kind: bytes = b"hvc1") -> bytes:
    """A file of one item, its boxes as given; `places` behind the sizes of offsets and lengths, four bytes each."""
    infe = box(b"infe", b"\2\0\0\0" + two(1, 0) + kind + b"\0")
    size = full_box(b"ispe", four(100, 100))
    meta = full_box(b"pitm", two(1)) + full_box(b"iinf", two(1) + infe)
    meta += full_box(b"iloc", b"\x44\0" + (places or two(1, 1, 0, 1) + four(8, 100)))
    meta += box(b"iprp", box(b"ipco", size) + full_box(b"ipma", links or four(1) + two(1) + b"\1\1"))
    return box(b"ftyp", b"heic" + bytes(4)) + full_box(b"meta", meta + full_box(b"iref", made_of)) + bytes(10**6)


def many_items() -> bytes:
    """65,535 extents of no bytes for each of thousands of items."""
    many = 4000
    infe = b"".join(box(b"infe", b"\2\0\0\0" + two(n, 0) + b"hvc1\0") for n in range(many))
    iloc = bytes(2) + two(many) + b"".join(two(n, 0, 65535) for n in range(many))
    meta = full_box(b"iinf", two(many) + infe) + full_box(b"iloc", iloc)
    meta += box(b"iprp", box(b"ipco", b"") + full_box(b"ipma", bytes(4))) + full_box(b"pitm", two(0))
    return box(b"ftyp", b"heic" + bytes(4)) + full_box(b"meta", meta)


ENDLESS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty extents": (many_items, "pieces"),
    "extents of the same bytes": (
        lambda: one_item(places=two(1, 1, 0, 19_000) + four(0, 10**6) * 19_000),
        "its pieces overlap",
    ),
    "metadata of the same bytes": (
        lambda: one_item(places=two(1, 1, 0, 19_000) + four(0, 0) * 19_000, kind=b"Exif"),
        "its pieces overlap",
    ),
    "properties": (lambda: one_item(links=four(20_000) + (two(1) + b"\xff" + b"\1" * 255) * 20_000), "too many links"),
    "items without properties": (lambda: one_item(links=four(10**5) + (two(1) + b"\0") * 10**5), "too many links"),
    "a grid of itself": (
        lambda: one_item(made_of=box(b"dimg", two(1, 65535) + two(1) * 65535) * 50, kind=b"grid"),
        "too many links",
    ),
    "a smaller grid of itself": (
        lambda: one_item(made_of=box(b"dimg", two(1, 30_000) + two(1) * 30_000), kind=b"grid"),
        "too many parts",
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_parts_cost_neither_time_nor_memory(kind: str) -> None:
    make, said = ENDLESS[kind]
    content = make()
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(PhotoError, match=said):
        heif.read(content)
    taken, (_, most) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2
    assert most < 64 * 2**20


def answering(head: str, pixels: int = 0) -> str:
    """A decoder that says this of the picture."""
    told = head.encode()
    return f"import sys; sys.stdout.buffer.write({len(told).to_bytes(4, 'big') + told!r} + bytes({pixels}))"


@pytest.mark.parametrize(
    "does",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import time; time.sleep(60)",
        "import sys; sys.stdout.write('no head at all')",
        answering("[]"),
        answering('{"mode": "RGB", "size": [128, 900], "orientation": 1}', 128 * 900 * 3),
        answering('{"mode": "RGB", "size": [128, 100], "orientation": 1}', 99),
        answering('{"mode": "F", "size": [128, 100], "orientation": 1}', 128 * 100 * 4),
    ],
    ids=["crash", "hang", "no head", "no object", "more pixels", "fewer pixels", "another mode"],
)
def test_a_decoder_that_crashes_hangs_or_lies_is_a_refusal(
    does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "decoder.py").write_text(does)
    monkeypatch.setattr(isolated, "_DECODER", tmp_path / "decoder.py")
    monkeypatch.setattr(isolated, "MAX_DECODING_S", 1.0)
    with pytest.raises(PhotoError, match="its decoder gave up") as caught:
        read(HEIC)
    assert caught.value.hint


@pytest.mark.parametrize("interpreter", ["/usr/bin/removed", None], ids=["removed", "none"])
@pytest.mark.parametrize("content", [HEIC, AVIF], ids=["HEIC", "AVIF"])
def test_a_decoder_that_cannot_be_started_damages_no_photo(
    content: bytes, interpreter: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(PhotoError, match=r"^the process that decodes (HEIC|AVIF) cannot be started \(.+\)$") as caught:
        read(content)
    assert "save the photo as a JPEG" in caught.value.hint


def let_decode(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `body` in the place of what the decoder's process decodes with, behind all that confines it."""
    program = f"""
import sys
sys.path.insert(0, {str(isolated._DECODER.parent)!r})
import decoder
def decode(*_):
{textwrap.indent(textwrap.dedent(body), "    ")}
decoder.decode = decode
decoder.main()
"""
    (folder / "program.py").write_text(program)
    monkeypatch.setattr(isolated, "_DECODER", folder / "program.py")


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of Linux")
def test_a_decoder_takes_bounded_memory_and_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"""
        try:
            open({str(tmp_path / "file")!r}, "wb", 0).write(b"x")
        except OSError:
            return bytearray(2 << 30)
        raise ValueError("wrote a file")
    """
    let_decode(body, tmp_path, monkeypatch)
    with pytest.raises(PhotoError, match="too much memory"):
        read(HEIC)


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_a_decoder_s_memory_is_in_no_core_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the photo and is what a hostile file makes crash; a program that takes core files is told no limit."""
    body = """
        import ctypes
        raise ValueError(f"dumpable {ctypes.CDLL(None).prctl(3, *[ctypes.c_ulong(0)] * 4)}")
    """
    let_decode(body, tmp_path, monkeypatch)
    with pytest.raises(PhotoError, match="dumpable 0"):
        read(HEIC)


def test_damaged_data_never_does_more_than_refuse() -> None:
    source = random.Random(5)
    for content in (HEIC, AVIF) * 4:
        start = heif.read(content).stream.index(b"mdat") + 20
        spoiled = bytearray(content)
        for _ in range(30):
            spoiled[source.randrange(start, len(content))] ^= 1 << source.randrange(8)
        try:
            assert read(bytes(spoiled)).shape == (100, 100, 3)
        except PhotoError as error:
            assert error.hint


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_a_header_that_a_decoder_does_not_know_is_told_of_in_words(kind: str) -> None:
    with pytest.raises(PhotoError) as caught:
        isolated.decode(kind, bytes(100), 10_000)
    assert caught.value.message == f"the {isolated.NAMES[kind]} file is damaged or truncated (in a header)"


def test_the_hint_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pillow_heif" else found(name))
    with pytest.raises(PhotoError, match="pillow-heif") as caught:
        read(HEIC)
    assert "securesplit[heic]" in caught.value.hint
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(PhotoError, match="Pillow") as caught:
        read(AVIF)
    assert "securesplit[heic]" in caught.value.hint


def test_a_picture_made_of_nothing_is_damaged() -> None:
    with pytest.raises(PhotoError, match="a part of the picture is missing"):
        heif.read(one_item(kind=b"grid"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(b"jpeg", "JPEG"), (b"avs3", "avs3"), (b"\x1b[1m", "an unknown method"), (b"a\n\0\xff", "an unknown method")],
)
def test_a_picture_of_another_coding_is_named(kind: bytes, name: str) -> None:
    with pytest.raises(PhotoError) as caught:
        read(HEIC.replace(b"hvc1", kind, 1))
    assert caught.value.message == f"a HEIF picture coded as {name} cannot be read"
