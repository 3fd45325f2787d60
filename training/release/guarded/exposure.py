"""What fresh attacks find out from releases of centre squares, and from the answer alone."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from training.data.dataset import Split
from training.release.guarded import attack
from training.release.guarded.attack import Holdings
from training.release.guarded.views import Array, CutViews

Held = tuple[CutViews, Holdings]
"""Photos, and what an attacker holds of them."""


def attacked(known: Held, hidden: Held, splits: dict[str, Split], args: argparse.Namespace) -> dict[str, Any]:
    """What `training.release.guarded.attack` finds out about centre squares."""
    own, victims = known[1], hidden[1]
    return {
        "ridge_skill": attack.ridge_skill(own, victims, args.sigma, args.seed),
        "identified_among_1000": attack.identified(victims, args.sigma, args.seed),
        **reconstructed(own, victims, args),
        **linked_and_profiled(known, hidden, splits, args.sigma, args.seed),
    }


def reconstructed(own: Holdings, victims: Holdings, args: argparse.Namespace) -> dict[str, Any]:
    """What a fresh residual decoder makes of the releases."""
    pictures, skills = attack.rebuilt_by_decoder(own, victims, args.sigma, epochs=args.attack_epochs, seed=args.seed)
    return {
        "decoder_skill_by_epoch": skills,
        "ssim_above_class_mean": attack.structure_above(pictures, victims, own.class_means),
        "own_original_among_300": attack.retrieval(pictures, victims),
    }


def linked_and_profiled(known: Held, hidden: Held, splits: dict[str, Split], sigma: float, seed: int) -> dict[str, Any]:
    """Linking of two photos of a lesion, and attributes of person and picture.

    Attributes are told from the release, and from the undefended network's answer alone, which any release that serves
    for the diagnosis gives away. Attributes that are known of too few photos are left out.
    """
    (train, own), (val, victims) = known, hidden
    sent = {
        "own": attack.grid_noise(own.releases, sigma, seed).reshape(len(own.labels), -1),
        "victims": attack.grid_noise(victims.releases, sigma, seed + 1).reshape(len(victims.labels), -1),
    }
    diagnoses = np.array([photo.dx for photo in splits["val"].photos])
    attributes, cuts = attack.properties_of(own.thumbs)
    attributes |= of_persons(splits["train"])
    truth = attack.properties_of(victims.thumbs, cuts)[0] | of_persons(splits["val"])

    def beyond_label(from_own: Array, from_victims: Array) -> dict[str, Any]:
        told = {
            name: attack.profiled(
                (from_own, own.labels, attributes[name]),
                (from_victims, victims.labels, truth[name]),
                val.lesions,
                seed=seed,
            )
            for name in attributes
        }
        return {name: found for name, found in told.items() if found is not None}

    return {
        "linked_auc": attack.linked(sent["own"], train.lesions, sent["victims"], val.lesions, diagnoses, seed=seed),
        "beyond_label": beyond_label(sent["own"], sent["victims"]),
        "undefended_answer_beyond_label": beyond_label(train.logits[:, None], val.logits[:, None]),
    }


def of_persons(split: Split) -> dict[str, Array]:
    """By name ``(n,)`` 0 or 1, -1 for unknown: older than 50, male, on the trunk or its back."""
    sites = {"back", "trunk", "chest", "abdomen"}
    photos = split.photos
    return {
        "age": np.array([-1 if photo.years is None else int(photo.years > 50) for photo in photos]),
        "sex": np.array([{"male": 1, "female": 0}.get(photo.sex, -1) for photo in photos]),
        "site": np.array([-1 if photo.site in ("", "unknown") else int(photo.site in sites) for photo in photos]),
    }
