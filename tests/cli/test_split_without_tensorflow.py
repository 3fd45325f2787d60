import subprocess
import sys

HIDE = "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None; "


def test_without_tensorflow_the_error_says_what_to_install() -> None:
    for command in (["cuts", "mobilenet_v2"], ["split", "mobilenet_v2", "--at", "out_relu", "--out", "absent"]):
        program = f"{HIDE}from securesplit.cli.main import main; main({command!r})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "error: splitting a network needs TensorFlow" in done.stderr
        assert "pip install 'securesplit[train]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_diagnose_and_worker_never_load_tensorflow() -> None:
    program = (
        "import sys, securesplit.device.client, securesplit.worker, securesplit.cli.diagnose, "
        "securesplit.cli.tail_worker, securesplit.cli.split, securesplit.cli.cuts; "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
