"""Evidence that e-processes of failure rates will have, before there is any: for the planning of samples.

Along a stream of independent outcomes, the logarithm of the evidence of a bet is a random walk. Its quantile is the
mean less some standard deviations; the mixture has at least the best bet, less what the bet's share costs.
"""

from __future__ import annotations

import math

from flowai.statistics.evalues import LOG_ODDS, LOG_ODDS_WEIGHTS, RATE_RATIOS, RATIO_WEIGHTS
from flowai.statistics.mixture import log_mixture


def log_e_of_failures(
    candidate_failures: float, control_failures: float, *, share: float, tolerated_ratio: float = 1.0, errors: float
) -> float:
    """Return a quantile of the log evidence of `RatioEProcess` with `failures_only` that the candidate is worse.

    Args:
        candidate_failures: expected first failures of the candidate's users.
        control_failures: the same of the control's.
        share: the candidate's share of the users at risk, 0 to 1.
        tolerated_ratio: of the rates; 1 or more.
        errors: standard deviations below the mean.
    """
    weight = share * tolerated_ratio
    expected = weight / (weight + 1 - share)
    logs = []
    for bet in RATE_RATIOS:
        base = -math.log1p(expected * (bet - 1))
        gain = base + math.log(bet)
        mean = candidate_failures * gain + control_failures * base
        variance = candidate_failures * gain * gain + control_failures * base * base  # of Poisson numbers
        logs.append(mean - errors * math.sqrt(variance))
    return log_mixture(logs, RATIO_WEIGHTS)


def log_e_of_rates(
    candidate_count: float, control_count: float, *, candidate_rate: float, control_rate: float, errors: float
) -> float:
    """Return a quantile of the log evidence of `RateEProcess` that the candidate is worse.

    Args:
        candidate_count: users of the candidate, over all blocks.
        control_count: the same of the control.
        candidate_rate: their failure rate, 0 to 1.
        control_rate: the same of the control.
        errors: standard deviations below the mean.
    """
    total = candidate_count + control_count
    if not total:
        return 0.0
    share = candidate_count / total
    centre = share * candidate_rate + (1 - share) * control_rate
    logs = []
    for stake in LOG_ODDS:
        mean = variance = 0.0
        for count, rate, weight in (
            (candidate_count, candidate_rate, 1 - share),
            (control_count, control_rate, -share),
        ):
            failed, passed = math.log1p(stake * weight * (1 - centre)), math.log1p(-stake * weight * centre)
            mean += count * (rate * failed + (1 - rate) * passed)
            variance += count * rate * (1 - rate) * (failed - passed) ** 2
        logs.append(mean - errors * math.sqrt(variance))
    return log_mixture(logs, LOG_ODDS_WEIGHTS)
