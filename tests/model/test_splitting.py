"""Real Keras networks, cut: head∘tail is the whole. Needs TensorFlow.

``SECURESPLIT_ALL_CUTS=1`` tries every valid cut of all four backbones; otherwise three of each. Every tail is run, and
the heads all in one pass, for a head is the network up to its cut. The last whole run: 273 cuts (InceptionResNetV2 104,
MobileNetV2 75, EfficientNetV2B0 64, InceptionV3 30), each with the whole network's answer to the last bit (the limit is
1e-5), in 4 minutes of one core.
"""

from __future__ import annotations

import io
import os
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import h5py
import keras

from securesplit.errors import BundleError, ConfigError
from securesplit.model.backbones import BACKBONES
from securesplit.model.keras_graph import graph_of, unfold
from securesplit.model.logits import logit_network
from securesplit.model.splitting import choose_output, list_cuts, load_network, split_at

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

SIDE = 75  # pixels, the least that the Inception networks take
EVERY_CUT = os.environ.get("SECURESPLIT_ALL_CUTS") == "1"
PHOTOS = np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)


def run(network: Any, inputs: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_numpy, network(inputs, training=False))


@cache
def settled(name: str) -> Any:
    """A backbone of random weights whose batch norms fit the photos, so that its answers differ from each other."""
    network = load_network(name, SIDE)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(PHOTOS, training=True)
    return network


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_head_and_tail_are_the_whole(name: str) -> None:
    network = settled(name)
    whole = run(network, PHOTOS)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3
    cuts = list_cuts(network)
    few = (cuts[0], cuts[len(cuts) // 2], cuts[-1])
    halves = {cut: split_at(network, cut.layer) for cut in (cuts if EVERY_CUT else few)}
    heads = keras.Model(network.input, [head.output for head, _, _ in halves.values()])  # all heads, in one pass
    off = {}
    for (cut, (head, tail, _)), sent in zip(halves.items(), run(heads, PHOTOS), strict=True):
        assert sent.shape[1:] == cut.shape
        assert cut not in few or np.allclose(run(head, PHOTOS), sent, rtol=1e-5, atol=1e-5)
        off[cut.layer] = float(np.abs(run(tail, sent) - whole).max())
    print(f"{name}: {len(off)} of {len(cuts)} cuts, off by at most {max(off.values()):.1e}")
    assert max(off.values()) <= 1e-5, max(off, key=lambda layer: off[layer])


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_default_cut_is_valid(name: str) -> None:
    assert BACKBONES[name].cut in [cut.layer for cut in list_cuts(settled(name))]


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_parameters_add_up(name: str) -> None:
    network = settled(name)
    for cut in list_cuts(network):
        assert cut.head_parameters + cut.tail_parameters == network.count_params()


def test_multiply_adds_are_the_published_ones() -> None:
    cut = list_cuts(load_network("mobilenet_v2", 224))[0]  # nothing but scaling lies before it
    assert cut.tail_multiply_adds == pytest.approx(300e6, rel=0.02)  # Sandler et al. 2018, table 4, without the top


def test_names_do_not_depend_on_what_was_built_before() -> None:
    first = [cut.layer for cut in list_cuts(load_network("inception_v3", SIDE))]
    assert [cut.layer for cut in list_cuts(load_network("inception_v3", SIDE))] == first


def test_a_network_inside_a_network_is_unfolded() -> None:
    inner = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    layers = [keras.layers.Rescaling(1 / 255), inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    network = keras.Sequential(layers)
    network.build((None, SIDE, SIDE, 3))
    flat = unfold(network, SIDE)
    assert "block_13_expand_relu" in [cut.layer for cut in list_cuts(flat)]
    assert np.abs(run(flat, PHOTOS) - run(network, PHOTOS)).max() <= 1e-5


def test_functions_shared_layers_and_open_sizes() -> None:
    photo = keras.Input((None, None, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    x = keras.ops.relu(shared(shared(photo))) * 2.0
    network = unfold(keras.Model(photo, keras.layers.GlobalAveragePooling2D(name="pool")(x)), SIDE)
    cuts = list_cuts(network)
    names = [cut.layer for cut in cuts]
    assert len(set(names)) == len(names) == 4
    assert all(cut.shape == (SIDE, SIDE, 3) for cut in cuts)
    assert [(cut.head_parameters, cut.tail_parameters) for cut in cuts] == [(84, 84), (84, 0), (84, 0), (84, 0)]
    for name in names:
        head, tail, _ = split_at(network, name)
        assert np.abs(run(tail, run(head, PHOTOS)) - run(network, PHOTOS)).max() <= 1e-5


def test_a_branch_is_refused_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match="cannot be cut at 'block_2_expand'") as caught:
        split_at(settled("mobilenet_v2"), "block_2_expand")
    assert "block_1_project_BN and block_2_add" in caught.value.hint


def test_one_of_several_outputs() -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    features = keras.layers.GlobalAveragePooling2D(name="pool")(photo)
    ends = {"malignant": keras.layers.Dense(1)(features), "dx": keras.layers.Dense(7)(features)}
    network = unfold(keras.Model(photo, ends), SIDE)
    assert len(graph_of(network).outputs) == 2
    assert choose_output(network, "dx").output_shape == (None, 7)
    with pytest.raises(ConfigError, match="several outputs") as caught:
        choose_output(network, None)
    assert "malignant, dx" in caught.value.hint
    with pytest.raises(ConfigError, match="no output 'age'"):
        choose_output(network, "age")


def by_name(photo: Any, difference: Any) -> Any:
    """Two convolutions, as a layer or a network inside would answer them under names whose order is not theirs."""
    found = difference({"z": keras.layers.Conv2D(4, 3)(photo), "a": keras.layers.Conv2D(4, 3)(photo)})
    return keras.Model(photo, keras.layers.GlobalAveragePooling2D()(found["z"] - 3 * found["a"]))


class Named(keras.layers.Layer):
    """Answers in a structure."""

    def call(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """As it is given, in another order than the names'."""
        return {"z": tensors["z"] * 1.0, "m": [tensors["z"], (tensors["a"],)], "a": tensors["a"] * 1.0}


def test_what_a_layer_or_an_inner_network_answers_keeps_its_name() -> None:
    inside = {name: keras.Input((SIDE - 2, SIDE - 2, 4), name=name) for name in ("z", "a")}
    doubled = {name: keras.layers.Rescaling(2.0)(tensor) for name, tensor in inside.items()}
    for part in (keras.Model(inside, doubled), Named()):
        network = by_name(keras.Input((SIDE, SIDE, 3)), part)
        assert np.abs(run(unfold(network, SIDE), PHOTOS) - run(network, PHOTOS)).max() <= 1e-5


class Doubled(keras.Model):
    """More than its layers."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Twice what they answer."""
        return 2.0 * super().call(inputs, training=training)


def test_a_network_that_is_more_than_its_layers_is_refused() -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    with pytest.raises(BundleError, match="something else than its layers"):
        unfold(Doubled(photo, keras.layers.GlobalAveragePooling2D()(photo)), SIDE)


def test_layers_applied_again_get_names_that_no_layer_has() -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    x = conv(conv(keras.layers.ReLU(name="conv:3")(conv(photo))))
    network = unfold(keras.Model(photo, keras.layers.GlobalAveragePooling2D()(x)), SIDE)
    names = [cut.layer for cut in list_cuts(network)]
    assert len(set(names)) == len(names) == 4
    for name in names:
        head, tail, _ = split_at(network, name)
        assert np.abs(run(tail, run(head, PHOTOS)) - run(network, PHOTOS)).max() <= 1e-5


@pytest.mark.parametrize("end", [None, "sigmoid", "softmax"])
def test_layers_may_be_called_as_what_is_added_to_a_network(end: str | None) -> None:
    """A network from a file: Keras counts the names of its layers there not among those that it has given."""
    photo = keras.Input((SIDE, SIDE, 3), name="camera")
    x = photo
    for name in ("photo", "release", "reshape", "get_item", "get_item_1", "subtract", "log_sigmoid", "rescaling"):
        x = keras.layers.Rescaling(1.01, name=name)(x)
    x = keras.layers.GlobalAveragePooling2D(name="head")(x)
    saved = keras.Model(photo, keras.layers.Dense(2 if end else 1, end, name="tail")(x))
    keras.utils.clear_session()
    network = logit_network(unfold(saved, SIDE))
    whole = run(network, PHOTOS)
    names = [cut.layer for cut in list_cuts(network)]
    assert {"photo", "release", "reshape", "log_sigmoid", "head"} <= set(names)
    for name in ("photo", "release", "reshape", "head"):
        head, tail, _ = split_at(network, name)
        assert np.abs(run(tail, run(head, PHOTOS)) - whole).max() <= 1e-5 * np.abs(whole).max()


def test_windows_of_a_photo_are_no_cut() -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    third = SIDE // 3
    windows = keras.layers.ReLU(name="windows")(keras.ops.reshape(photo, (-1, third, third, 3)))
    whole = keras.layers.ReLU(name="whole")(keras.ops.reshape(windows, (-1, SIDE, SIDE, 3)))
    network = unfold(keras.Model(photo, keras.layers.GlobalAveragePooling2D()(whole)), SIDE)
    assert [cut.shape for cut in list_cuts(network)] == 2 * [(SIDE, SIDE, 3)]
    with pytest.raises(ConfigError, match=r"cut at 'windows': it gives no one tensor .* for each photo"):
        split_at(network, "windows")
    with pytest.raises(BundleError, match=r"cannot be run \(\w+: (?!Exception encountered)\S"):
        unfold(keras.Model(photo, keras.ops.reshape(photo, (-1, 4, 4, 4))), SIDE)


def test_several_outputs_of_one_layer_or_under_one_name() -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    both = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(photo))
    parts = keras.ops.split(both, 2, axis=-1)
    first, second = run(keras.Model(photo, parts), PHOTOS)
    for outputs, names in ((parts, ("split", "split:1")), ({"risk": list(parts)}, ("risk", "risk:1"))):
        network = keras.Model(photo, outputs)
        with pytest.raises(ConfigError, match="several outputs") as caught:
            choose_output(network, None)
        assert ", ".join(names) in caught.value.hint
        for name, expected in zip(names, (first, second), strict=True):
            assert np.abs(run(choose_output(network, name), PHOTOS) - expected).max() <= 1e-6


def test_a_layer_of_somebody_s_own_is_named(tmp_path: Any) -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    own = Named()(dict.fromkeys("az", photo))
    keras.Model(photo, keras.layers.GlobalAveragePooling2D()(own["z"])).save(tmp_path / "own.keras")
    with pytest.raises(BundleError, match=r"load the network \(class 'Named' is not its own\)"):
        load_network(str(tmp_path / "own.keras"), SIDE)


@keras.saving.register_keras_serializable("tests")
class Stack(keras.layers.Layer):
    """Keeps its layers in a list of lists."""

    def __init__(self, **other: Any) -> None:
        super().__init__(**other)
        self.rows = [[keras.layers.Conv2D(3, 1)]]

    def build(self, shape: Any) -> None:
        """Its one layer."""
        self.rows[0][0].build(shape)

    def call(self, x: Any) -> Any:
        """What that computes."""
        return self.rows[0][0](x)


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15), reason="Keras kept no weights of such layers"
)
def test_a_layer_whose_weights_the_file_lacks_gets_no_random_ones(tmp_path: Any) -> None:
    """Keras only warns of it."""
    photo = keras.Input((SIDE, SIDE, 3))
    keras.Model(photo, keras.layers.GlobalAveragePooling2D()(Stack()(photo))).save(tmp_path / "whole.keras")
    load_network(str(tmp_path / "whole.keras"), SIDE)
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "part.keras", "w") as part:
        for name in whole.namelist():
            content = io.BytesIO(whole.read(name))
            if name.endswith(".h5"):
                with h5py.File(content, "r+") as weights:
                    del weights["layers/stack/rows"]
            part.writestr(name, content.getvalue())
    with pytest.raises(BundleError, match=r"cannot load the network .*Skipping nested container"):
        load_network(str(tmp_path / "part.keras"), SIDE)


def test_what_is_no_network_from_a_photo(tmp_path: Any) -> None:
    numbers = keras.Input((4,))
    with pytest.raises(BundleError, match="not one RGB photo"):
        unfold(keras.Model(numbers, keras.layers.Dense(1)(numbers)), SIDE)
    (tmp_path / "broken.keras").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match="Keras cannot load"):
        load_network(str(tmp_path / "broken.keras"), SIDE)
    with pytest.raises(ConfigError, match="no such file"):
        load_network(str(tmp_path / "absent.keras"), SIDE)
    with pytest.raises(ConfigError, match="no network is called 'vgg'") as caught:
        load_network("vgg", SIDE)
    assert "inception_resnet_v2" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be built"):
        load_network("inception_v3", 40)
    with pytest.raises(ConfigError, match="no such file: absent"):
        load_network("mobilenet_v2", SIDE, Path("absent.weights.h5"))


@pytest.mark.filterwarnings("error")
def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    keras.Model(photo, keras.layers.Conv2D(2, 3)(photo)).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ConfigError, match="mobilenet_v2 cannot be built"):
        load_network("mobilenet_v2", SIDE, tmp_path / "other.weights.h5")
