"""What the attacks are and what the report's tables show, in plain words, for people who do not attack for a living."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from securesplit.i18n import gettext as _
from securesplit.i18n import gettext_noop

Result = dict[str, Any]

ATTACKS: dict[str, tuple[str, str]] = {
    "A0": (
        gettext_noop("Guesses"),
        gettext_noop(
            "What the answer alone allows: the mean photo, the mean photo with that answer, any photo with that "
            "answer; and the attacker's own photo with the nearest release. Other figures are held against the mean "
            "with that answer."
        ),
    ),
    "A1": (
        gettext_noop("Linear inverse"),
        gettext_noop("The best weighted sum of a release's numbers for each pixel, fitted on the attacker's photos."),
    ),
    "A2": (
        gettext_noop("Search"),
        gettext_noop("Changes a picture step by step until the head makes the same release of it."),
    ),
    "A3": (
        gettext_noop("Trained decoder"),
        gettext_noop("A neural network that learned to turn releases back into photos, with the noise that they have."),
    ),
    "A4": (gettext_noop("Decoder, then search"), gettext_noop("What A3 shows, improved by A2.")),
    "A5": (
        gettext_noop("Averaging"),
        gettext_noop(
            "Rebuilds from the mean of many releases of one photo, as if each had noise of its own. A real device "
            "sends the same release again, so this shows what that rule is for."
        ),
    ),
    "A6": (
        gettext_noop("Picking out the photo"),
        gettext_noop("Which of 10, 100 or 1,000 photos that the attacker holds does the release belong to?"),
    ),
    "A7": (
        gettext_noop("Recognising the lesion"),
        gettext_noop("The attacker holds another photo of the same mole, among photos of other moles."),
    ),
    "A8": (
        gettext_noop("Guessing about the person"),
        gettext_noop("Age, sex and place on the body, beyond what the answer tells about them."),
    ),
    "A9": (
        gettext_noop("Generated photos"),
        gettext_noop("Searches among photos that a generative model can draw for one that makes the same release."),
    ),
    "A10": (
        gettext_noop("A person over several photos"),
        gettext_noop("Puts the releases of one device together to tell whose they are."),
    ),
    "A11": (
        gettext_noop("Altered copies"),
        gettext_noop("Picks out the photo where the attacker holds a cropped, turned, brighter or newly taken copy."),
    ),
    "A12": (
        gettext_noop("Membership"),
        gettext_noop("Was this photo among those that the network was trained on?"),
    ),
    "A13": (
        gettext_noop("Stealing the tail"),
        gettext_noop("A client asks until a copy of the worker's half gives the same answers."),
    ),
}
"""By name: what it is called, and what it does."""

SECTIONS: dict[str, str] = {
    "summary": gettext_noop(
        "What each preset sends and promises. ε is the strength of its noise in differential privacy, smaller is "
        "stronger; AUC says how good its answers are, 0.5 is chance and 1 is perfect."
    ),
    "control": gettext_noop(
        "The same attacks on a network without any protection. They must rebuild photos there, or the audit is void. "
        "SSIM is how alike two pictures look, 1 is the same."
    ),
    "reconstruction": gettext_noop(
        "How close to the photo a picture comes that was made from its release. Skill 0 is a guess from the answer "
        "alone, 1 is the photo itself, below 0 is worse than that guess; p95 is the photo that fares worst of 20."
    ),
    "identification": gettext_noop(
        "How often the attacker names the right one of N photos, from k releases. Label-only is the same from the "
        "answer alone; the certified bound is proven for every attack, also for those that nobody has thought of."
    ),
    "lesion": gettext_noop("How often the attacker finds the other photo of the same mole."),
    "attribute": gettext_noop(
        "AUC of a guess about the person from the release, and from the answer alone; 0.5 is chance."
    ),
    "frontier": gettext_noop("What more noise would cost in accuracy, and what it would hide."),
    "not run": gettext_noop("What was left out, and why. What did not run has not passed."),
}
"""By kind of result, what its table shows."""


def part_in(attack: str, results: Iterable[Result]) -> str:
    """What an attack's part in an audit is, in words."""
    mine = [r for r in results if r.get("attack") == attack]
    if not mine:
        return _("not part of this audit")
    if any(r["kind"] != "not run" for r in mine):
        return _("in this report")
    return _("not run")
