"""Pure mathematics of measurements; knows no files, models or screens."""

from flowai.statistics.quantiles import quantile

__all__ = ["quantile"]
