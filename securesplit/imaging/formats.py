"""What a file is, by its first bytes: a format that is read, or one that is named with what to do about it."""

from __future__ import annotations

from securesplit.errors import PhotoError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "HEIF", "DICOM")

_USE = "use a JPEG, HEIC, PNG, TIFF, BMP, WebP or AVIF photo"
_SAVE = "save it as a JPEG or PNG"
_EXPORT = "export the picture from the program that shows it, as a JPEG or PNG"
_DEVELOP = "develop it with the camera's software, and save a JPEG or TIFF"
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
    (0, b"GIF8", "a GIF", _SAVE),
    (0, b"%PDF", "a PDF", _EXPORT),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", _SAVE),
    (0, b"\xff\x0a", "a JPEG XL picture", _SAVE),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 picture", _SAVE),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _SAVE),
    (0, b"\xff\xd8", "a damaged JPEG", "copy the photo again from its source"),
    (0, b"\x89PNG", "a PNG that was copied as text", "copy the photo again, as binary"),
    (0, b"8BPS", "a Photoshop document", _EXPORT),
    (0, b"%!PS", "a PostScript file", _EXPORT),
    (0, b"II\x55\0", "a camera's raw file", _DEVELOP),
    (0, b"IIRO", "a camera's raw file", _DEVELOP),
    (0, b"IIRS", "a camera's raw file", _DEVELOP),
    (0, b"FUJIFILM", "a camera's raw file", _DEVELOP),
    (0, b"FOVb", "a camera's raw file", _DEVELOP),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile", _EXPORT),
    (0, b"\0\0\x01\0", "an icon", _USE),
    (0, b"icns", "an icon", _USE),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", _SAVE),
    (0, b"#?RADIANCE", "a Radiance picture", _SAVE),
    (0, b"gimp xcf", "a GIMP document", _EXPORT),
    (0, b"SIMPLE  =", "a FITS file", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", "load it, and give the array to securesplit.Client"),
    (0, b"\x89HDF", "an HDF5 file", _EXPORT),
    (0, b"PK\x03\x04", "a ZIP archive or an office document", "unpack it, or export the picture from it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (0, b"Rar!", "a RAR archive", "unpack it first"),
    (0, b"\xd0\xcf\x11\xe0", "an office document", "export the picture from it"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "take a photo, or save one frame as a JPEG"),
    (8, b"AVI ", "a video", "take a photo, or save one frame as a JPEG"),
    (0, b"\0\x05\x16\x07", "macOS's companion of a file (its name begins with ._)", "give the file itself"),
    (0, b"bplist", "a property list", _USE),
    (0, b"SQLite", "a database", _USE),
    (0, b"\x7fELF", "a program", _USE),
    (0, b"MZ", "a program", _USE),
)
_HEIF_BRANDS = frozenset(  # of ISO base media files, ISO/IEC 14496-12, whose pictures are HEIF's, AVIF among them
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
)
_RAW_BRAND = b"crx "
_TEXTS = (  # lowercase beginnings
    (b"<!doctype html", "a web page", "open it in a browser and save the picture itself"),
    (b"<html", "a web page", "open it in a browser and save the picture itself"),
    (b"<svg", "an SVG drawing", _EXPORT),
    (b"version https://git-lfs", "a Git LFS pointer, not the photo", "git lfs pull"),
    (b"[internetshortcut]", "a link to a web page", "download the photo first"),
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
        return ("a camera's raw file", _DEVELOP) if is_raw else ("a video", "take a photo, or save one frame as a JPEG")
    for at, mark, what, hint in _OTHERS:
        if content.startswith(mark, at):
            return what, hint
    if not content.strip(b"\0"):
        return "zeros only", "copy the photo again from its source"
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
    return ("text", "open the file to see what it says; a download may have failed") if is_text else ("", _USE)
