"""What one defence costs and what fresh attacks get from it."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.channel.payload import REQUEST_OVERHEAD_BYTES
from training.data.dataset import Split, at_random
from training.release.guarded import exposure, stages
from training.release.guarded.attack import Holdings
from training.release.guarded.views import Batches, CutViews
from training.studies.defences.defence import Defence


@dataclass(frozen=True)
class Setting:
    """What all defences share.

    Attributes:
        network: undefended.
        train: views of the training photos, their centre squares first.
        val: centre squares of the validation photos, the victims'.
        splits: ``train`` and ``val``, the photos themselves.
    """

    network: keras.Model
    train: CutViews
    val: CutViews
    splits: dict[str, Split]

    @property
    def digest(self) -> str:
        """SHA-256 over all photos and what is known of them, wherever they lie."""
        found = hashlib.sha256()
        for split in self.splits.values():
            found.update(repr([replace(photo, path=Path(photo.path.name)) for photo in split.photos]).encode())
            found.update(np.ascontiguousarray(split.pixels).data)
        return found.hexdigest()

    @property
    def undefended_auc(self) -> float:
        """Of the whole network on the victims."""
        return stages.auc(self.val.labels, self.val.logits)


def measured(defence: Defence, setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """Train a defence by the command line `args`, in the folder ``args.run``, and attack it."""
    args = defence.settings(args)
    stage = defence.stage(stages.cut_shape(setting.network, args.cut), args)
    pressed = stages.press(stage, setting.train, setting.val, args)
    own, victims = (stages.holdings(stage.encoder, views) for views in (setting.train, setting.val))
    answers = {"probe": stages.answers_of(stages.probed(stage), victims, args.sigma)}
    tail = stages.tail_of(setting.network, args)
    if args.tail_steps:
        targets = Batches(setting.train, args.batch, args.teacher_share, args.seed).targets
        stages.read(tail, own, targets, victims, args)
        answers["answer"] = stages.answers_of(tail.answers, victims, args.sigma)
    held, photos = attackers(setting, own, args.attack_photos)
    splits = {"train": photos, "val": setting.splits["val"]}
    return {
        "sigma": args.sigma,
        **{f"{name}_auc": lost_of(setting.val, drawn) for name, drawn in answers.items()},
        "device_share": stages.multiply_adds(setting.network, (stage, tail), args.cut)["device_share"],
        "request_bytes": args.size**2 * args.channels + REQUEST_OVERHEAD_BYTES,
        **exposure.attacked(held, (setting.val, victims), splits, args),
        "pressed": pressed[-1:],
    }


def attackers(setting: Setting, own: Holdings, most: int) -> tuple[exposure.Held, Split]:
    """What attackers hold of at most so many training photos, of their centre squares, and the photos themselves."""
    train = setting.splits["train"]
    rows = at_random(len(train.photos), most)
    held = stages.only(setting.train, rows), stages.only(own, rows)
    return held, Split(tuple(train.photos[i] for i in rows), train.pixels[rows])


def lost_of(val: CutViews, drawn: list[NDArray[Any]]) -> dict[str, Any]:
    """AUC of answers to several draws of the noise, and how much less that is than the undefended network's."""
    lost = metrics.auc_lost(val.labels, val.logits, drawn, metrics.numbered(val.lesions))
    return {"mean": float(np.mean([stages.auc(val.labels, scores) for scores in drawn])), "lost": lost.to_json()}
