"""DINOv2 against its definition in NumPy, from a file with the names under which its weights are published."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
import safetensors.numpy
from numpy.typing import NDArray
from scipy.special import erf

from securesplit.errors import ConfigError
from training.bundle import from_run
from training.network import dinov2
from training.network.config import Config
from training.network.model import build_model

pytestmark = [pytest.mark.filterwarnings("ignore")]

SIDE, GRID, PUBLISHED_GRID = 28, 3, 6
WIDTH = dinov2.WIDTH
Weights = dict[str, NDArray[np.float32]]


@pytest.fixture(autouse=True)
def _two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2, "BLOCKS", 2)


def drawn_weights() -> Weights:
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + PUBLISHED_GRID**2, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
        "layernorm.bias": (WIDTH,),
    }
    for block in range(dinov2.BLOCKS):
        prefix = f"encoder.layer.{block}."
        linear = {f"attention.attention.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")}
        linear |= {
            "attention.output.dense": (WIDTH, WIDTH),
            "mlp.fc1": (4 * WIDTH, WIDTH),
            "mlp.fc2": (WIDTH, 4 * WIDTH),
        }
        for name, shape in linear.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
        for number in (1, 2):
            shapes |= {f"{prefix}norm{number}.{part}": (WIDTH,) for part in ("weight", "bias")}
            shapes[f"{prefix}layer_scale{number}.lambda1"] = (WIDTH,)
    return {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


def norm(x: Any, weights: Weights, name: str) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Any, weights: Weights, name: str) -> Any:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention(x: Any, weights: Weights, prefix: str) -> Any:
    query, key, value = (
        linear(x, weights, f"{prefix}attention.attention.{name}").reshape(len(x), -1, dinov2.HEADS, 64).swapaxes(1, 2)
        for name in ("query", "key", "value")
    )
    logits = query @ key.swapaxes(-1, -2) / 8
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    seen = (shares / shares.sum(-1, keepdims=True)) @ value
    return linear(seen.swapaxes(1, 2).reshape(x.shape), weights, f"{prefix}attention.output.dense")


def reference(pixels: Any, weights: Weights, positions: Any) -> Any:
    """``(n, 42, 42, 3)`` in 0..255 -> tokens ``(n, 1 + 9, 384)``."""
    x = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    patches = x.reshape(len(x), GRID, 14, GRID, 14, 3).transpose(0, 1, 3, 5, 2, 4).reshape(len(x), GRID * GRID, -1)
    kernel = weights["embeddings.patch_embeddings.projection.weight"].reshape(WIDTH, -1)
    patches = patches @ kernel.T + weights["embeddings.patch_embeddings.projection.bias"]
    first = np.broadcast_to(weights["embeddings.cls_token"], (len(x), 1, WIDTH))
    x = np.concatenate([first, patches], axis=1) + positions
    for block in range(dinov2.BLOCKS):
        prefix = f"encoder.layer.{block}."
        seen = attention(norm(x, weights, f"{prefix}norm1"), weights, prefix)
        x = x + seen * weights[f"{prefix}layer_scale1.lambda1"]
        wide = linear(norm(x, weights, f"{prefix}norm2"), weights, f"{prefix}mlp.fc1")
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = x + linear(wide, weights, f"{prefix}mlp.fc2") * weights[f"{prefix}layer_scale2.lambda1"]
    return norm(x, weights, "layernorm")


def test_the_network_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = drawn_weights()
    published, out = tmp_path / "model.safetensors", tmp_path / "build" / "dinov2.weights.h5"
    safetensors.numpy.save_file({f"dinov2.{name}": values for name, values in weights.items()}, published)
    given = f"dinov2 --safetensors {published} --side {SIDE} --out {out}"
    monkeypatch.setattr(sys, "argv", given.split())
    dinov2.main()
    network = dinov2.build(SIDE, out)
    photos = np.random.default_rng(2).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    enlarged = keras.Model(network.input, network.get_layer("enlarge").output)(photos)
    token, positions = network.get_layer("tokens").get_weights()
    np.testing.assert_array_equal(token, weights["embeddings.cls_token"])
    np.testing.assert_array_equal(positions[:, :1], weights["embeddings.position_embeddings"][:, :1])
    tokens = reference(np.asarray(enlarged), weights, positions)
    found = np.asarray(network(photos))
    np.testing.assert_allclose(found[..., :WIDTH].reshape(2, -1, WIDTH), tokens[:, 1:], atol=2e-3)
    np.testing.assert_allclose(found[:, 0, 0, WIDTH:], tokens[:, 0], atol=2e-3)
    np.testing.assert_array_equal(found[:, 2, 1, WIDTH:], found[:, 0, 0, WIDTH:])


def test_positions_are_resampled_smoothly() -> None:
    row = np.linspace(0, 1, PUBLISHED_GRID, dtype=np.float32)
    squares = np.broadcast_to(row[None, :, None], (PUBLISHED_GRID, PUBLISHED_GRID, WIDTH)).reshape(1, -1, WIDTH)
    positions = np.concatenate([np.full((1, 1, WIDTH), 7, np.float32), squares], axis=1)
    found = dinov2._resampled(positions, GRID)
    assert found[0, 0, 0] == 7
    np.testing.assert_allclose(found[0, 1 : 1 + GRID, 0], [0.1, 0.5, 0.9], atol=0.02)


@pytest.mark.parametrize("missing", ["embeddings.cls_token", "encoder.layer.1.mlp.fc2.weight"])
def test_a_file_without_its_weights_is_refused(tmp_path: Path, missing: str) -> None:
    weights = drawn_weights()
    del weights[missing]
    file = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(weights, file)
    with pytest.raises(ConfigError, match=f"does not hold {missing}") as caught:
        dinov2.load_safetensors(dinov2.build(SIDE), file)
    assert caught.value.hint


def wider(weights: Weights) -> Weights:
    """As of dinov2-base."""
    sizes = {WIDTH: 2 * WIDTH, 4 * WIDTH: 8 * WIDTH}
    return {name: np.zeros([sizes.get(n, n) for n in values.shape], np.float32) for name, values in weights.items()}


def deeper(weights: Weights) -> Weights:
    """Of as wide a network with another block."""
    return weights | {name.replace("layer.1.", "layer.2."): values for name, values in weights.items()}


def with_registers(weights: Weights) -> Weights:
    """As of dinov2-with-registers-small, whose other weights all fit (Darcet et al. 2024)."""
    return weights | {"embeddings.register_tokens": np.zeros((1, 4, WIDTH), np.float32)}


def without_a_square(weights: Weights) -> Weights:
    """Of positions."""
    name = "embeddings.position_embeddings"
    return weights | {name: weights[name][:, :-1]}


@pytest.mark.parametrize("change", [wider, deeper, with_registers, without_a_square])
def test_another_network_of_the_family_is_refused(tmp_path: Path, change: Callable[[Weights], Weights]) -> None:
    file, own = tmp_path / "model.safetensors", drawn_weights() | {dinov2.MASK: np.zeros((1, WIDTH), np.float32)}
    safetensors.numpy.save_file({f"dinov2.{name}": values for name, values in own.items()}, file)
    dinov2.load_safetensors(dinov2.build(SIDE), file)
    safetensors.numpy.save_file({f"dinov2.{name}": values for name, values in change(own).items()}, file)
    with pytest.raises(ConfigError, match=r"does not fit|also holds") as caught:
        dinov2.load_safetensors(dinov2.build(SIDE), file)
    assert "dinov2-small" in caught.value.hint


def test_what_cannot_be_written_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dinov2", "--safetensors", "none", "--out", "a.h5"])
    with pytest.raises(ConfigError, match=r"does not end in \.weights\.h5"):
        dinov2.main()


def test_a_file_of_another_kind_or_side_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match="cannot read"):
        dinov2.load_safetensors(dinov2.build(SIDE), file)
    file.write_bytes(b"{" * 40)
    with pytest.raises(ConfigError, match="cannot read"):
        dinov2.load_safetensors(dinov2.build(SIDE), file)
    other = tmp_path / "other.weights.h5"
    dinov2.build(SIDE * 2).save_weights(other)
    with pytest.raises(ConfigError, match="dinov2_small cannot be built"):
        dinov2.build(SIDE, other)


def test_it_teaches_malignant_and_diagnoses_but_has_no_cut() -> None:
    network = build_model(Config(dinov2.NAME, side=SIDE, outputs="auxiliary", batch_norm="frozen"))
    assert {name: tuple(end.shape) for name, end in network.output.items()} == {"malignant": (None, 1), "dx": (None, 7)}


def test_a_bundle_of_it_wants_a_cut_that_is_named() -> None:
    with pytest.raises(ConfigError, match="dinov2_small has no cut of its own") as caught:
        from_run.own_cut(dinov2.NAME)
    assert "--at" in str(caught.value.hint)
    assert from_run.own_cut("efficientnetv2b0") == "block6b_add"
