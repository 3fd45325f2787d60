"""Photo -> pixels: bounds before decoding, one upright turn, sRGB, one square, one fixed size."""

from securesplit.imaging.listing import Listing
from securesplit.imaging.memory import MAX_DECODED_BYTES, MAX_PIXELS
from securesplit.imaging.photo import Square, load_photo, load_square, load_whole
from securesplit.imaging.photo_source import MAX_FILE_BYTES, PhotoSource, photo_name

__all__ = [
    "MAX_DECODED_BYTES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "Listing",
    "PhotoSource",
    "Square",
    "load_photo",
    "load_square",
    "load_whole",
    "photo_name",
]
