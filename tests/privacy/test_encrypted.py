"""The preset ``encrypted``: ciphertexts tell a worker nothing, the integers in them would tell all; answers hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.audit import baselines, registry, suite
from securesplit.audit.attack import AnytimeStep
from securesplit.audit.attacks import attributes, averaging, identification, ridge, stealing
from securesplit.audit.ciphertexts import BLOCKS, encrypted
from securesplit.audit.context import AuditContext
from securesplit.audit.encrypted import CiphertextObservations
from securesplit.audit.measurements import summary
from securesplit.audit.results import NotRun
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.tail import ERROR, EncryptedTail, EvaluationKeys, answer_scale
from securesplit.errors import ConfigError
from securesplit.model import Bundle
from tests.privacy.conftest import SMALL

pytest.importorskip("tenseal", reason="TenSEAL is not installed (the encrypted extra)")
pytest.importorskip("sklearn")

FEW = replace(SMALL, auxiliary=300, targets=50, candidates=(50,))
MAX_AUC_LOST = 0.002
MAX_SKILL = 0.1


@pytest.fixture(scope="module")
def encrypted_audit(tmp_path_factory: pytest.TempPathFactory) -> AuditContext:
    """An audit of the preset on a few synthetic lesions, prepared."""
    return suite.prepare(Bundle.load(), None, tmp_path_factory.mktemp("encrypted"), FEW, ("encrypted",), lambda _: None)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_within_two_tenths_of_a_point_of_the_undefended(split: str) -> None:
    """By the manifest, without what encryption changes an answer by."""
    quality = {name: preset.quality[split]["auc"] for name, preset in Bundle.load().presets.items()}
    assert quality["none"] - quality["encrypted"] <= MAX_AUC_LOST


@pytest.mark.parametrize("together", [1, 16])
def test_encryption_hardly_changes_an_answer(together: int) -> None:
    """A probability moves by at most a quarter of that."""
    tail = Bundle.load().open_encrypted_tail()
    assert tail is not None
    device, worker = DeviceKey(), EncryptedTail(tail)
    keys = EvaluationKeys(*device.evaluation_keys, device.layout)
    features = np.random.default_rng(3).uniform(-1, 1, (16, 256))
    asked = features.reshape(-1, together, 256)
    answers = [worker.answer(device.encrypt(of_request), together, keys) for of_request in asked]
    scale = answer_scale(device.parameters)
    logits = np.concatenate([device.decrypt(answer, together, scale)[:, 0] for answer in answers])
    np.testing.assert_allclose(logits, tail.plain(features), atol=ERROR)


def test_the_manifest_says_what_a_device_could_answer_alone() -> None:
    """A linear probe of the features: with the shipped bundle the tail adds next to nothing to it."""
    found = Bundle.load().manifest.provenance["encrypted"]["auc_of_a_linear_probe_of_the_features"]
    quality = Bundle.load().preset("encrypted").quality
    assert all(found[split] == pytest.approx(quality[split]["auc"], abs=0.01) for split in ("validation", "test"))


def on_integers(context: AuditContext) -> AuditContext:
    """The positive control: the same audit, had the integers been sent as they are."""
    found = context.observations["encrypted"]
    assert isinstance(found, CiphertextObservations)
    return replace(context, observations=context.observations | {"encrypted": found.client})


def test_a_photo_is_not_picked_out_by_its_ciphertext(encrypted_audit: AuditContext) -> None:
    """A6 among 50, for the attacker that has every candidate encrypted under the victim's key."""
    result, control = (
        identification.run(context, "encrypted", 50, 1) for context in (encrypted_audit, on_integers(encrypted_audit))
    )
    assert isinstance(result, identification.IdentificationResult)
    assert isinstance(control, identification.IdentificationResult)
    assert control.top1.mean == 1.0
    assert result.strongest.mean <= 3 * result.label_only.mean
    assert result.certified_bound == 1.0, "it rests on an assumption, not on noise"


