"""What a file is, by its first bytes: a format that is read, or one that is named with what to do about it."""

from __future__ import annotations

from securesplit.errors import PhotoError
from securesplit.i18n import gettext_noop as _

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "HEIF", "DICOM")

_USE = _("use a JPEG, HEIC, PNG, TIFF, BMP, WebP or AVIF photo")
_SAVE = _("save it as a JPEG or PNG")
_EXPORT = _("export the picture from the program that shows it, as a JPEG or PNG")
_FRAME = _("take a photo, or save one frame as a JPEG")
_AGAIN = _("copy the photo again from its source")
_DEVELOP = _("develop it with the camera's software, and save a JPEG or TIFF")
_BY_START = (  # format, offset, bytes
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("WEBP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
    ("BMP", 0, b"BM"),
    ("DICOM", 128, b"DICM"),
)
_OTHERS = (  # offset, bytes, what it is, what to do
    (0, b"GIF8", _("a GIF"), _SAVE),
    (0, b"%PDF", _("a PDF"), _EXPORT),
    (0, b"\0\0\0\x0cJXL ", _("a JPEG XL picture"), _SAVE),
    (0, b"\xff\x0a", _("a JPEG XL picture"), _SAVE),
    (0, b"\0\0\0\x0cjP", _("a JPEG 2000 picture"), _SAVE),
    (0, b"\xff\x4f\xff\x51", _("a JPEG 2000 picture"), _SAVE),
    (0, b"\xff\xd8", _("a damaged JPEG"), _AGAIN),
    (0, b"\x89PNG", _("a PNG that was copied as text"), _("copy the photo again, as binary")),
    (0, b"8BPS", _("a Photoshop document"), _EXPORT),
    (0, b"%!PS", _("a PostScript file"), _EXPORT),
    (0, b"II\x55\0", _("a camera's raw file"), _DEVELOP),
    (0, b"IIRO", _("a camera's raw file"), _DEVELOP),
    (0, b"IIRS", _("a camera's raw file"), _DEVELOP),
    (0, b"FUJIFILM", _("a camera's raw file"), _DEVELOP),
    (0, b"FOVb", _("a camera's raw file"), _DEVELOP),
    (0, b"\xd7\xcd\xc6\x9a", _("a Windows metafile"), _EXPORT),
    (0, b"\0\0\x01\0", _("an icon"), _USE),
    (0, b"icns", _("an icon"), _USE),
    (0, b"\x76\x2f\x31\x01", _("an OpenEXR picture"), _SAVE),
    (0, b"#?RADIANCE", _("a Radiance picture"), _SAVE),
    (0, b"gimp xcf", _("a GIMP document"), _EXPORT),
    (0, b"SIMPLE  =", _("a FITS file"), _EXPORT),
    (0, b"\x93NUMPY", _("a NumPy array"), _("load it, and give the array to securesplit.Client")),
    (0, b"\x89HDF", _("an HDF5 file"), _EXPORT),
    (0, b"PK\x03\x04", _("a ZIP archive or an office document"), _("unpack it, or export the picture from it")),
    (0, b"\x1f\x8b", _("a gzip archive"), _("unpack it first")),
    (0, b"7z\xbc\xaf", _("a 7-Zip archive"), _("unpack it first")),
    (0, b"Rar!", _("a RAR archive"), _("unpack it first")),
    (0, b"\xd0\xcf\x11\xe0", _("an office document"), _("export the picture from it")),
    (0, b"\x1a\x45\xdf\xa3", _("a video"), _FRAME),
    (8, b"AVI ", _("a video"), _FRAME),
    (0, b"\0\x05\x16\x07", _("macOS's companion of a file (its name begins with ._)"), _("give the file itself")),
    (0, b"bplist", _("a property list"), _USE),
    (0, b"SQLite", _("a database"), _USE),
    (0, b"\x7fELF", _("a program"), _USE),
    (0, b"MZ", _("a program"), _USE),
)
_HEIF_BRANDS = frozenset(  # of ISO base media files, ISO/IEC 14496-12, whose pictures are HEIF's, AVIF among them
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
)
_RAW_BRAND = b"crx "
_TEXTS = (  # lowercase beginnings
    (b"<!doctype html", _("a web page"), _("open it in a browser and save the picture itself")),
    (b"<html", _("a web page"), _("open it in a browser and save the picture itself")),
    (b"<svg", _("an SVG drawing"), _EXPORT),
    (b"version https://git-lfs", _("a Git LFS pointer, not the photo"), _("git lfs pull")),
    (b"[internetshortcut]", _("a link to a web page"), _("download the photo first")),
)
_LOOK = 2048  # bytes that tell text from binary
MARK_BYTES = 256  # that tell a picture: a DICOM file's begin at 128, the brands of an ISO file end before 256


def is_picture(start: bytes) -> bool:
    """Whether the first `MARK_BYTES` of a file without a photo's name are those of a photo; two letters are no mark."""
    if start.startswith(b"ftyp", 4):
        return bool(_brands(start) & (_HEIF_BRANDS | {_RAW_BRAND}))
    return any(start.startswith(mark, at) for _, at, mark in _BY_START if len(mark) > 2)


def identify(content: bytes) -> str:
    """One of `FORMATS`.

    Raises:
        PhotoError: the file is something else, which is named where it is known.
    """
    for name, at, mark in _BY_START:
        if content.startswith(mark, at):
            return name
    if content.startswith(b"ftyp", 4) and content[8:12] != _RAW_BRAND and _brands(content) & _HEIF_BRANDS:
        return "HEIF"
    what, hint = _other(content)
    raise PhotoError(
        f"not an image of a known format, but {what}" if what else "not an image of a known format", hint=hint
    )


def _other(content: bytes) -> tuple[str, str]:
    if content.startswith(b"ftyp", 4):
        is_raw = _RAW_BRAND in _brands(content)
        return (_("a camera's raw file"), _DEVELOP) if is_raw else (_("a video"), _FRAME)
    for at, mark, what, hint in _OTHERS:
        if content.startswith(mark, at):
            return what, hint
    if not content.strip(b"\0"):
        return _("zeros only"), _AGAIN
    return _as_text(content[:_LOOK])


def _brands(content: bytes) -> set[bytes]:
    """Of an ISO base media file: the major one and the compatible ones."""
    length = min(int.from_bytes(content[:4], "big"), MARK_BYTES)
    return {content[8:12], *(content[at : at + 4] for at in range(16, length, 4))}


def _as_text(start: bytes) -> tuple[str, str]:
    """A web page that was saved as a .jpg, and the like."""
    plain = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, what, hint in _TEXTS:
        if plain.startswith(mark) or (plain.startswith((b"<?xml", b"<!--")) and mark in plain):
            return what, hint
    try:
        start[:-4].decode()
    except UnicodeDecodeError:
        return "", _USE
    is_text = not any(byte < 9 for byte in start)
    return (_("text"), _("open the file to see what it says; a download may have failed")) if is_text else ("", _USE)
