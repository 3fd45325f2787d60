"""What a diagnosis says, as frozen objects and as the JSON contract ``securesplit.diagnosis/1``."""

from securesplit.results.diagnosis import Diagnosis, error_to_json
from securesplit.results.parts import (
    CHANCE_AUC,
    DISCLAIMER,
    SCHEMA,
    VOID_BOUND,
    Accuracy,
    Claim,
    Crop,
    DevicePrivacy,
    Interval,
    Kind,
    Label,
    ModelInfo,
    PrivacyInfo,
    RefusalReason,
    Risk,
    Timing,
    Unlearned,
)
from securesplit.results.refusal import REFUSALS, Refusal, refusal_to_json

__all__ = [
    "CHANCE_AUC",
    "DISCLAIMER",
    "REFUSALS",
    "SCHEMA",
    "VOID_BOUND",
    "Accuracy",
    "Claim",
    "Crop",
    "DevicePrivacy",
    "Diagnosis",
    "Interval",
    "Kind",
    "Label",
    "ModelInfo",
    "PrivacyInfo",
    "Refusal",
    "RefusalReason",
    "Risk",
    "Timing",
    "Unlearned",
    "error_to_json",
    "refusal_to_json",
]
