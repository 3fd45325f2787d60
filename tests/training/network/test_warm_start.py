"""The network of the shipped bundle, read back from its LiteRT halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.privacy.release import release
from training.data.photo import DataError
from training.network.warm_start import network_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


def test_the_network_computes_what_the_bundle_computes() -> None:
    bundle = Bundle.load(None)
    photos = [draw_lesion(seed, 150) for seed in range(3)]
    head, tail, spec = bundle.open_head(), bundle.open_tail(threads=1), bundle.presets["none"].spec
    deployed = [tail("none", release(head(photo)["none"], spec, None)[None])[0] for photo in photos]
    rebuilt = network_of(bundle).predict(np.stack(photos).astype(np.float32), verbose=0)["malignant"][:, 0]
    assert np.ptp(deployed) > 0.1
    np.testing.assert_allclose(rebuilt, deployed, atol=0.02)  # the cut travels as integers, step 1/256


def test_a_bundle_of_another_network_is_refused() -> None:
    bundle = Bundle.load(None)
    other = replace(bundle, manifest=replace(bundle.manifest, backbone="mobilenet_v2"))
    with pytest.raises(DataError, match="no weights of layer Conv1"):
        network_of(other)
