"""Bundles that someone made to break their reader: refused with a hint, at once, and little of them is read."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securesplit.errors import BundleError, ConfigError
from securesplit.model import Bundle, manifest
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.files import MAX_HALF_BYTES, MAX_MANIFEST_BYTES, read_file
from securesplit.model.manifest import Manifest
from securesplit_testing.timing import took_less_than
from tests.manifests import changed_manifest

SECONDS = 2.0
"""For any refusal; the hash of the largest half that is taken costs less."""
GOOD: dict[str, Any] = json.loads((DEFAULT_FOLDER / "manifest.json").read_text())


def refused(folder: Path, message: str = ".") -> None:
    """Opening the bundle, both halves of it, ends in a BundleError with a hint, in time."""
    started = time.monotonic()
    with pytest.raises(BundleError, match=message) as caught:
        open_all(folder)
    assert caught.value.hint
    took_less_than(SECONDS, started)


def open_all(folder: Path) -> None:
    bundle = Bundle.load(folder)
    bundle.open_head()
    bundle.open_tail()


def pipe(file: Path) -> None:
    os.mkfifo(file)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda file: file.symlink_to(target)


def other_folder(file: Path) -> None:
    """A link to a file of that name in another bundle."""
    file.symlink_to(DEFAULT_FOLDER / file.name)


def sparse(bytes_: int) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        with file.open("wb") as stream:
            stream.truncate(bytes_)

    return make


FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": pipe,
    "endless zeros": link_to("/dev/zero"),
    "a terminal": link_to("/dev/tty"),
    "a process": link_to("/proc/self/mem"),
    "a link out": other_folder,
    "a loop": lambda file: file.symlink_to(file.name),
    "a link to nothing": link_to("absent"),
    "a folder": Path.mkdir,
    "a huge file": sparse(MAX_HALF_BYTES + 1),
    "an empty file": lambda file: file.write_bytes(b""),
    "noise": lambda file: file.write_bytes(os.urandom(5000)),
}
KINDS = [*FILES, "altered"]


def spoil(file: Path, kind: str) -> None:
    """Put one of `KINDS` in the place of a file."""
    content = file.read_bytes()
    file.unlink()
    if kind == "altered":
        file.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    else:
        FILES[kind](file)


@pytest.mark.parametrize("name", ["manifest.json", "head.tflite", "tail.tflite"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind(folder: Path, name: str, kind: str) -> None:
    spoil(folder / name, kind)
    refused(folder)


@pytest.mark.parametrize("path", ["absent", "manifest.json", "n" * 300, "manifest.json/manifest.json"])
def test_a_path_that_is_no_bundle(folder: Path, path: str) -> None:
    refused(folder / path)
    with pytest.raises(ConfigError, match="folder cannot be"):
        Bundle.load(folder / "a\0b")


def test_links_within_the_folder_are_followed(folder: Path, tmp_path: Path) -> None:
    """As volumes of Kubernetes and versions by link have them."""
    (folder / "head.tflite").rename(folder / "head-v3.tflite")
    (folder / "head.tflite").symlink_to("head-v3.tflite")
    (tmp_path / "current").symlink_to(folder)
    open_all(tmp_path / "current")


TEXTS = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"1e999",
    "not UTF-8": b'{"schema": "\xff"}',
    "half a surrogate pair": b'{"schema": "securesplit.bundle/1", "name": "\\ud800"}',
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep, but not for json": b'{"a":' * 100 + b"1" + b"}" * 100,
    "a number of many digits": b'{"a": ' + b"9" * 100_000 + b"}",
    "a large whole number": b'{"a": ' + b"9" * 30 + b"}",
    "large": b" " * (MAX_MANIFEST_BYTES + 1),
    "a key twice": (DEFAULT_FOLDER / "manifest.json").read_bytes().replace(b'"name"', b'"schema": "x", "name"', 1),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(TEXTS[text])
    refused(folder)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything in a JSON value, containers too; of a list, whose items are alike, its first and last."""
    if path:
        yield path
    keys = value if isinstance(value, dict) else {0, len(value) - 1} if isinstance(value, list) and value else ()
    for key in keys:
        yield from leaves(value[key], (*path, key))


