"""Derived metrics: arithmetic that runs no code, with the reason where there is no value."""

from __future__ import annotations

import pytest

from flowai.evals.execution.derived_metrics import ExpressionError, derive, evaluate
from flowai.evals.suites.records import DerivedMetric

VALUES = {"precision": 0.5, "recall": 0.25, "__count": 4.0, "a.b": 2.0}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * precision * recall / (precision + recall)", 1 / 3),
        ("precision - recall - recall", 0.0),
        ("-precision^2", -0.25),
        ("2^-1", 0.5),
        ("2^3^2", 512.0),
        ("7 % 4", 3.0),
        ("min(precision, recall, 9)", 0.25),
        ("sqrt(4) * a.b / __count", 1.0),
        (" 1e2+.5 ", 100.5),
    ],
)
def test_arithmetic_over_names(expression: str, value: float) -> None:
    assert evaluate(expression, VALUES) == pytest.approx(value)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("precision / (recall - recall)", "divides by zero"),
        ("recal", "reads `recal`, which is no metric"),
        ("1 2", "found `2`"),
        ("(1", "ends too early"),
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("max()", "found `)`"),
        ("sqrt(1, 2)", "found 2 arguments; expected 1"),
        ("log(0)", "has no value"),
        ("1e308 * 1e308", "no finite value"),
        ("9^9^9^9", "has no value"),
        ("__import__('os')", "is no number, name or sign"),
        ("precision.__class__", "which is no metric"),
        ("(" * 60 + "1" + ")" * 60, "nested too deeply"),
        ("1+" * 2000 + "1", "longer than"),
    ],
)
def test_what_has_no_value_says_why(expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(expression, VALUES)
    assert reason in str(caught.value)


def test_later_metrics_read_earlier_ones_and_a_wrong_one_is_left_out() -> None:
    metrics = (
        DerivedMetric(name="sum", value="precision + recall"),
        DerivedMetric(name="wrong", value="nothing / 2"),
        DerivedMetric(name="mean", value="sum / 2"),
    )
    found, problems = derive(metrics, VALUES)
    assert found == {"sum": 0.75, "mean": 0.375}
    assert problems == ["derived metric `wrong`: `nothing / 2` reads `nothing`, which is no metric"]
