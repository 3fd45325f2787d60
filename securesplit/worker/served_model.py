"""What a worker serves: which releases it takes, and how its tails compute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesplit.channel.payload import check_travels
from securesplit.channel.tensor import TensorSpec
from securesplit.encrypted import messages
from securesplit.worker.settings import EngineSpec

ENCRYPTED_REQUEST = TensorSpec((messages.REQUEST_BYTES,), "uint8")
KEY_CHUNK = TensorSpec((messages.CHUNK_MESSAGE_BYTES,), "uint8")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A network's tail, as a front needs to know it.

    Attributes:
        identity: 32 bytes that a client must share.
        id: the same for people, ``sha256:<hex>``.
        presets: by the release's shape and dtype, the name of the preset; not ``encrypted``, whose releases never come
            in the open.
        engine: what the tail processes run.
        lacks_tenseal: it has the preset ``encrypted``, which this machine cannot compute.
    """

    identity: bytes
    id: str
    presets: Mapping[TensorSpec, str]
    engine: EngineSpec
    lacks_tenseal: bool = False

    @property
    def specs(self) -> list[TensorSpec]:
        """Every tensor that a client may send; those that are refused with a reason of their own too."""
        is_encrypted = self.engine.encrypted is not None or self.lacks_tenseal
        return [*self.presets, *((ENCRYPTED_REQUEST, KEY_CHUNK) if is_encrypted else ())]

    @classmethod
    def from_bundle(cls, folder: str | Path | None) -> ServedModel:
        """Serve the bundle in `folder`, by default the one in the package.

        Raises:
            BundleError: there is none, its manifest is damaged, it has no tail, or releases of none of its presets can
                travel.
        """
        from securesplit.encrypted import seal
        from securesplit.model import encrypted_preset, guarded_preset
        from securesplit.model.bundle import Bundle

        bundle = Bundle.load(folder)
        presets = {TensorSpec(spec.shape, spec.dtype): name for name, spec in bundle.manifest.in_the_open.items()}
        if presets and bundle.manifest.encrypted is None:
            smallest = min(presets, key=lambda spec: spec.nbytes)
            check_travels(presets[smallest], smallest)
        options: dict[str, str | int | float | None] = {"bundle": str(bundle.folder.resolve()), "identity": bundle.id}
        files, encrypted, lacks_tenseal = ["manifest.json", "tail.tflite"], None, False
        if bundle.manifest.guarded is not None:
            files.append(guarded_preset.TAIL)
        if bundle.manifest.encrypted is not None:
            lacks_tenseal = not seal.is_installed()
            files.append(encrypted_preset.TAIL)
            if not lacks_tenseal:
                encrypted = EngineSpec("securesplit.worker.encrypted_engine:of_bundle", options)
        bundle.check_present(files)
        readable = tuple(str((bundle.folder / name).resolve()) for name in files)
        engine = EngineSpec("securesplit.worker.engine:LiteRTEngine", {**options, "threads": 1}, readable, encrypted)
        return cls(bundle.identity, bundle.id, presets, engine, lacks_tenseal)


Served = ServedModel
"""The earlier name, for scripts that serve something of their own; accepted until version 0.2."""
