"""Finds the judges on whose verdicts a suite's gate depends, with their calibrations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.analytics.judged_usage import judging_rules
from flowai.calibration import JudgeStanding
from flowai.evals.gates.judged import METRIC_PREFIX, PASS_RATE, GatingJudge
from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.calibration import JudgingRules
    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.suites.records import Assertion, Case, Suite
    from flowai.workspace.workspace import Workspace


def gating_judges(workspace: Workspace, suites: Iterable[Suite]) -> dict[str, tuple[GatingJudge, ...]]:
    """Return the judges of each suite that are calibrated, or must be, by suite path.

    Suites without one are left out: the verdicts of a grader that was never measured count as they are, unless the
    registry requires a calibration (`policies.judging.require_calibration`).

    Raises:
        ProjectError: a calibration cannot be read.
        SuiteError: an assertion has no grader.
        PromptError: the prompt of the registry's judge is wrong.
    """
    rules = judging_rules(workspace)
    names = {calibration.name for calibration in rules.calibrations}
    is_required = workspace.registry.policies.judging.require_calibration
    if not names and not is_required:
        return {}
    from flowai.evals.judge_identity import graded_assertions, property_name, suite_judges  # late: with the gateway

    found = {}
    for suite in suites:
        judged = {property_name(item) for case in suite.cases for item in graded_assertions(case)}
        if not judged or not (is_required or judged & names):
            continue
        judges = [_gating_judge(suite, judge, rules) for judge in suite_judges(workspace, suite)]
        kept = tuple(judge for judge in judges if is_required or judge.is_measured)
        if kept:
            found[suite.path] = kept
    return found


def _gating_judge(suite: Suite, judge: JudgeIdentity, rules: JudgingRules) -> GatingJudge:
    """Build the judge; a calibration of another rubric is of another property, though its name be the same."""
    own = tuple(one for one in rules.calibrations if (one.name, one.rubric_hash) == (judge.name, judge.rubric_hash))
    standing = replace(rules, calibrations=own).standing(judge.name, {judge.judge_hash: 1})
    limits = _limits(suite, judge.name)
    return GatingJudge(
        standing=standing or JudgeStanding(judge_hashes=(judge.judge_hash,)),
        is_measured=bool(own),
        limits=limits,
        own_limits=frozenset(limit for limit in limits if _is_alone(suite, judge.name, limit)),
    )


def _limits(suite: Suite, name: str) -> frozenset[str]:
    """Return the limits that a judged property influences; a check of weight 0 never fails a case."""
    from flowai.evals.judge_identity import graded_assertions, property_name  # late: as above

    limits = set()
    for case in suite.cases:
        for assertion in graded_assertions(case):
            if property_name(assertion) == name:
                limits |= {PASS_RATE} if assertion.weight > 0 else set()
                limits |= {METRIC_PREFIX + assertion.metric} if assertion.metric else set()
    return frozenset(limits)


def _is_alone(suite: Suite, name: str, limit: str) -> bool:
    """Return whether a limit is of one verdict on this property for each answer, and of nothing else."""
    from flowai.evals.judge_identity import property_name  # late: as above

    if suite.extensions:  # hooks may change what passes
        return False
    for case in suite.cases:
        deciding = list(_deciding(case, limit))
        if len(deciding) > 1 or any(property_name(assertion) != name for assertion in deciding):
            return False
        if limit == PASS_RATE and (case.threshold is not None or any(item.children for item in case.assertions)):
            return False
    return True


def _deciding(case: Case, limit: str) -> Iterator[Assertion]:
    for assertion in iterate_assertions(case.assertions):
        if assertion.weight > 0 if limit == PASS_RATE else METRIC_PREFIX + (assertion.metric or "") == limit:
            yield assertion
