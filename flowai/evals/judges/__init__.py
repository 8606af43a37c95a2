"""Models that grade answers."""

from flowai.evals.judges.default_grader import default_embedder, default_grader, default_moderator
from flowai.evals.judges.grader_client import GraderClient, GraderSettings

__all__ = ["GraderClient", "GraderSettings", "default_embedder", "default_grader", "default_moderator"]
