"""Checks of a project and its machine: faults and risks with their remedies."""

from flowai.diagnosis.doctor import CHECK_NAMES, diagnose
from flowai.diagnosis.records import CheckFinding, Diagnosis

__all__ = ["CHECK_NAMES", "CheckFinding", "Diagnosis", "diagnose"]
