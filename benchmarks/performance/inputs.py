"""What all peers get: the same photos, networks of the same weights, releases with their right answers, certificates.

Everything lies in one folder, which `benchmarks.peers.peer.Inputs` reads; networks are made once and kept, since that
takes a minute, and are made again when the bundle is another.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.peer import FEATURES, LOOPBACK, Inputs
from benchmarks.peers.registry import SERVED, TENSORFLOW
from benchmarks.performance import random_network
from benchmarks.performance.environments import Environment, NotInstalledError
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.imaging import load_photo, load_square
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model.litert import open_interpreter, signature
from securesplit.pki import issuing
from securesplit.privacy.release import saturate, to_grid
from securesplit_testing.ciphertexts import random_tail

THREADS = 1
"""Of every runtime: one core's work is compared, and a machine has others to do."""
PHOTOS, QUICK_PHOTOS = 32, 3
_PHOTO_SIZE = (600, 450)  # of HAM10000


def prepare(folder: Path, bundle: Bundle, source: Path | None, *, photos: int, networks: bool) -> Inputs:
    """Write the folder.

    Args:
        folder: what is there already and still right stays.
        bundle: whose weights all peers have.
        source: a folder of JPEG files to take the first of, that are seen in their centre; None: synthetic lesions.
        photos: how many.
        networks: the unsplit network in all its forms, too; this needs the ``train`` extra.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_certificates(folder / "certs")
    _write_photos(folder / "photos", source, photos, bundle)
    shutil.copyfile(bundle.folder / "tail.tflite", folder / "tail.tflite")
    specs = {name: bundle.preset(name).spec for name in SERVED}
    presets = {
        name: {"shape": spec.shape, "dtype": spec.dtype, "step": spec.step, "stored": spec.stored_name}
        for name, spec in specs.items()
    }
    facts = {"side": bundle.manifest.side, "threads": THREADS, "presets": presets}
    _write_json(folder / "inputs.json", facts)
    inputs = Inputs(folder)
    _write_answers(inputs, bundle)
    _write_encrypted(inputs, bundle)
    if networks and importlib.util.find_spec("tensorflow"):
        _write_networks(folder, bundle)
        _write_inception(inputs)
    return inputs


def inception(inputs: Inputs) -> Path:
    """The folder that is alike for InceptionResNetV2, with the same photos and certificates."""
    return inputs.folder / "inception"


def answers(inputs: Inputs) -> Mapping[str, list[float]]:
    """The right logits, in the order of the photos.

    Under ``photo`` of the network, under ``photo PRESET`` of ours with that preset, under a preset's name alone of each
    release that is served.
    """
    return dict(json.loads((inputs.folder / "answers.json").read_text()))


def with_bundle(inputs: Inputs, bundle: Path) -> Inputs:
    """The same photos and certificates for ours with another bundle."""
    folder = inputs.folder / bundle.name
    folder.mkdir(exist_ok=True)
    _link(folder, {**_shared(inputs), "inputs.json": inputs.folder / "inputs.json", "bundle": bundle})
    return Inputs(folder)


def _shared(inputs: Inputs) -> dict[str, Path]:
    """What ours needs with any network or bundle."""
    return {name: inputs.folder / name for name in ("photos", "certs")}


def _link(folder: Path, targets: Mapping[str, Path]) -> None:
    """Links by their names in a folder, in the place of those that are there."""
    for name, target in targets.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve())


def _write_certificates(folder: Path) -> None:
    if not folder.exists():
        issuing.create(folder, server_names=[LOOPBACK], clients=["device"], days=30, now=datetime.now(UTC))


def _write_photos(folder: Path, source: Path | None, many: int, bundle: Bundle) -> None:
    """Those whose centre square the bundle's network sees, since peers see no other.

    Synthetic ones stay where they are there already, since drawing them takes a while.
    """
    names = [f"drawn-{number:02}.jpg" for number in range(many)]
    if source is None and folder.exists() and sorted(photo.name for photo in folder.iterdir()) == names:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = zip(names, _drawn(bundle), strict=False) if source is None else _files(source, bundle)
    for name, content in itertools.islice(found, many):
        (folder / name).write_bytes(content)


def _drawn(bundle: Bundle) -> Iterator[bytes]:
    width, height = _PHOTO_SIZE
    above = (width - height) // 2
    for seed in itertools.count():
        stream = io.BytesIO()
        Image.fromarray(draw_lesion(seed, width)[above : above + height]).save(stream, "JPEG", quality=92)
        if _is_seen_in_its_centre(stream.getvalue(), bundle):
            yield stream.getvalue()


def _files(source: Path, bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    for file in sorted(source.rglob("*.jpg")):
        if _is_seen_in_its_centre(content := file.read_bytes(), bundle):
            yield file.name, content


def _is_seen_in_its_centre(photo: bytes, bundle: Bundle) -> bool:
    return load_square(io.BytesIO(photo), bundle.manifest.side, bundle.manifest.framing).crop.by == "centre"


def _write_answers(inputs: Inputs, bundle: Bundle) -> None:
    head, tail = bundle.open_head(THREADS), bundle.open_measured_tail(THREADS)
    embeddings = [head(load_photo(photo, bundle.manifest.side, bundle.manifest.framing)) for photo in inputs.photos]
    found: dict[str, list[float]] = {}
    for preset in bundle.presets:
        spec = bundle.preset(preset).spec
        grids = np.stack([saturate(to_grid(embedding[preset], spec), spec) for embedding in embeddings])
        found[f"photo {preset}"] = [float(logit) for logit in tail(preset, grids)]
        if preset in SERVED:
            np.save(inputs.folder / f"releases-{preset}.npy", grids)
            found[preset] = found[f"photo {preset}"]
    _write_json(inputs.folder / "answers.json", {"photo": found["none"], **found})


def _write_encrypted(inputs: Inputs, bundle: Bundle) -> None:
    """Vectors and a quadratic tail: the bundle's, or a random one; what a ciphertext holds changes no time."""
    tail = bundle.open_encrypted_tail() or random_tail()
    features = np.random.default_rng(1).uniform(-1, 1, (len(inputs.photos), FEATURES)).astype(np.float32)
    together = np.stack([np.roll(features, -n, axis=0)[np.arange(MAX_PHOTOS) % len(features)] for n in (0, 1)])
    np.savez(inputs.folder / "encrypted.npz", features=features, **vars(tail))
    np.save(inputs.folder / "releases-encrypted.npy", features)
    np.save(inputs.folder / "releases-encrypted together.npy", together)
    means = [float(tail.plain(sixteen).mean()) for sixteen in together]
    logits = {"encrypted": tail.plain(features).tolist(), "encrypted together": means}
    _write_json(inputs.folder / "answers.json", dict(answers(inputs)) | logits)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _write_networks(folder: Path, bundle: Bundle) -> None:
    """``whole.keras``, ``whole.tflite``, ``whole.onnx``, ``head.keras`` and ``tail.keras``."""
    _write_keras_networks(folder, bundle)
    converter = Environment("tensorflow", TENSORFLOW)
    if not (folder / "whole.onnx").exists():
        with contextlib.suppress(NotInstalledError):  # then peers that need it say so
            converter.install()
            converter.run("tf2onnx.convert", "--tflite", folder / "whole.tflite", "--output", folder / "whole.onnx")


