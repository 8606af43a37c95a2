"""An incident through a real log: kinds, languages, phrases, repeats, and values that would be SQL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.incident_project import BEGIN, LEFT, Day, Facts, write_log

from flowai.analytics.event_query import TimeRange, open_log
from flowai.postmortem.analysis.call_facts import COLUMNS
from flowai.postmortem.analysis.investigate import investigate
from flowai.postmortem.analysis.records import IncidentQuestion
from flowai.redaction import Redactor
from flowai.timestamps import to_us

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from flowai.postmortem.analysis.records import Investigation

pytestmark = pytest.mark.slow  # reads large logs

QUESTION = IncidentQuestion(
    incident=TimeRange(since_us=to_us(BEGIN), until_us=to_us(LEFT)),
    baseline=TimeRange(since_us=to_us(BEGIN - timedelta(hours=3)), until_us=to_us(BEGIN)),
    after=TimeRange(since_us=to_us(LEFT), until_us=to_us(LEFT + timedelta(hours=1))),
    feature=None,
    now_us=to_us(LEFT + timedelta(hours=2)),
)


def look_into(directory: Path, question: IncidentQuestion = QUESTION) -> Investigation:
    with open_log(directory, COLUMNS, question.time_range) as log:
        return investigate(log, question, redact=Redactor(()).text)[0]


def named(found: Investigation) -> list[tuple[str, str]]:
    return [(one.kind, " & ".join(f"{part.attribute}={part.value}" for part in one.where)) for one in found.findings]


def fails(facts: Facts, words: str = "upstream said 500") -> None:
    facts |= {"error_class": "ServerError", "error_message": words}


def tenant_fails(facts: Facts, rng: random.Random) -> None:
    if facts["tenant"] == "t3" and rng.random() < 0.5:
        fails(facts, f"tenant quota {rng.randrange(10**6)} is spent")


def german_breaks(facts: Facts, rng: random.Random) -> None:
    if rng.random() < 0.2:
        facts["text"] = "die Bestellung der Kundin ist nicht da und sie fragt"
        facts["json_valid"] = facts["json_valid"] and rng.random() < 0.3


def phrase_is_cut(facts: Facts, rng: random.Random) -> None:
    if rng.random() < 0.05:
        facts["text"] += ", see tax form 1099."
        facts["finish_reason"] = "length" if rng.random() < 0.8 else "stop"


def long_is_slow(facts: Facts, rng: random.Random) -> None:
    if facts["input_tokens"] >= 1000 and rng.random() < 0.7:
        facts["latency_ms"] *= 4


def release_is_costly(facts: Facts, rng: random.Random) -> None:
    if facts["prompt_id"] == "prompts/extract_v2" and rng.random() < 0.7:
        facts["output_tokens"] *= 6


def model_is_rejected(facts: Facts, rng: random.Random) -> None:
    if facts["requested_model"] == "haiku":
        facts["is_rejected"] = rng.random() < 0.8


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (tenant_fails, ("error", "tenant=t3")),
        (german_breaks, ("invalid_json", "language=German")),
        (phrase_is_cut, ("truncated", "phrase=tax form 1099")),
        (long_is_slow, ("slow", "input=1,000 tokens or more")),
        (release_is_costly, ("expensive", "prompt=prompts/extract_v2")),
        (model_is_rejected, ("rejected_by_user", "model=haiku")),
    ],
)
def test_the_cause_is_the_first_finding(breaks: Any, expected: tuple[str, str], tmp_path: Path) -> None:
    write_log(tmp_path, Day(breaks=breaks, feedback_rate=0.5))
    found = look_into(tmp_path)
    assert named(found)[:1] == [expected]
    assert len(found.findings) <= 2, named(found)


def test_a_log_in_which_nothing_broke_has_no_findings(tmp_path: Path) -> None:
    write_log(tmp_path, Day(feedback_rate=0.5))
    found = look_into(tmp_path)
    assert found.findings == ()
    assert found.call_count == 1200
    assert found.baseline_count == 3600
    assert found.impact.call_count > 0, "calls fail on every day"


def test_a_finding_has_users_rates_and_the_shortest_calls(tmp_path: Path) -> None:
    write_log(tmp_path, Day(breaks=tenant_fails))
    found = look_into(tmp_path)
    (finding,) = found.findings
    assert 0 < finding.user_count <= finding.inside.failure_count < finding.inside.count
    assert finding.outside.rate is not None
    assert finding.outside.rate < 0.03
    assert finding.symptoms == ("ServerError 100%",)
    assert [len(one.request or "") for one in finding.examples] == sorted(
        len(one.request or "") for one in finding.examples
    )
    assert finding.examples[0].error is not None
    cluster = found.clusters[0]
    assert cluster.pattern == "tenant quota <n> is spent"
    assert cluster.baseline_count == 0
    assert 0 < cluster.count <= finding.inside.failure_count + 5


def test_repeated_failures_of_one_user_count_once(tmp_path: Path) -> None:
    """A user whose calls all fail counts as a single failure in five minutes, not as a broken tenant."""

    def one_user_insists(facts: Facts, rng: random.Random) -> None:
        if rng.random() < 0.1:
            facts |= {"user_hash": "u-mad", "tenant": "t3", "feature": "chat", "json_valid": None}
            fails(facts)

    write_log(tmp_path, Day(breaks=one_user_insists))
    assert named(look_into(tmp_path)) == []


def test_a_provider_that_a_fallback_hides_is_named(tmp_path: Path) -> None:
    path = write_log(tmp_path, Day())
    lines = path.read_text().splitlines()
    since, until = BEGIN.isoformat()[:19], LEFT.isoformat()[:19]
    failing = '{"model":"haiku","provider":"anthropic","status":"error","message":"503 overloaded, id 77"}'
    changed = []
    for number, line in enumerate(lines):
        at = line.partition('"at":"')[2][:19]
        is_rescued = number % 2 and '"requested_model":"haiku"' in line and '"error_message":null' in line
        head, _, tail = line.partition('"attempts":[')
        if since <= at < until and is_rescued:
            head = head.replace('"provider":"anthropic"', '"provider":"openai"')
            changed.append(f'{head}"attempts":[{failing},{tail}')
        else:
            changed.append(line)
    path.write_text("\n".join(changed) + "\n")
    found = look_into(tmp_path)
    assert named(found)[0] == ("fallback_used", "model=haiku")
    assert found.findings[0].also[0][0].value == "anthropic"
    assert any(one.pattern == "<n> overloaded, id <n>" and one.error_class == "first attempt" for one in found.clusters)


def test_failed_scores_are_failures(tmp_path: Path) -> None:
    path = write_log(tmp_path, Day())
    scores = []
    for line in path.read_text().splitlines():
        call, at = line.partition('"call_id":"')[2].partition('"')[0], line.partition('"at":"')[2].partition('"')[0]
        is_bad = '"release":"v2"' in line
        scores.append(
            f'{{"kind":"score","schema_version":1,"call_id":"{call}","at":"{at}","origin":"judge","name":"hallucination",'
            f'"passed":{"false" if is_bad else "true"}}}'
        )
    path.with_name("judge.jsonl").write_text("\n".join(scores) + "\n")
    assert named(look_into(tmp_path))[0] == ("failed_evaluation", "release=v2")


def test_hostile_values_are_read_as_text(tmp_path: Path) -> None:
    name = "t'); DROP TABLE facts; --"

    def hostile(facts: Facts, rng: random.Random) -> None:
        if facts["tenant"] == "t3":
            facts["tenant"] = name
            facts["text"] = "o'neil's \x1b[31m % _ \\ 'quoted' phrase"
            if rng.random() < 0.6:
                fails(facts, "it's \x00 \u202e over")

    write_log(tmp_path, Day(breaks=hostile))
    found = look_into(tmp_path)
    assert found.findings[0].kind == "error"
    assert name in {part.value for one in found.findings for where in (one.where, *one.also) for part in where}


def test_texts_hold_no_secrets(tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2" * 12

    def tells(facts: Facts, rng: random.Random) -> None:
        if facts["tenant"] == "t3" and rng.random() < 0.5:
            facts["text"] = f"my key is {key}"
            fails(facts, f"bad key {key}")

    write_log(tmp_path, Day(breaks=tells))  # a log that was written without redaction
    found = look_into(tmp_path)
    assert key not in str(found.findings) + str(found.clusters)
    assert "[REDACTED:" in str(found.clusters)


def test_without_content_findings_have_no_language_and_no_example(tmp_path: Path) -> None:
    write_log(tmp_path, Day(breaks=tenant_fails, has_content=False))
    found = look_into(tmp_path)
    assert named(found) == [("error", "tenant=t3")]
    assert found.content.kept_count == 0
    assert found.content.missing == ("chat", "extract")
    assert {one.request for one in found.findings[0].examples} == {None}


def test_a_missing_baseline_is_reported(tmp_path: Path) -> None:
    write_log(tmp_path, Day(breaks=tenant_fails, has_baseline=False))
    found = look_into(tmp_path)
    assert named(found)[0] == ("error", "tenant=t3")
    assert found.findings[0].is_new
    assert "slow and expensive are relative to the incident itself" in found.warnings[0]


def test_damaged_lines_are_reported_and_duplicates_count_once(tmp_path: Path) -> None:
    path = write_log(tmp_path, Day(breaks=tenant_fails))
    text = path.read_text()
    line = text.splitlines()[0]
    old = line.replace('"schema_version":1', '"schema_version":9').replace("call-1-", "call-9-")
    late = line.replace("2026-05-04T07", "2026-05-04T12").replace("call-1-", "call-8-")
    path.write_text(f"{text}{line}\n{old}\n{late}\n[]\n" + '{"kind":"call","call_id":"torn')
    found = look_into(tmp_path)
    assert {one.kind: one.count for one in found.problems} == {"duplicated": 1, "unknown_version": 1, "unreadable": 2}
    assert named(found) == [("error", "tenant=t3")]


def test_extreme_numbers_are_accepted(tmp_path: Path) -> None:
    def absurd(facts: Facts, rng: random.Random) -> None:
        facts["input_tokens"] = rng.choice((0, 10**15))
        facts["latency_ms"] = rng.choice((0.0, 1e300))
        facts["cost_usd"] = 1e300

    write_log(tmp_path, Day(calls_count=500, breaks=absurd))
    assert look_into(tmp_path).call_count == 100


def test_fields_of_any_type_are_accepted(tmp_path: Path) -> None:
    shapes: list[tuple[str, Any]] = [
        ("attempts", "x"),
        ("attempts", {"a": 1}),
        ("attempts", [1, {"provider": 7, "status": ["x"]}]),
        ("content", "text"),
        ("content", {"messages": "x"}),
        ("content", {"messages": [1, "a"]}),
        ("content", {"messages": [{"role": "user", "content": [{"type": "text", "text": "h\u00e9"}]}], "output": 5}),
        ("content", {"messages": [{"role": "user", "content": None}]}),
        ("input_tokens", "many"),
        ("latency_ms", -1),
        ("at", "9999-12-31T23:59:59Z"),
        ("at", None),
        ("feature", {"a": 1}),
        ("tenant", "x" * 5000),
        ("error_message", "\u0000\U0001f600" * 100),
        ("finish_reason", ["length"]),
        ("kind", 7),
        ("call_id", None),
    ]
    path = write_log(tmp_path, Day(calls_count=1500, breaks=tenant_fails))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number, line in enumerate(lines):
        if number % 2:
            line.update([shapes[number // 2 % len(shapes)]])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = look_into(tmp_path)
    assert found.call_count > 200
    assert sum(one.count for one in found.problems) > 50


def test_empty_and_missing_logs_have_no_calls(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        found = look_into(directory)
        assert found.call_count == 0
        assert found.findings == ()
        assert found.first_bad_at is None


def test_parquet_and_jsonl_give_the_same_report(tmp_path: Path) -> None:
    path = write_log(tmp_path / "json", Day(calls_count=3000, breaks=tenant_fails, feedback_rate=0.3))
    here = to_parquet(path, tmp_path / "parquet")
    assert look_into(here) == look_into(tmp_path / "json")


def to_parquet(path: Path, directory: Path) -> Path:
    import duckdb  # noqa: TID251 - writes what a lake would hold

    day = directory / path.parent.name
    day.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        lines = f"read_json('{path}', hive_partitioning = false, union_by_name = true)"
        wanted = f'SELECT * REPLACE ("at"::TIMESTAMPTZ AS "at") FROM {lines}'  # noqa: S608 - a path of ours
        connection.execute(f"COPY ({wanted}) TO '{day}/a.parquet'")
    return directory


def test_equal_logs_give_equal_reports(tmp_path: Path) -> None:
    path = write_log(tmp_path / "one", Day(calls_count=3000, breaks=tenant_fails))
    lines = path.read_text().splitlines()
    other = tmp_path / "two" / path.parent.name
    other.mkdir(parents=True)
    (other / "b.jsonl").write_text("\n".join(lines[1::2]) + "\n")
    (other / "a.jsonl").write_text("\n".join(lines[::2]) + "\n")
    assert look_into(tmp_path / "one") == look_into(tmp_path / "two")
