"""Pure statistics, without I/O."""

from flowai.statistics.bounded_mean import bounded_mean_interval
from flowai.statistics.corrected_rates import (
    RoganGladen,
    VerdictCounts,
    corrected_difference,
    corrected_gap,
    corrected_rate,
    corrected_share,
    difference_bias,
    flagged_margin,
    rogan_gladen,
    true_negative_interval,
    true_positive_interval,
    youden_interval,
)
from flowai.statistics.evalues import Block, EProcess, RateEProcess, RatioEProcess
from flowai.statistics.histogram import (
    BUCKET_RATIO,
    bucket_of,
    bucket_quantile,
    bucket_quantile_interval,
    quantile,
    quantile_ratio,
)
from flowai.statistics.intervals import (
    Interval,
    clopper_pearson,
    difference_interval,
    proportion_interval,
    quantile_ranks,
    wilson,
)
from flowai.statistics.kappa import CohenKappa, cohen_kappa
from flowai.statistics.multiple_testing import holm, split_alpha
from flowai.statistics.prediction_powered import (
    PredictionPowered,
    prediction_powered_estimate,
    prediction_powered_mean,
)
from flowai.statistics.sample_size import required_sample_size
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value, unexpected_arms

__all__ = [
    "BUCKET_RATIO",
    "MISMATCH_ALPHA",
    "Block",
    "CohenKappa",
    "EProcess",
    "Interval",
    "PredictionPowered",
    "RateEProcess",
    "RatioEProcess",
    "RoganGladen",
    "VerdictCounts",
    "bounded_mean_interval",
    "bucket_of",
    "bucket_quantile",
    "bucket_quantile_interval",
    "clopper_pearson",
    "cohen_kappa",
    "corrected_difference",
    "corrected_gap",
    "corrected_rate",
    "corrected_share",
    "difference_bias",
    "difference_interval",
    "flagged_margin",
    "holm",
    "prediction_powered_estimate",
    "prediction_powered_mean",
    "proportion_interval",
    "quantile",
    "quantile_ranks",
    "quantile_ratio",
    "required_sample_size",
    "rogan_gladen",
    "split_alpha",
    "srm_log_e_value",
    "true_negative_interval",
    "true_positive_interval",
    "unexpected_arms",
    "wilson",
    "youden_interval",
]