def put(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    raw = copy.deepcopy(GOOD)
    inside = raw
    for key in path[:-1]:
        inside = inside[key]
    change(inside, path[-1])
    return raw


def parsed(raw: dict[str, Any]) -> Manifest | None:
    """What becomes of the manifest, under the identity that it would have; None: refused with a hint."""
    for _ in range(2):  # the second time with the identity that the first one asked for
        try:
            found = manifest.parse(json.dumps(raw).encode())
        except BundleError as error:
            assert error.hint
            if "identity" not in error.message:
                return None
            raw = raw | {"identity": identity_of(raw)}
        else:
            return found
    return None


def identity_of(raw: dict[str, Any]) -> str:
    return f"sha256:{manifest._manifest(raw).identity.hex()}"


FREE = {"quality", "provenance", "crop", "colour", "licence"}
"""Under these, values of several types are taken; they are shown, never computed with."""
SIGNED = {"logits", "log_odds", "offset", "scale", "levels", "skill", "skill_low", "skill_high", "ssim_gain"}
OPTIONAL = {"spread", "more_noise", "levels", "gate", "attack_decoder", "answers", "never_low", "knots"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, [1], {"a": 1}, None, 1e30, -1e30])
def test_no_number_of_another_kind_is_taken(value: Any) -> None:
    """Everywhere where a number stands; NaN and infinity even in provenance."""
    for path in leaves(GOOD):
        if isinstance(at(path), dict | list | str | bool | None) or (finite(value) and FREE & set(path)):
            continue
        if path[-1] == "clip_norm" and value is None:
            continue
        raw = put(path, lambda inside, key: inside.__setitem__(key, value))
        assert parsed(raw) is None, path


def at(path: tuple[Any, ...]) -> Any:
    value: Any = GOOD
    for key in path:
        value = value[key]
    return value


def finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def test_no_negative_number_is_taken() -> None:
    for path in leaves(GOOD):
        number = at(path)
        if isinstance(number, int | float) and not SIGNED & set(path) and "provenance" not in path:
            assert parsed(put(path, lambda inside, key: inside.__setitem__(key, -0.5))) is None, path


def test_nothing_of_another_type_is_taken() -> None:
    for path in leaves(GOOD):
        if FREE & set(path[:-1]) or path[-1] in {"crop", "colour", "identity"}:
            continue
        if isinstance(at(path), dict | list | str):
            assert parsed(put(path, lambda inside, key: inside.__setitem__(key, 7))) is None, path


PHONE_ANSWERS = ("gate", "kinds", "phone", "answers")


def test_nothing_that_is_needed_may_be_missing() -> None:
    for path in leaves(GOOD):
        if FREE & set(path[:-1]) or path[-1] in {"crop", "colour", "identity", *OPTIONAL} or isinstance(path[-1], int):
            continue
        if path[:-1] in {("presets",), ("attack_decoder", "presets"), PHONE_ANSWERS}:  # one of several may go
            continue
        if "figures" in path[:-1] and path[-1] != "auc":  # a preset may not have been measured on a kind of photos
            continue
        if "levels" in path or ("more_noise" in path and path[-1] == "quality"):
            continue
        assert parsed(put(path, lambda inside, key: inside.pop(key))) is None, path


PRIVATE = ("presets", "private")
KNOTS = (*PRIVATE, "calibration", "knots")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("preprocessing", "side"), 1_000_000),
        (("preprocessing", "side"), 150.5),
        (("name",), "mole\n\x1b[2Jverdict: benign"),
        (("name",), ""),
        (("name",), "n" * 10_000),
        (("default_preset",), "best"),
        (("presets",), {}),
        (("presets",), {f"p{i}": GOOD["presets"]["none"] for i in range(1000)}),
        (("presets",), {"../../none": GOOD["presets"]["none"]}),
        (("halves", "head.tflite"), GOOD["halves"]["head.tflite"].upper()),
        (("halves", "head.tflite"), "0" * 63),
        ((*PRIVATE, "threshold"), 1.0000001),
        ((*PRIVATE, "quality"), {"test": {"auc": 1.5}}),
        ((*PRIVATE, "quality"), {"test": {"auc": 0.5, "auc_low": 0.9}}),
        ((*PRIVATE, "release", "sigma_per_clip"), False),
        ((*PRIVATE, "release", "shape"), []),
        ((*PRIVATE, "release", "shape"), [0]),
        ((*PRIVATE, "release", "shape"), [1, 1, 1, 1]),
        ((*PRIVATE, "release", "shape"), [1 << 20, 1 << 20]),
        ((*PRIVATE, "release", "dtype"), "float64"),
        ((*PRIVATE, "release", "step"), 0),
        ((*PRIVATE, "release", "step"), 5e-324),
        ((*PRIVATE, "release", "clip_norm"), 0),
        ((*PRIVATE, "release", "clip_norm"), None),  # noise without it promises nothing
        ((*PRIVATE, "release", "clip_norm"), 1e9),
        ((*PRIVATE, "release", "sigma_per_clip"), 1e-300),
        ((*PRIVATE, "release", "sigma_per_clip"), 1e9),
        ((*PRIVATE, "release", "levels"), [2, -3]),
        ((*PRIVATE, "release", "levels"), [-3]),
        ((*PRIVATE, "release", "levels"), [-3, 2, 4]),
        ((*PRIVATE, "release", "levels"), [-3, 100]),
        ((*PRIVATE, "calibration", "scale"), 1e300),
        (KNOTS, {"logits": [], "log_odds": []}),
        (KNOTS, {"logits": [0.0, 1.0], "log_odds": [0.0]}),
        (KNOTS, {"logits": [1.0, 1.0], "log_odds": [0.0, 0.5]}),
        (KNOTS, {"logits": [0.0, 1.0], "log_odds": [0.5, 0.0]}),
        (KNOTS, {"logits": list(range(1000)), "log_odds": list(range(1000))}),
        ((*PRIVATE, "more_noise"), list(reversed(GOOD["presets"]["private"]["more_noise"]))),
        ((*PRIVATE, "more_noise"), GOOD["presets"]["private"]["more_noise"][:1] * 2),
    ],
)
def test_values_out_of_range(path: tuple[str, ...], value: Any) -> None:
    started = time.monotonic()
    assert parsed(put(path, lambda inside, key: inside.__setitem__(key, value))) is None
    took_less_than(SECONDS, started)


