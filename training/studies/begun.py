"""What a study was begun around, so that one that was killed goes on with that alone: the rule of all studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securesplit.errors import ConfigError
from training.data.dataset import Dataset
from training.network.config import current_names

PHOTOS, CONTENTS = "data_sha256", "photos_sha256"


def around(data: Dataset, **made_of: Any) -> dict[str, Any]:
    """The record of a study of these photos.

    Args:
        data: its photos.
        made_of: whatever else it must go on with, as JSON has it.
    """
    return {**made_of, PHOTOS: data.digest, CONTENTS: data.contents}


def check_goes_on(out: Path, kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """That a study may go on in the folder of an earlier session of it.

    Args:
        out: the folder.
        kind: what the study is called.
        before: the record that is in `out`; one of an earlier version does not name its photos, or by name alone.
        now: from `around`.

    Raises:
        ConfigError: it was begun around something else.
    """
    if {**{name: now[name] for name in (PHOTOS, CONTENTS)}, **current_names(before)} != now:
        message = f"{out} holds a {kind} around another configuration or start, or of other photos"
        raise ConfigError(message, hint="give another --out")
