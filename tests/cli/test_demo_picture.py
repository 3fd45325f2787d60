"""The demo's picture says what left in numbers that can be read, and nothing of it is cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from securesplit.cli import demo, demo_picture
from securesplit.cli.main import run
from securesplit.device.release_step import Releaser
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model.encrypted_preset import release_spec
from training.gate import textures

PRESETS = ("certified", "8", "compact", "none")
PIXELS = np.zeros((150, 150, 3), np.uint8)


def panels_of(privacy: str) -> list[demo_picture.Panel]:
    """Every panel of a synthetic lesion."""
    bundle = Bundle.load()
    releaser, decoder = Releaser(bundle, bytes(32), privacy=privacy), bundle.open_attack_decoder()
    spec, release = releaser.preset.spec, releaser.release(draw_lesion(7, 300)).release
    assert decoder is not None
    rebuilt = decoder.rebuild(spec, release, malignant=True)
    assert rebuilt is not None
    shown = [
        demo_picture._photo(PIXELS),
        demo_picture._release(release, spec),
        demo_picture._wire(bytes(release.nbytes + 88)),
    ]
    return [*shown, *demo_picture._attack(rebuilt), demo_picture._verdict(rebuilt.figures)]


@pytest.mark.parametrize("privacy", PRESETS)
def test_words_fit_under_their_panel(privacy: str) -> None:
    for panel in panels_of(privacy):
        assert ImageFont.load_default(demo_picture.TITLE).getlength(panel.title) <= demo_picture.PANEL
        lines = panel.caption.splitlines()
        assert len(lines) <= 2
        assert all(ImageFont.load_default(demo_picture.SMALL).getlength(line) <= demo_picture.PANEL for line in lines)


@pytest.mark.parametrize(
    ("privacy", "title"),
    [
        ("certified", "What left: 1 integer"),
        ("compact", "What left: 144 integers"),
        ("none", "What left: 4,800 integers"),
    ],
)
def test_one_integer_is_one_integer(privacy: str, title: str) -> None:
    assert panels_of(privacy)[1].title == title


@pytest.mark.parametrize("value", [-3, 0, 4, -700, 32767])
def test_an_integer_is_written_and_not_a_square_of_one_colour(value: int) -> None:
    spec = Bundle.load().preset("certified").spec
    panel = demo_picture._release(np.array([value], np.int16), spec)
    assert panel.image.size == (demo_picture.PANEL, demo_picture.PANEL)
    shares = [count / demo_picture.PANEL**2 for count, _ in panel.image.getcolors(1 << 16) or []]
    assert 0.5 < max(shares) < 0.99


def test_few_numbers_are_written_out() -> None:
    spec = Bundle.load().preset("certified").spec
    written = demo_picture._release(np.arange(-8, 8, dtype=np.int8), spec).image
    assert written.size == (demo_picture.PANEL, demo_picture.PANEL)
    assert demo_picture._release(np.zeros(demo_picture.MAX_WRITTEN + 1, np.int8), spec).image.size != written.size


def test_a_bundle_without_a_decoder_has_one_row() -> None:
    spec = Bundle.load().preset("certified").spec
    one = demo_picture.journey_picture(PIXELS, np.zeros(1, np.int16), spec, bytes(90), None)
    assert one.height < 500 < one.width


@pytest.mark.parametrize("privacy", ["certified", "none"])
def test_a_photo_that_would_be_refused_starts_no_worker(
    privacy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.OwnProgram, "run", lambda *_: pytest.fail("keys were made"))
    monkeypatch.setattr(demo, "_worker", lambda *_: pytest.fail("a worker was started"))
    Image.fromarray(textures.draw_texture(9_000_001, 300)).save(tmp_path / "texture.png")
    out = tmp_path / "demo.png"
    assert run(["demo", str(tmp_path / "texture.png"), "--privacy", privacy, "--out", str(out)]) == 4
    said = capsys.readouterr().out
    assert "refused" in said
    assert "--anyway" not in said, "demo has no such flag"
    assert not out.exists()


def test_of_an_encrypted_release_the_ciphertext_is_drawn_and_no_number_in_it() -> None:
    ciphertext = np.frombuffer(np.random.default_rng(1).bytes(149_568), np.uint8)
    panel = demo_picture._release(ciphertext, release_spec())
    assert panel.title == "What left: 149,568 bytes"
    assert panel.caption == "preset encrypted: 256 numbers in a ciphertext\nthat this device alone can decrypt"
    lines = panel.caption.splitlines()
    assert all(ImageFont.load_default(demo_picture.SMALL).getlength(line) <= demo_picture.PANEL for line in lines)
    assert np.asarray(panel.image.convert("L")).std() > 40