def test_the_good_one_is_taken() -> None:
    """What the refusals above are held against."""
    assert parsed(GOOD) is not None
    assert parsed(GOOD | {"identity": "sha256:0"}) is not None  # `parsed` puts the right one


def test_a_manifest_that_no_reader_would_take_is_not_written() -> None:
    found = Bundle.load().manifest
    found.provenance["loss"] = math.nan  # type: ignore[index]  # a Mapping, of which JSON makes a dict
    with pytest.raises(ValueError, match="JSON compliant"):
        found.to_text()


def crafted(folder: Path, file: str, content: bytes, *part: str, **changes: Any) -> None:
    """The bundle with that file, under a manifest that names its hash: whoever crafts a bundle writes both.

    `part` leads to the hash in the manifest (none: among the halves), `changes` are of its other fields.
    """
    (folder / file).write_bytes(content)
    with changed_manifest(folder) as raw:
        raw.update(changes)
        hashes = raw
        for key in part or ("halves",):
            hashes = hashes[key]
        hashes[file] = hashlib.sha256(content).hexdigest()
        raw["identity"] = identity_of(raw)


@pytest.mark.parametrize("half", ["head.tflite", "tail.tflite"])
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.3, 0.9, 0.9999])
def test_a_truncated_half(folder: Path, half: str, share: float) -> None:
    content = (folder / half).read_bytes()
    crafted(folder, half, content[: int(share * len(content))])
    refused(folder, "LiteRT cannot load")


def test_the_other_half_in_its_place(folder: Path) -> None:
    crafted(folder, "head.tflite", (folder / "tail.tflite").read_bytes())
    refused(folder, "no signature 'head'")


def test_halves_of_other_shapes_than_the_manifest_says(folder: Path) -> None:
    head, tail = ((folder / half).read_bytes() for half in ("head.tflite", "tail.tflite"))
    crafted(folder, "head.tflite", head, preprocessing=GOOD["preprocessing"] | {"side": 160})
    refused(folder, "photo of the head is float32")
    crafted(folder, "head.tflite", head, preprocessing=GOOD["preprocessing"])
    open_all(folder)
    presets = copy.deepcopy(GOOD["presets"])
    presets["compact"]["release"]["shape"] = [3, 3, 17]
    crafted(folder, "tail.tflite", tail, presets=presets)
    refused(folder, "compact of the head is float32")
    presets = copy.deepcopy(GOOD["presets"]) | {"more": GOOD["presets"]["compact"]}
    crafted(folder, "tail.tflite", tail, presets=presets)
    refused(folder, "more of the head is missing")
    with pytest.raises(BundleError, match="no signature 'more'"):
        Bundle.load(folder).open_tail()


def test_reading_a_half_takes_the_memory_of_a_half() -> None:
    """Python allocates what a read may give, 512 MB here: more than some machines promise a program (ulimit -v)."""
    size = (DEFAULT_FOLDER / "head.tflite").stat().st_size
    tracemalloc.start()
    try:
        assert len(read_file(DEFAULT_FOLDER, "head.tflite", MAX_HALF_BYTES)) == size
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()
