"""Colour profiles and pictures in other colour spaces than sRGB, from the definitions of these spaces."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_D50 = (0.9642, 1.0, 0.8249)
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71690, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
PROPHOTO = np.array([[0.79767, 0.13519, 0.03134], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82491]])
REC2020 = np.array([[0.67348, 0.16567, 0.12505], [0.27904, 0.67535, 0.04561], [-0.00194, 0.02995, 0.79684]])
"""Linear RGB to XYZ under D50; columns are red, green and blue."""
LIGHTNESS = 1.5


def linear(pixels: NDArray[Any]) -> NDArray[Any]:
    """sRGB ``uint8`` -> light, 0..1 (IEC 61966-2-1)."""
    v = pixels / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def bent(light: NDArray[Any]) -> NDArray[Any]:
    """Light -> sRGB's curve, 0..1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def in_space(pixels: NDArray[Any], matrix: NDArray[Any], gamma: float | None) -> NDArray[np.uint8]:
    """An sRGB picture's colours as another space spells them; `gamma` None for sRGB's own curve."""
    light = (linear(pixels) @ SRGB.T @ np.linalg.inv(matrix).T).clip(0, 1)
    return ((bent(light) if gamma is None else light ** (1 / gamma)) * 255).round().astype(np.uint8)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def curve(gamma: float | None) -> bytes:
    if gamma is None:
        return b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0\0\0\0\0" + fixed(gamma)


def profile(
    space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr", major: int = 4
) -> bytes:
    """An ICC profile of these tags."""
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    header = struct.pack(">I4xB3x", start + len(body), major) + kind + space + pcs + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + fixed(*_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix_profile(matrix: NDArray[Any], gamma: float | None) -> bytes:
    named = zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    columns = {name: b"XYZ \0\0\0\0" + fixed(*column) for name, column in named}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma))
    return profile(b"RGB ", {b"wtpt": b"XYZ \0\0\0\0" + fixed(*_D50), **columns, **curves})


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"wtpt": b"XYZ \0\0\0\0" + fixed(*_D50), b"kTRC": curve(gamma)})


def in_inks(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """An sRGB picture as cyan, magenta, yellow and black of a press that prints too light."""
    plain = pixels / 255
    black = 1 - plain.max(axis=2, keepdims=True)
    inks = np.concatenate([1 - plain / np.maximum(1 - black, 1e-6), black], axis=2)
    return ((inks.clip(0, 1) ** (1 / LIGHTNESS)) * 255).round().astype(np.uint8)


def ink_profile(points: int = 9) -> bytes:
    """The same press, as a table from inks to Lab (ICC.1:2001, lut16Type)."""
    steps = np.linspace(0, 1, points)
    inks = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 4)
    xyz = linear((1 - inks[:, :3]) * (1 - inks[:, 3:]) * 255) @ SRGB.T / np.array(_D50)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    table = np.stack([lab[:, 0] * 652.8, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], axis=1)
    into = np.linspace(0, 1, 256) ** LIGHTNESS * 65535
    lut = b"mft2\0\0\0\0" + bytes([4, 3, points, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">HH", 256, 2)
    lut += np.tile(into, 4).round().astype(">u2").tobytes() + table.round().clip(0, 65535).astype(">u2").tobytes()
    lut += np.array([0, 65535] * 3, ">u2").tobytes()
    return profile(b"CMYK", {b"A2B0": lut, b"A2B1": lut, b"wtpt": b"XYZ \0\0\0\0" + fixed(*_D50)}, b"Lab ", b"prtr", 2)
