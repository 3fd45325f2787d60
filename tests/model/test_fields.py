"""JSON that may be hostile is read within bounds, whatever holds what."""

from __future__ import annotations

import pytest

from securesplit.model.fields import MAX_DEPTH, parse_object


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
def test_lists_and_objects_are_nested_up_to_a_bound(opens: str, closes: str) -> None:
    within = MAX_DEPTH - 1  # beside the object that holds them, and the number in them
    assert parse_object('{"a":' + opens * within + "1" + closes * within + "}")
    for depth in (within + 1, 100_000):
        with pytest.raises(ValueError, match="it is nested deeper than 32"):
            parse_object('{"a":' + opens * depth + "1" + closes * depth + "}")


@pytest.mark.parametrize("text", ['{"a": "%s"}', '{"a": ["%s"]}', '{"%s": 1}', '{"a": [{"b": {"%s": []}}]}'])
def test_half_a_character_is_refused_wherever_it_stands(text: str) -> None:
    """It could not be printed or written to a file."""
    assert parse_object(text % r"\ud83d\ude00")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        parse_object(text % r"\ud83d")
