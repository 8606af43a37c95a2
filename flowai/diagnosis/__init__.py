"""What is wrong with a project and its machine, before a command finds out."""

from flowai.diagnosis.doctor import CHECK_NAMES, diagnose
from flowai.diagnosis.records import Diagnosis, Finding

__all__ = ["CHECK_NAMES", "Diagnosis", "Finding", "diagnose"]
