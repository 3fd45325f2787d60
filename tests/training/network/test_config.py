"""Named configurations and what is refused. No TensorFlow."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from securesplit.errors import ConfigError
from securesplit.model.backbones import BACKBONES, build
from training.network.config import CONFIGS, changed, current_names, named
from training.network.run_record import MadeFrom, RunRecord, config_of


def test_the_student_s_recipe() -> None:
    student = named("student")
    assert (student.backbone, student.side, student.pixels, student.batch) == ("inception_resnet_v2", 150, "0..1", 64)
    assert (student.outputs, student.balance, student.epochs, student.monitor) == (
        "final",
        "equal",
        20,
        "balanced_accuracy",
    )
    assert (student.label_smoothing, student.teacher_share, student.batch_norm) == (0.0, 0.0, "trained")


def test_sources_that_are_held_out_are_told_apart() -> None:
    assert named("student").held_out == ()
    assert named("student", ["hold_out=komour, isic9,"]).held_out == ("komour", "isic9")


def test_every_configuration_has_sane_epochs_and_survives_json() -> None:
    for name, config in CONFIGS.items():
        assert config.epochs == {"self_distillation": 3, "collection": 6}.get(name, 20)
        assert type(config)(**named(name).to_json()) == config


def test_the_table_of_backbones_is_complete_without_keras() -> None:
    assert {config.backbone for config in CONFIGS.values()} <= set(BACKBONES)
    look = "import sys, securesplit.model.backbones; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
    with pytest.raises(ConfigError, match="no backbone is called 'vgg'"):
        build("vgg", 64, None)


def test_settings_replace_values_by_their_type() -> None:
    config = named("dermoscopy", ["learning_rate=1e-3", "batch=8", "views=student"])
    assert (config.learning_rate, config.batch, config.views) == (1e-3, 8, "student")
    assert changed(config, []) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch=many", "batch takes a whole number, not 'many'"),
        ("dropout=half", "dropout takes a number, not 'half'"),
        ("colour=red", "no KEY=VALUE"),
        ("batch", "no KEY=VALUE"),
        ("views=wild", "views is 'wild'"),
        ("epochs=0", "epochs is 0"),
        ("dropout=1", "dropout is 1.0"),
        ("teacher_share=1.5", "teacher_share is 1.5"),
        ("focal=-1", "focal is -1"),
        ("mixup=nan", "mixup is nan"),
        ("weight_decay=inf", "weight_decay is inf"),
        ("side=7", "side is 7"),
        ("per_class=1000000000000", "per_class is 1000000000000"),
        ("side=1000000000", "side is 1000000000"),  # whose photos no memory holds
        ("learning_rate=nan", "learning_rate is nan"),
        ("learning_rate=inf", "learning_rate is inf"),
    ],
)
def test_what_is_no_setting_is_refused_with_a_hint(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        named("student", [setting])
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_photos_are_mixed_one_way_or_the_other() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        named("dermoscopy", ["mixup=0.2", "cutmix=1"])


def test_an_unknown_configuration_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="no configuration is called 'teacher'") as caught:
        named("teacher")
    assert "student, dermoscopy" in caught.value.hint


def test_earlier_names_are_taken_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert named("born_again", ["ends=one"]) == named("self_distillation", ["outputs=final"])
    assert capsys.readouterr().err.splitlines() == [
        "hint: born_again is now self_distillation",
        "hint: ends=one is now outputs=final",
    ]
    config = named("dermoscopy")
    earlier = {key: value for key, value in config.to_json().items() if key != "outputs"} | {"ends": "cut"}
    assert current_names(earlier) == current_names(config.to_json()) == config.to_json()


def test_a_run_of_other_contents_is_another_one_and_an_earlier_one_knows_names_alone(tmp_path: Path) -> None:
    config = named("dermoscopy").to_json()
    before: MadeFrom = {"config": config, "data_sha256": "d", "weights": None, "teacher": None, "start": None}
    now: MadeFrom = {**before, "photos_sha256": "of the files"}
    for begun, is_other in ((before, False), (now, False), ({**now, "photos_sha256": "others"}, True)):
        (tmp_path / "run.json").write_text(json.dumps({"made_from": begun}))
        with pytest.raises(ConfigError, match="of other photos_sha256") if is_other else nullcontext():
            RunRecord(tmp_path, now, {}, 0).check()


def test_a_run_of_earlier_names_and_fewer_keys_is_the_same_run(tmp_path: Path) -> None:
    config = named("dermoscopy").to_json()
    made_from: MadeFrom = {"config": config, "data_sha256": "d", "weights": None, "teacher": None, "start": None}
    later = ("outputs", "taught_sources")
    earlier = {key: value for key, value in config.items() if key not in later} | {"ends": "cut"}
    (tmp_path / "run.json").write_text(json.dumps({"made_from": {**made_from, "config": earlier}}))
    RunRecord(tmp_path, made_from, {}, 0).check()
    assert config_of(tmp_path) == named("dermoscopy")
    (tmp_path / "run.json").write_text(json.dumps({"made_from": {**made_from, "config": {**earlier, "ends": "one"}}}))
    with pytest.raises(ConfigError, match="a run of other config"):
        RunRecord(tmp_path, made_from, {}, 0).check()