def test_what_a_ciphertext_tells_is_held_against_no_answer(encrypted_audit: AuditContext) -> None:
    """A worker reads none; against an attacker that does, bytes could tell as much as the answer and pass."""
    result = identification.run(encrypted_audit, "encrypted", 50, 1)
    assert isinstance(result, identification.IdentificationResult)
    assert result.label_only.mean == pytest.approx(1 / 50)
    known = encrypted_audit.known("encrypted")
    seen, logits = encrypted_audit.observations["encrypted"].observe(seed=1)
    malignant = encrypted_audit.observations["encrypted"].says_malignant(logits)
    assert baselines.class_mean(known, malignant) == pytest.approx(baselines.mean_image(known, len(seen)))
    attribute = attributes.run(encrypted_audit, "encrypted", "lesion size")
    assert isinstance(attribute, attributes.AttributeResult)
    assert attribute.label_only.mean == attribute.answer_only.mean == 0.5


def rebuilt(context: AuditContext) -> float:
    """A1's skill over the class mean."""
    return float(ridge.run(context, "encrypted").skill.mean)


def test_a_photo_is_not_rebuilt_from_its_ciphertext(encrypted_audit: AuditContext) -> None:
    """Random numbers in place of ciphertexts were seen to give -0.29 to 0.05, the integers 0.19 and more."""
    assert rebuilt(encrypted_audit) <= MAX_SKILL
    assert rebuilt(on_integers(encrypted_audit)) > 0.05 + MAX_SKILL


def test_a_ciphertext_s_bytes_hang_together_with_nothing_in_it() -> None:
    """Photos that are extremes: all features at one end, and all at the other."""
    spec = Bundle.load().preset("encrypted").spec
    ends = [np.full((30, 256), value, np.int16) for value in (-32767, 32767)]
    low, high = (encrypted(end, spec) for end in ends)
    assert low.shape == (30, BLOCKS)
    assert len(np.unique(low, axis=0)) == 30, "no ciphertext is sent twice"
    assert np.abs(low.mean(0) - high.mean(0)).max() < 6 * np.sqrt(2 / 30)
    assert np.concatenate([low, high]).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("attack", ["A2", "A4", "A12"])
def test_attacks_that_make_no_sense_say_so(encrypted_audit: AuditContext, attack: str) -> None:
    context = replace(encrypted_audit, profile=replace(encrypted_audit.profile, search_photos=2))
    spec = next(spec for spec in registry.ATTACKS if spec.id == attack)
    (step,) = spec.named_steps(context, "encrypted").values()
    assert not isinstance(step, AnytimeStep)
    found = step()
    assert isinstance(found, NotRun)
    assert found.left_out
    assert found.reason in ("a ciphertext has no gradients by the photo", "a worker learns no answer")


def test_averaging_gets_fresh_ciphertexts(encrypted_audit: AuditContext) -> None:
    assert list(averaging.SPEC.named_steps(encrypted_audit, "encrypted")) == ["encrypted A5 4"]
    found = encrypted_audit.observations["encrypted"]
    few = replace(found, client=replace(found.of_client, targets=found.of_client.targets[:3]))  # type: ignore[call-arg]
    averaged, _ = few.observe(seed=1, releases=4)
    assert averaged.shape == (3, BLOCKS)
    assert averaged.std() == pytest.approx(0.5, abs=0.1), "four of them, all different"


def test_a_curious_client_asks_about_its_own_integers(encrypted_audit: AuditContext) -> None:
    """A13 is about the tail: from ciphertexts of its own a client has answers, and learns from them."""
    result = stealing.run(encrypted_audit, "encrypted")
    assert result.agreement.mean > result.majority.mean


def test_a_request_fits_into_200_kb(encrypted_audit: AuditContext) -> None:
    found = summary(encrypted_audit, "encrypted")
    assert found.request_bytes <= 200_000
    assert found.epsilon is None
    assert found.distinct_releases_of_64 == 1


def test_without_tenseal_the_preset_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigError("the preset encrypted needs TenSEAL", hint="install tenseal")

    lines: list[str] = []
    monkeypatch.setattr("securesplit.encrypted.seal.library", missing)
    assert suite._presets(Bundle.load(), lines.append) == ("none", "compact", "certified")
    assert lines == ["note: left out: the preset encrypted needs TenSEAL; install tenseal"]
