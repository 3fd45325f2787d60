"""``securesplit split``: a network becomes a bundle of head and tail."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.settings import command
from securesplit.cli.split_options import load_network, network_argument, network_options, pixels_option
from securesplit.cli.targets import check_writable
from securesplit.errors import BundleError, ConfigError, PhotoError
from securesplit.results import Framing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from securesplit.privacy.release import ReleaseSpec

MAX_CALIBRATION_PHOTOS = 64
DRAWN_PHOTOS = 16


@command()
@network_argument
@click.option(
    "--at", "layer", required=True, metavar="LAYER", help="Where to cut; `securesplit cuts NETWORK` lists it."
)
@click.option("--out", type=param_types.Location(), metavar="BUNDLE", help="Folder of the bundle to make.")
@click.option(
    "--head-only", type=param_types.Location(), metavar="FILE.tflite", help="Write the head alone, for a phone."
)
@network_options
@pixels_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float16",
    show_default=True,
    help="Of the weights; int8 also of the arithmetic.",
)
@click.option(
    "--calibration",
    type=param_types.Location(),
    metavar="FOLDER",
    help=f"Photos that set the ranges; up to {MAX_CALIBRATION_PHOTOS} are used.  [default: synthetic lesions]",
)
@click.option(
    "--framing",
    type=click.Choice(get_args(Framing)),
    default="centre square",
    show_default=True,
    help="What devices show the network: the photo's centre, or closer where a lesion is small.",
)
@click.option("--name", metavar="TEXT", help="Name of the bundle.  [default: the network's, at the layer]")
@click.option("--licence", metavar="TEXT", default="not stated", show_default=True, help="Of the weights.")
@click.option("--provenance", metavar="KEY=VALUE", multiple=True, help="For the manifest; may be repeated.")
@native_stderr.held_back()
def split(
    model: str,
    layer: str,
    out: Path | None,
    head_only: Path | None,
    side: int,
    weights: Path | None,
    output: str | None,
    pixels: str,
    precision: str,
    calibration: Path | None,
    framing: Framing,
    name: str | None,
    licence: str,
    provenance: tuple[str, ...],
) -> None:
    """Split NETWORK at LAYER into a bundle with the preset `none`, the undefended cut.

    NETWORK is a .keras, .onnx or .pt2 (torch.export) file, or a backbone by name. A bundle needs a network that ends in
    one logit or probability of malignant, or in two of (benign, malignant). Nothing that exists is overwritten.

    \b
    Example:
      securesplit split mine.keras --at block6b_add --out mine
      securesplit diagnose --embedded --model mine --privacy none mole.jpg
    """
    about = {"licence": licence, "provenance": _pairs(provenance)}
    _check_targets(out, head_only)
    from securesplit.model import packing, splitting

    network = splitting.choose_output(load_network(model, side, weights), output)
    shape = splitting.split_at(network, layer)[2].shape
    described = {"name": name or f"{network.name}-{layer}", "backbone": network.name, "cut": layer}
    described |= {"side": int(network.input_shape[1]), "framing": framing, "about": about}
    if out is not None:
        packing.check_described(**described)
    photos = _photos(calibration, network.input_shape[1:], framing)
    if out is None:
        content = packing.pack_head(network, layer, photos, precision=precision, pixels=pixels)
    else:
        packed = packing.pack(network, layer, photos, precision=precision, pixels=pixels)
        content = packed.head
        manifest = packing.write_bundle(out, packed, **described)
        terminal.answer(f"{out}: bundle sha256:{manifest.identity.hex()}, preset none, {shape} int16")
        terminal.answer(packed.parity.line())
        _warn_of_size(packed.spec)
    if head_only is not None:
        _write_new(head_only, content)
        terminal.answer(f"{head_only}: head up to {layer}, {len(content) / 1e6:.2f} MB, answers {shape}")


def _warn_of_size(spec: ReleaseSpec) -> None:
    """Say so where the bundle is good for an audit and no worker would take its releases."""
    from securesplit.channel.payload import check_travels
    from securesplit.channel.tensor import TensorSpec

    try:
        check_travels(spec.preset, TensorSpec(spec.shape, spec.dtype))
    except BundleError as error:
        terminal.note(f"warning: {error.message}: the bundle can be audited, and not served")
        terminal.note("hint: cut where the tensor is smaller (securesplit cuts), to have it served")


def _check_targets(out: Path | None, head_only: Path | None) -> None:
    """Refuse before minutes of work rather than after."""
    if out is None and head_only is None:
        raise ConfigError("nothing to write", hint="give --out BUNDLE or --head-only FILE")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already", hint="choose another --out")
    if head_only is not None and head_only.exists():
        raise ConfigError(f"{head_only} is there already", hint="choose another --head-only")
    if out is not None and head_only is not None and head_only.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{head_only} would lie in the bundle", hint="choose another --head-only")
    if out is not None and not out.is_dir():
        check_writable(out, "--out", makes_parents=True)
    if head_only is not None:
        check_writable(head_only, "--head-only", makes_parents=True)


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"--provenance {text!r} is not KEY=VALUE", hint="for example --provenance data=HAM10000")
    return dict(text.split("=", 1) for text in texts)


def _photos(folder: Path | None, shape: tuple[Any, ...], framing: Framing) -> NDArray[np.uint8]:
    """``(n, side, side, 3) uint8`` to calibrate with."""
    import numpy as np

    from securesplit.imaging import load_photo
    from securesplit.imaging.synthetic import draw_lesion
    from securesplit.model.keras_graph import square_side

    side = square_side(shape[:2])
    if folder is None:
        return np.stack([draw_lesion(seed, side) for seed in range(DRAWN_PHOTOS)])
    found = []
    for path in itertools.islice(sorted(folder.glob("*")), 4 * MAX_CALIBRATION_PHOTOS):
        try:
            found.append(load_photo(path, side, framing))
        except PhotoError:
            continue  # a folder of photos may hold a list or a thumbnail database too
    if not found:
        raise ConfigError(f"no photo in {folder}", hint="name a folder of photos, or leave --calibration out")
    return np.stack(found[:MAX_CALIBRATION_PHOTOS])


def _write_new(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as stream:
            stream.write(content)
    except OSError as error:
        raise ConfigError(f"cannot write {file} ({error.strerror})", hint="choose another --head-only") from None
