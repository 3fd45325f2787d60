"""Every peer: what it is, where it is installed, and how it is run. A new peer is a small file and an entry here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Requirements = tuple[str, ...]
_LITERT: Requirements = ("ai-edge-litert==2.3.0", "numpy==2.4.6")
_PHOTOS: Requirements = ("pillow==13.0.0",)
TENSORFLOW: Requirements = ("tensorflow==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0", *_PHOTOS)
MUTUAL_HTTPS, MUTUAL_GRPC = "HTTPS, mutual TLS", "gRPC, mutual TLS"
SEALED = "mutual TLS 1.3, sealed"
MUTUAL = (MUTUAL_HTTPS, MUTUAL_GRPC)
"""Protection whose servers turn clients without a certificate away, which is tried."""
SAME_NETWORK = 0.5  # of a logit; a photo is decoded by several libraries
SAME_RELEASE = 0.05  # the head computes with two threads
SAME_SUMS = 0.005  # CKKS computes with noise; 0.0001 was seen
_RAY: Requirements = ("ray[serve]==2.60.0", *_LITERT)
_BENTOML: Requirements = ("bentoml==1.4.40", *_LITERT)
_LITSERVE: Requirements = ("litserve==0.2.19", *_LITERT)
SERVED = ("none", "certified")
"""Presets whose tails others serve, too: the longest and the shortest."""
OURS: Requirements = (".",)
"""The checkout itself, installed as a user would."""


@dataclass(frozen=True)
class Program:
    """A module of `benchmarks.peers`, run as a program with a word, the inputs' folder and, if it has one, a port."""

    module: str
    word: str


@dataclass(frozen=True)
class Peer:
    """One row of a table.

    Attributes:
        name: of the row.
        task: ``photo``, from a photo's file to its answer; ``inception``, the same with another network; ``tail``, a
            served tail; ``encrypted``, a tail that is evaluated on ciphertexts.
        client: asks, as lines of its standard input say: `burst.run` for a tail, else `peer.answer_numbers`.
        server: answers; None: the client does all the work.
        protection: of what travels.
        environment: folder of the virtual environment; peers with the same one share it.
        requirements: what is installed there.
        is_ours: its ratios must not get worse.
        preset: that ours uses; the row is left out where the bundle lacks it.
        bundle: folder of the bundle that ours has; None: the one in the package.
        is_quick: runs in seconds, without an environment of its own.
        tolerance: of a logit, beyond which it is another network that answers; None: noise or an encoder change it.
        own_client: the client runs in the peer's environment, not in ours.
        questions: at most so many are asked in a round.
        served: of a served tail, which releases clients send: files of `benchmarks.performance.inputs`.
        clients: at most so many of them ask at once.
        photos: that one of these releases stands for.
        rounds: at most so many; what takes long to start has one.
    """

    name: str
    task: Literal["photo", "inception", "tail", "encrypted"]
    client: Program
    server: Program | None
    protection: str
    environment: str
    requirements: Requirements
    is_ours: bool = False
    preset: str = ""
    bundle: Path | None = None
    is_quick: bool = False
    tolerance: float | None = None
    own_client: bool = True
    questions: int = 30
    served: tuple[str, ...] = SERVED
    clients: int = 64
    photos: int = 1
    rounds: int = 1_000


def _ours(
    preset: str,
    *,
    tolerance: float | None = None,
    task: Literal["photo", "inception"] = "photo",
    bundle: Path | None = None,
) -> Peer:
    return Peer(
        f"securesplit, {preset}",
        task,
        Program("securesplit_photo", preset),
        Program("securesplit_tail", "serve"),
        SEALED,
        "securesplit",
        OURS,
        is_ours=True,
        preset=preset,
        bundle=bundle,
        is_quick=preset == "certified",
        tolerance=tolerance,
    )


def _whole(
    name: str, module: str, environment: str, requirements: Requirements, task: Literal["photo", "inception"] = "photo"
) -> Peer:
    return Peer(
        name,
        task,
        Program(module, "ask"),
        None,
        "nothing travels",
        environment,
        requirements,
        tolerance=SAME_NETWORK,
    )


def _served(
    name: str,
    program: Program,
    form: str,
    environment: str,
    requirements: Requirements,
    protection: str = MUTUAL_HTTPS,
) -> Peer:
    client = Program("https_clients", form)
    return Peer(name, "tail", client, program, protection, environment, requirements, own_client=False)


def _triton(name: str, word: str) -> Peer:
    requirements = ("nvidia-pytriton==0.7.0", "ai-edge-litert==2.3.0", "numpy==1.26.4")
    program = Program("triton_tail", word)
    return Peer(name, "tail", Program("triton_tail", "ask"), program, MUTUAL_GRPC, "triton", requirements)


