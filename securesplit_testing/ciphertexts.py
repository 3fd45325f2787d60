"""The preset ``encrypted`` without a trained network: a random tail, and a worker's engine that evaluates it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securesplit.encrypted.layout import Layout
from securesplit.encrypted.tail import QuadraticTail
from securesplit.worker.encrypted_engine import EncryptedEngine
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import EngineSpec
from securesplit_testing.serving import serve_engine

LAYOUT = Layout()


def random_tail() -> QuadraticTail:
    """Answers of about one logit to features in ±1; the same weights each time."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(LAYOUT.hidden, LAYOUT.features)) / np.sqrt(LAYOUT.features)
    _vectors, reached = LAYOUT.first_alone(first)
    second = rng.normal(size=(LAYOUT.hidden, LAYOUT.hidden)) / np.sqrt(LAYOUT.hidden)
    biases = [rng.normal(size=LAYOUT.hidden) * 0.1 for _ in range(2)]
    return QuadraticTail(first * reached, biases[0], second, biases[1], rng.normal(size=LAYOUT.hidden) / 8, 0.3)


def engine() -> EncryptedEngine:
    """Evaluates `random_tail`; for a tail process."""
    return EncryptedEngine(random_tail())


def serve_encrypted(name: str = "Sum", **options: Any) -> ServedModel:
    """A served engine that takes ciphertexts besides."""
    served = serve_engine(name, **options)
    encrypted = EngineSpec("securesplit_testing.ciphertexts:engine")
    return replace(served, engine=replace(served.engine, encrypted=encrypted))


def write_encrypted_bundle(folder: Path) -> None:
    """The default bundle with `random_tail` as its preset ``encrypted``, for a worker: the device's encoder is none."""
    from securesplit.model import Bundle, Preset, encrypted_preset
    from securesplit.model.encrypted_preset import ENCODER, PRESET, TAIL, EncryptedInfo

    source = Bundle.load()
    shutil.copytree(source.folder, folder)
    contents = {ENCODER: b"no encoder", TAIL: encrypted_preset.tail_to_bytes(random_tail())}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = replace(
        source.manifest,
        presets={**source.presets, PRESET: Preset.uncalibrated(encrypted_preset.release_spec())},
        encrypted=EncryptedInfo(*(hashlib.sha256(content).hexdigest() for content in contents.values())),
    )
    (folder / "manifest.json").write_text(manifest.to_text(), encoding="utf-8")
