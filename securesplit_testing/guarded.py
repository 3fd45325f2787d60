"""The preset ``guarded`` without a trained network: halves that compute what those of ``compact`` compute."""

from __future__ import annotations

import functools
import hashlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from securesplit.model import Bundle, Preset
from securesplit.model import gate as gates
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.guarded_preset import GATE, HEAD, PRESET, TAIL
from securesplit.model.litert_halves import packed
from securesplit.model.manifest import GateInfo, GuardedInfo, KindOfPhoto

COPIED = "compact"
"""The preset whose output of the head, and signature of the tail, are renamed."""
PHONE_PHOTOS = 7
"""Of which the bundle says what answers are worth; phone photos were not learned."""


@functools.cache
def contents() -> dict[str, bytes]:
    """The preset's files by name; its gate refuses what the default bundle's does."""
    bundle = Bundle.load()
    return {
        HEAD: _head(bundle.read_head()),
        TAIL: _tail((bundle.folder / "tail.tflite").read_bytes()),
        GATE: (bundle.folder / gates.FILE).read_bytes(),
    }


def write_guarded_bundle(folder: Path) -> Bundle:
    """The default bundle with the preset: `COPIED`, but with noise, and int16 so that its shape is its own."""
    shutil.copytree(DEFAULT_FOLDER, folder)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents().items()}
    source = Bundle.load().manifest
    copied = source.presets[COPIED]
    spec = replace(copied.spec, preset=PRESET, dtype="int16", clip_norm=math.sqrt(copied.spec.size), sigma_per_clip=0.1)
    preset = Preset(spec, copied.calibration, copied.threshold, copied.quality, spread=copied.spread)
    phone = KindOfPhoto(learned=False, photos=PHONE_PHOTOS, figures={PRESET: {"auc": 0.7}})
    gate = GateInfo(digests[GATE], {"dermoscopy": KindOfPhoto(learned=True), "phone": phone})
    manifest = replace(
        source, presets={**source.presets, PRESET: preset}, guarded=GuardedInfo(digests[HEAD], digests[TAIL], gate)
    )
    (folder / "manifest.json").write_text(manifest.to_text(), encoding="utf-8")
    return Bundle.load(folder)


def _head(content: bytes) -> bytes:
    model = _model(content)
    (signature,) = model.signatureDefs
    kept = [output for output in signature.outputs if output.name in (COPIED.encode(), gates.MAP.encode())]
    signature.outputs = [_renamed(output) for output in kept]
    return packed(model)


def _renamed(output: Any) -> Any:
    output.name = PRESET.encode() if output.name == COPIED.encode() else output.name
    return output


def _tail(content: bytes) -> bytes:
    model = _model(content)
    (signature,) = (each for each in model.signatureDefs if each.signatureKey == COPIED.encode())
    signature.signatureKey = PRESET.encode()
    model.signatureDefs = [signature]
    return packed(model)


def _model(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)
