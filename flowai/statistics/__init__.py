"""Pure mathematics of measurements; knows no files, models or screens."""

from flowai.statistics.evalues import Block, Claim, Evidence, RateEvidence, RatioEvidence
from flowai.statistics.histogram import (
    BUCKET_RATIO,
    bucket_of,
    bucket_quantile,
    bucket_quantile_interval,
    quantile_ratio,
)
from flowai.statistics.intervals import (
    Interval,
    clopper_pearson,
    difference,
    mean_ratio,
    newcombe,
    proportion,
    quantile_ranks,
    wilson,
)
from flowai.statistics.kappa import Agreement, agreement
from flowai.statistics.multiple_testing import e_bh, holm, split_alpha
from flowai.statistics.quantiles import quantile
from flowai.statistics.sample_size import calls_needed
from flowai.statistics.srm import MISMATCH_ALPHA, mismatch_log_e, unexpected_arms

__all__ = [
    "BUCKET_RATIO",
    "MISMATCH_ALPHA",
    "Agreement",
    "Block",
    "Claim",
    "Evidence",
    "Interval",
    "RateEvidence",
    "RatioEvidence",
    "agreement",
    "bucket_of",
    "bucket_quantile",
    "bucket_quantile_interval",
    "calls_needed",
    "clopper_pearson",
    "difference",
    "e_bh",
    "holm",
    "mean_ratio",
    "mismatch_log_e",
    "newcombe",
    "proportion",
    "quantile",
    "quantile_ranks",
    "quantile_ratio",
    "split_alpha",
    "unexpected_arms",
    "wilson",
]
