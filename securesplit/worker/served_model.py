"""What a worker serves: which releases it takes, and how its tails compute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesplit.channel.tensor import TensorSpec
from securesplit.worker.settings import EngineSpec


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A network's tail, as a front needs to know it.

    Attributes:
        identity: 32 bytes that a client must share.
        id: the same for people, ``sha256:<hex>``.
        presets: by the release's shape and dtype, the name of the preset.
        engine: what the tail processes run.
    """

    identity: bytes
    id: str
    presets: Mapping[TensorSpec, str]
    engine: EngineSpec

    @classmethod
    def from_bundle(cls, folder: Path | None) -> ServedModel:
        """Serve the bundle in `folder`, by default the one in the package.

        Raises:
            BundleError: there is none, or its manifest is damaged.
        """
        from securesplit.model.bundle import Bundle

        bundle = Bundle.load(folder)
        presets = {
            TensorSpec(p.spec.shape, p.spec.dtype): name for name, p in bundle.presets.items() if not p.spec.encrypted
        }
        options: dict[str, str | int | float | None] = {"bundle": str(bundle.folder.resolve()), "threads": 1}
        readable = tuple(str((bundle.folder / name).resolve()) for name in ("manifest.json", "tail.tflite"))
        engine = EngineSpec("securesplit.worker.engine:LiteRTEngine", options, readable)
        return cls(bundle.identity, bundle.id, presets, engine)


Served = ServedModel
"""The earlier name, for scripts that serve something of their own; accepted until version 0.2."""
