"""The figures in docs/faq.md are those of the model card, the manifest and the exact accounting."""

from __future__ import annotations

import json
import math
import re

import pytest

from securesplit import Bundle
from securesplit.audit.measurements import REQUEST_OVERHEAD_BYTES
from securesplit.encrypted.messages import REQUEST_BYTES
from securesplit.text import rounded_up
from tests.conftest import REPO

TEXT = (REPO / "docs" / "faq.md").read_text(encoding="utf-8")
ANSWERS = {a.split("\n", 1)[0]: " ".join(a.split("\n", 1)[1].split()) for a in TEXT.split("\n## ")[1:]}
BUNDLE = Bundle.load()
CARD = json.loads((REPO / "docs" / "model_card" / "figures.json").read_text(encoding="utf-8"))
TABLES = (REPO / "docs" / "model_card" / "MODEL_CARD.md").read_text(encoding="utf-8")
CERTIFIED, DEFAULT = BUNDLE.presets["certified"], BUNDLE.preset()


def interval(low: float, value: float, high: float, digits: int = 3) -> str:
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def of_card(preset: str, figure: str) -> dict[str, float]:
    return CARD["presets"][preset]["test"][figure]


def decoder(preset: str) -> tuple[float, float, float]:
    found = BUNDLE.manifest.attack_decoder.presets[preset]
    return round(found.skill_low, 2) + 0.0, found.skill, found.skill_high  # no -0.00


def group(name: str) -> list[str]:
    row = next(line for line in TABLES.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def expected() -> dict[str, list[str]]:
    """By the start of each question, the figures that its answer must give."""
    auc, phone = of_card("certified", "auc"), BUNDLE.manifest.gate.kinds["phone"]
    own, probe = DEFAULT.quality["test"], BUNDLE.manifest.provenance["encrypted"]
    linear = probe["auc_of_a_linear_probe_of_the_features"]["test"]
    shown, loss = phone.answers["encrypted"][0].quality["validation"], CERTIFIED.spec.loss
    by_epsilon = {epsilon: CERTIFIED.with_epsilon(epsilon, 1e-5).accuracy for epsilon in (8, 1)}
    assert loss.times(4).identification_bound(1000) == 1
    assert by_epsilon[1].is_chance
    assert not by_epsilon[8].is_chance
    return {
        "Does it tell me": [
            f"{CARD['counts']['test']['photos']:,} test photos",
            f"AUC of {interval(own['auc_low'], own['auc'], own['auc_high'])}",
            f"misses {100 * (1 - own['sensitivity']):.0f} of 100",
            f"flags {100 * (1 - own['specificity']):.0f} of 100",
        ],
        "Does it work with a plain phone": [
            f"{phone.photos} phone photos",
            interval(shown["auc_low"], shown["auc"], shown["auc_high"]),
            f"calibration error {shown['ece']:.2f}, against {own['ece']:.2f}",
        ],
        "Does my photo leave": [
            f"{DEFAULT.spec.size} numbers",
            f"{REQUEST_OVERHEAD_BYTES + REQUEST_BYTES:,} bytes a request",
            f"{CERTIFIED.spec.levels[1] - CERTIFIED.spec.levels[0] + 1} levels",
            f"{REQUEST_OVERHEAD_BYTES + 2 * CERTIFIED.spec.size} bytes a request",
        ],
        "Can the server reconstruct": [
            f"skill of {interval(*decoder('certified'), 2)}",
            f"`compact` it gains {decoder('compact')[1]:.2f}",
            f"`none` {decoder('none')[1]:.2f}",
        ],
        "Can the server recognise": [f"at most {100 * rounded_up(loss.identification_bound(1000), 5):.3f} %"],
        "Is that differential": [
            f"ε of {rounded_up(loss.epsilon(), 1)}",
            *(f"`--privacy {epsilon}` " for epsilon in by_epsilon),
            *(f"{found.auc:.3f}" for found in by_epsilon.values()),
        ],
        "What does the protection": [
            f"{of_card('none', 'auc')['value']:.3f} undefended",
            f"{own['auc']:.3f} with `encrypted`",
            f"`certified` it is {auc['value']:.3f}",
        ],
        "Why is the network": [
            f"{DEFAULT.spec.size} numbers",
            f"AUC {linear:.3f} against {own['auc']:.3f}",
            f"one of {CERTIFIED.spec.levels[1] - CERTIFIED.spec.levels[0] + 1} levels",
            *(f"{name}` ({BUNDLE.presets[name].spec.size:,}" for name in ("none",)),
            f"`compact` ({BUNDLE.presets['compact'].spec.size} integers)",
        ],
        "Is it as good": [
            group("age: below 40")[3],
            f"{group('age: below 40')[2]} malignant lesions",
            group("site: face")[3],
        ],
        "What if I show": ["1,000 everyday photos 98.7 %"],
        "May I use": [BUNDLE.manifest.licence.split(":")[0]],
    }


@pytest.mark.parametrize("question", list(ANSWERS))
def test_figures_are_those_of_their_source(question):
    figures = [found for start, found in expected().items() if question.startswith(start)]
    assert len(figures) == 1
    for figure in figures[0]:
        assert figure in ANSWERS[question]
    assert re.search(r"\d", ANSWERS[question])


def test_every_source_is_asked_about():
    assert len(ANSWERS) == len(expected())
    refusals = (REPO / "docs" / "adr" / "167-mean-weights-towards-their-start.md").read_text(encoding="utf-8")
    assert "| everyday photos, a public sample of ImageNet, one a class | 1,000 | 98.7 % (96.1 %) |" in refusals
    assert math.exp(CERTIFIED.spec.loss.leakage) <= 6
