import hashlib
import hmac
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from securesplit.device.noise_key import SECRET_FILE, load_secret
from securesplit.errors import CredentialError
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec, release

SPEC = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.3, stored_as="private")
BUNDLE = bytes(range(32))


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 256, (150, 150, 3), np.uint8)


def released(source, pixels, bundle=BUNDLE, spec=SPEC):
    return release(np.full(4, 0.2, np.float32), spec, source.sampler(pixels, bundle, spec)).tobytes()


def test_same_photo_same_noise(pixels):
    """64 diagnoses of one photo are one release, also after a restart of the program."""
    secret = bytes(range(1, 33))
    assert len({released(NoiseSource(secret), pixels.copy()) for _ in range(64)}) == 1


def test_anything_else_changes_the_noise(pixels):
    source = NoiseSource(bytes(32))
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    turned = pixels.reshape(75, 300, 3)
    draws = [
        released(source, pixels),
        released(source, other),
        released(source, turned),
        released(source, pixels, bundle=bytes(32)),
        released(source, pixels, spec=replace(SPEC, stored_as="other")),
        released(source, pixels, spec=replace(SPEC, sigma_per_clip=0.300001)),
        released(NoiseSource(b"\1" * 32), pixels),
    ]
    assert len(set(draws)) == len(draws)


def test_every_field_of_the_key_starts_another_stream(pixels):
    """Another reading of the same random bits would tie two releases together; each field must change the bits."""
    source = NoiseSource(bytes(32))
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    samplers = [
        source.sampler(pixels, BUNDLE, SPEC),
        source.sampler(other, BUNDLE, SPEC),
        source.sampler(pixels.reshape(75, 300, 3), BUNDLE, SPEC),
        source.sampler(pixels, bytes(32), SPEC),
        source.sampler(pixels, BUNDLE, replace(SPEC, stored_as="other")),
        source.sampler(pixels, BUNDLE, replace(SPEC, sigma_per_clip=0.300001)),
        NoiseSource(b"\1" * 32).sampler(pixels, BUNDLE, SPEC),
    ]
    assert len({sampler._uniform(1 << 128) for sampler in samplers}) == len(samplers)


def test_the_fingerprint_tells_secrets_apart_and_is_no_other_name(pixels):
    source = NoiseSource(bytes(32))
    assert source.fingerprint == NoiseSource(bytes(32)).fingerprint
    assert source.fingerprint != NoiseSource(b"\1" * 32).fingerprint
    assert source.fingerprint not in {source.photo_id(pixels), source.release_id(pixels, BUNDLE, SPEC), bytes(16)}


def test_the_derivation_is_the_documented_one():
    """HMAC-SHA256 of fields with their length in front; another derivation would draw every photo's noise again."""
    pixels, secret = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), bytes(range(1, 33))

    def mac(*fields):
        framed = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
        return hmac.new(secret, b"securesplit-noise-v1" + framed, hashlib.sha256).digest()

    source, shape = NoiseSource(secret), b"2x4x3"
    fields = shape, pixels.tobytes(), BUNDLE, b"private", b"3019899/8192"
    assert source._key(b"noise", pixels, BUNDLE, SPEC) == mac(b"noise", *fields)
    assert source.release_id(pixels, BUNDLE, SPEC) == mac(b"ledger", *fields)[:16]
    assert source.photo_id(pixels) == mac(b"photo", shape, pixels.tobytes())[:16]
    assert source.fingerprint == mac(b"fingerprint")[:16]
    assert source.sampler(pixels, BUNDLE, SPEC).samples(8) == [-16, -24, 9, 5, 12, 25, -7, -35]


def test_no_name_in_the_ledger_is_a_part_of_a_noise_key(pixels):
    source = NoiseSource(bytes(32))
    key = source._key(b"noise", pixels, BUNDLE, SPEC)
    assert source.release_id(pixels, BUNDLE, SPEC) not in key
    assert source.photo_id(pixels) not in key


def test_names_in_the_ledger(pixels):
    source = NoiseSource(bytes(32))
    assert source.release_id(pixels, BUNDLE, SPEC) == source.release_id(pixels.copy(), BUNDLE, SPEC)
    assert source.release_id(pixels, BUNDLE, SPEC) != source.release_id(pixels, bytes(32), SPEC)
    assert source.photo_id(pixels) != source.photo_id(pixels[::-1])
    assert source.photo_id(pixels) != NoiseSource(b"\1" * 32).photo_id(pixels)


def test_no_noise_where_the_preset_has_none(pixels):
    compact = ReleaseSpec("compact", (4,), "int8", step=0.1)
    assert NoiseSource(bytes(32)).sampler(pixels, BUNDLE, compact) is None


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        NoiseSource(b"x" * 31)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path):
    folder = tmp_path / "state"
    first = load_secret(folder)
    assert len(first) == 32
    assert load_secret(folder) == first
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / SECRET_FILE).stat().st_mode) == 0o600
    assert [f.name for f in folder.iterdir()] == [SECRET_FILE]
    assert load_secret(tmp_path / "other") != first


def test_many_at_once_get_one_secret(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: load_secret(tmp_path), range(64)))) == 1


def test_a_readable_secret_is_refused(tmp_path):
    load_secret(tmp_path)
    (tmp_path / SECRET_FILE).chmod(0o640)
    with pytest.raises(CredentialError, match="read by others") as caught:
        load_secret(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_a_truncated_secret_is_not_replaced(tmp_path):
    load_secret(tmp_path)
    (tmp_path / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(CredentialError, match="5 bytes"):
        load_secret(tmp_path)
    assert (tmp_path / SECRET_FILE).read_bytes() == b"short"


def test_a_file_in_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(CredentialError, match="state folder"):
        load_secret(tmp_path / "state")


def test_two_processes_draw_the_same_noise(tmp_path, pixels):
    """What a device releases does not depend on the process, so a retry after a crash reveals nothing new."""
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import sys, numpy as np\n"
        "from securesplit.device.noise_key import load_secret\n"
        "from securesplit.privacy.noise import NoiseSource\n"
        "from securesplit.privacy.release import ReleaseSpec\n"
        "spec = ReleaseSpec('private', (4,), 'int16', step=1 / 64, clip_norm=1.0, sigma_per_clip=0.3)\n"
        "source = NoiseSource(load_secret())\n"
        "print(source.sampler(np.load(sys.argv[1]), bytes(range(32)), spec).samples(16))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "pixels.npy")]
    environment = os.environ | {"SECURESPLIT_STATE": str(tmp_path / "state")}
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != ""
