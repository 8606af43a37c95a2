"""The measured error of judges."""

from flowai.calibration.records import Calibration, JudgeCounts

__all__ = ["Calibration", "JudgeCounts"]