def _ours_encrypted(name: str, served: str, photos: int) -> Peer:
    client, server = Program("securesplit_tail", "ask"), Program("securesplit_tail", "serve")
    return Peer(
        name,
        "tail",
        client,
        server,
        SEALED,
        "securesplit",
        OURS,
        is_ours=True,
        preset="encrypted",
        served=(served,),
        clients=8,
        photos=photos,
    )


def _encrypted(name: str, module: str, environment: str, requirements: Requirements, questions: int) -> Peer:
    return Peer(
        name,
        "encrypted",
        Program(module, "ask"),
        None,
        "CKKS",
        environment,
        requirements,
        is_ours=requirements == OURS,
        is_quick=requirements == OURS,
        tolerance=SAME_SUMS,
        questions=questions,
    )


PHOTO_REFERENCE = "LiteRT, whole network"
STUDENT, TENSORFLOW_FUNCTION = "Keras predict, pickle, TCP", "TensorFlow function, whole network"
TAIL_REFERENCE = "asyncio and ssl, no queue"
ENCRYPTED_REFERENCE = "TenSEAL, CKKSVector.mm"
REFERENCES = {
    "photo": PHOTO_REFERENCE,
    "inception": PHOTO_REFERENCE,
    "tail none": TAIL_REFERENCE,
    "tail certified": TAIL_REFERENCE,
    "encrypted": ENCRYPTED_REFERENCE,
}
"""By task, the row whose figures ratios are taken of: what every machine can install that can run ours."""

PEERS = (
    Peer(
        STUDENT,
        "photo",
        Program("keras_tcp", "ask"),
        Program("keras_tcp", "serve"),
        "none",
        "tensorflow",
        TENSORFLOW,
        tolerance=SAME_NETWORK,
    ),
    _whole(TENSORFLOW_FUNCTION, "tensorflow_function", "tensorflow", TENSORFLOW),
    _whole("ONNX Runtime, whole network", "onnx_runtime", "onnx", ("onnxruntime==1.32.0", *_PHOTOS)),
    _whole(PHOTO_REFERENCE, "litert", "litert", (*_LITERT, *_PHOTOS)),
    _ours("none", tolerance=SAME_NETWORK),
    _ours("guarded", bundle=Path(__file__).parents[2] / "bundles" / "guarded"),
    _ours("compact", tolerance=SAME_RELEASE),
    _ours("certified"),
    _ours("encrypted", tolerance=SAME_RELEASE),
    _whole(TENSORFLOW_FUNCTION, "tensorflow_function", "tensorflow", TENSORFLOW, "inception"),
    _whole(PHOTO_REFERENCE, "litert", "litert", (*_LITERT, *_PHOTOS), "inception"),
    _ours("none", tolerance=SAME_NETWORK, task="inception"),
    _encrypted(ENCRYPTED_REFERENCE, "tenseal_tail", "tenseal", ("tenseal==0.3.18", "numpy==2.4.6"), 2),
    Peer(
        "Concrete ML, 4 bits",
        "encrypted",
        Program("concrete_tail", "ask"),
        None,
        "TFHE",
        "concrete",
        ("concrete-ml==1.9.0",),
        tolerance=SAME_NETWORK,
        questions=1,
        rounds=1,
    ),
    _encrypted("securesplit, SEAL by way of TenSEAL", "encrypted_tail", "securesplit", OURS, 6),
    _served("Ray Serve", Program("ray_serve", "serve"), "octets", "ray", _RAY, "HTTPS, clients unknown"),
    _served("Ray Serve, batches", Program("ray_serve", "batches"), "octets", "ray", _RAY, "HTTPS, clients unknown"),
    _served("BentoML", Program("bentoml_tail", "serve"), "json", "bentoml", _BENTOML),
    _served("BentoML, batches", Program("bentoml_tail", "serve"), "list", "bentoml", _BENTOML),
    _served("LitServe", Program("litserve_tail", "serve"), "json", "litserve", _LITSERVE),
    _served("LitServe, batches", Program("litserve_tail", "batches"), "json", "litserve", _LITSERVE),
    _triton("Triton, Python backend", "serve"),
    _triton("Triton, Python backend, batches", "batches"),
    Peer(
        TAIL_REFERENCE,
        "tail",
        Program("https_clients", "octets"),
        Program("bare_https", "serve"),
        MUTUAL_HTTPS,
        "litert",
        (*_LITERT, *_PHOTOS),
        is_quick=True,
        own_client=False,
    ),
    Peer(
        "securesplit",
        "tail",
        Program("securesplit_tail", "ask"),
        Program("securesplit_tail", "serve"),
        SEALED,
        "securesplit",
        OURS,
        is_ours=True,
        is_quick=True,
    ),
    _ours_encrypted("securesplit, one photo a request", "encrypted", 1),
    _ours_encrypted("securesplit, sixteen photos a request", "encrypted together", 16),
)