def _write_keras_networks(folder: Path, bundle: Bundle) -> None:
    mark = folder / "networks.txt"
    if mark.exists() and mark.read_text() == bundle.id:
        return
    from benchmarks.performance import whole_network
    from securesplit.model.splitting import split_at

    whole = whole_network.build(bundle)
    whole.save(folder / "whole.keras")
    _write_litert(folder, whole)
    head, tail, _ = split_at(whole, bundle.manifest.cut)
    head.save(folder / "head.keras")
    tail.save(folder / "tail.keras")
    (folder / "whole.onnx").unlink(missing_ok=True)
    mark.write_text(bundle.id)


def _write_litert(folder: Path, whole: Any) -> None:
    from securesplit.model.convert import Endpoint, convert

    endpoint = Endpoint(lambda photo: {"logit": whole(photo, training=False)}, {"photo": (1, *whole.input_shape[1:])})
    (folder / "whole.tflite").write_bytes(convert({"whole": endpoint}, [whole], "float16"))


def _write_inception(inputs: Inputs) -> None:
    """InceptionResNetV2 of random weights, whole and split at its default cut: what weights it has changes no time."""
    folder, side = inception(inputs), random_network.SIDE
    pixels = np.stack([load_photo(photo, side) for photo in inputs.photos])
    if not (folder / "inputs.json").exists():
        _write_inception_networks(inputs, pixels)
        _write_json(folder / "inputs.json", {"side": side, "threads": THREADS, "presets": {}})
    whole = signature(open_interpreter((folder / "whole.tflite").read_bytes(), THREADS), "whole")
    logits = [float(whole(photo=photo[None].astype(np.float32))["logit"].item()) for photo in pixels]
    _write_json(folder / "answers.json", {"inception": logits})


def _write_inception_networks(inputs: Inputs, pixels: NDArray[np.uint8]) -> None:
    from securesplit.model import packing

    folder, name, cut = inception(inputs), random_network.NAME, random_network.CUT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _link(folder, _shared(inputs))
    network = random_network.build(pixels)
    network.save(folder / "whole.keras")
    _write_litert(folder, network)
    packed = packing.pack(network, cut, pixels, precision="float16")
    about = {"licence": "none: random weights", "provenance": {}}
    packing.write_bundle(
        *(folder / "bundle", packed),
        name="untrained",
        backbone=name,
        cut=cut,
        side=random_network.SIDE,
        about=about,
    )
