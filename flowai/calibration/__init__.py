"""The measured error of judges."""

from flowai.calibration.files import calibration_file, fresh_calibration, read_calibrations, write_calibration
from flowai.calibration.floor import (
    MAX_UNSCORED_RATE,
    floor_problem,
    true_negative_rate,
    true_positive_rate,
    youden_index,
)
from flowai.calibration.records import Calibration, JudgeCounts
from flowai.calibration.standing import NO_HASH, JudgeStanding, JudgingRules, shown_hash

__all__ = [
    "MAX_UNSCORED_RATE",
    "NO_HASH",
    "Calibration",
    "JudgeCounts",
    "JudgeStanding",
    "JudgingRules",
    "calibration_file",
    "floor_problem",
    "fresh_calibration",
    "read_calibrations",
    "shown_hash",
    "true_negative_rate",
    "true_positive_rate",
    "write_calibration",
    "youden_index",
]
