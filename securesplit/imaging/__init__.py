"""Photo file -> pixels: size bounds before decoding, EXIF turn, centre square, one fixed size."""

from securesplit.imaging.photo import MAX_FILE_BYTES, MAX_PIXELS, load_photo, to_square

__all__ = ["MAX_FILE_BYTES", "MAX_PIXELS", "load_photo", "to_square"]
