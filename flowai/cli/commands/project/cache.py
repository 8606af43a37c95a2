"""`flowai cache stats|show|clear|review`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from flowai.cache.admin import Caches
    from flowai.cache.answer_admin import CachedAnswer, SimilarRequests
    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.stats import CacheStats
    from flowai.errors import FlowaiError

app = typer.Typer(
    cls=HelpGroup,
    help="Show what the caches saved and got wrong; clear them.",
    epilog=examples("flowai cache stats", "flowai cache review", "flowai cache clear --env prod"),
    no_args_is_help=True,
)

_COLUMNS = (
    "feature",
    "cache",
    "store",
    "entries",
    "hits",
    "misses",
    "hit rate",
    "tokens saved",
    "saved",
    "time saved",
)


_SIMILAR_COLUMNS = (
    "feature",
    "route",
    "mode",
    "would-be hits",
    "equal",
    "judged same",
    "judged wrong",
    "not judged",
    "false hits",
    "95 % interval",
    "would save",
)
_MAX_SHOWN = 400  # characters of a text

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of a cached answer, as `flowai calls show` shows it.")]
FeatureOption = Annotated[str | None, typer.Option("--feature", metavar="NAME", help="Only this feature.")]


@app.command(cls=HelpCommand, epilog=examples("flowai cache stats", "flowai cache stats --env prod --json"))
def stats(env: Env = None, json: JsonOption = False) -> None:
    """Show entries, hits, savings and false hits by feature."""
    from flowai.cache.admin import cache_stats
    from flowai.cache.answer_admin import similar_requests
    from flowai.cli import console
    from flowai.errors import ExitCode

    caches = _caches(env)
    stores = cache_stats(caches)
    has_error = any(store.error for store in stores)
    similar = () if has_error else similar_requests(caches)
    if json:
        console.print_json({"caches": stores, "similar_requests": similar})
    else:
        _show(stores, caches.redis_shown)
        _show_similar(similar)
    if has_error:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


@app.command(cls=HelpCommand, epilog=examples("flowai cache show KEY", "flowai cache show KEY --json"))
def show(key: Key, env: Env = None, json: JsonOption = False) -> None:
    """Show a cached answer and where it is stored."""
    from flowai.cache.answer_admin import answer_key, find_answers
    from flowai.cli import console

    found = find_answers(_caches(env), answer_key(key, None))
    if not found:
        raise _no_answer(key)
    if json:
        console.print_json({"answers": found})
    else:
        _show_answers(found)


@app.command(
    cls=HelpCommand,
    epilog=examples(
        "flowai cache clear",
        "flowai cache clear --feature chat",
        "flowai cache clear --feature chat --key KEY",
    ),
)
def clear(
    feature: FeatureOption = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Only this answer; counts and comparisons stay.")
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Delete cached answers and counts, on disk and in Redis."""
    from flowai.cache.admin import clear_caches
    from flowai.cache.answer_admin import answer_key, forget_answer
    from flowai.cli import console

    caches = _caches(env)
    if key is None:
        entry_count = clear_caches(caches, feature=feature)
    else:
        entry_count = forget_answer(caches, answer_key(key, feature))
        if not entry_count:
            raise _no_answer(key)
    if json:
        console.print_json({"cleared_count": entry_count})
    else:
        console.print_line(f"cleared {entry_count:,} entries")


@app.command(
    cls=HelpCommand,
    epilog=examples("flowai cache review", "flowai cache review CALL same", "flowai cache review --judge --n 200"),
)
def review(
    call: Annotated[str | None, typer.Argument(metavar="CALL", help="Call to decide; without it, list them.")] = None,
    outcome: Annotated[
        str | None,
        typer.Argument(metavar="OUTCOME", help="`same` if one answer serves both requests, else `different`."),
    ] = None,
    count: Annotated[int, typer.Option("--n", "-n", metavar="N", min=1, help="Comparisons to list or judge.")] = 10,
    judge: Annotated[
        bool, typer.Option("--judge", help="Ask the judge of the release instead, twice for each comparison.")
    ] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Decide whether unequal answers to similar requests mean the same.

    Until then, unequal answers count as wrong, and keep the semantic cache from serving their prompt. Both texts are
    kept as long as the cached answer, the feature's `ttl`.
    """
    from flowai.cache.answer_admin import decide_comparisons, find_comparisons
    from flowai.cli import console
    from flowai.errors import UsageError

    caches = _caches(env)
    if call is not None:
        if outcome not in {"same", "different"}:
            raise UsageError(
                f"OUTCOME is {'missing' if outcome is None else f'`{outcome}`'}, expected `same` or `different`",
                hint=f"`flowai cache review {call} same`",
            )
        (decided, *_) = decide_comparisons(caches, {call: "same" if outcome == "same" else "different"})
        if json:
            console.print_json(decided)
        else:
            console.print_line(f"{decided.call_id}: {outcome}")
        return
    waiting = [each for each in find_comparisons(caches) if each.outcome == "undecided"]
    readable = [each for each in waiting if each.texts is not None][:count]
    if judge:
        _judge(caches, readable, env=env, json=json)
    elif json:
        console.print_json({"undecided_count": len(waiting), "comparisons": readable})
    else:
        _show_comparisons(len(waiting), readable)


def _judge(caches: Caches, readable: list[AnswerComparison], *, env: str | None, json: bool) -> None:
    """Let the judge of the release decide comparisons."""
    from flowai.cache.answer_admin import decide_comparisons
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.evals.judge_runs.equal_answers import ComparedAnswers, judge_equal_answers
    from flowai.rendering import formatting

    pairs = [
        ComparedAnswers(each.call_id, each.texts.answer, each.texts.cached_answer) for each in readable if each.texts
    ]
    judged = judge_equal_answers(console.command_context(env), pairs)
    decide_comparisons(
        caches, {call_id: "same" if is_same else "different" for call_id, is_same in judged.verdicts.items()}
    )
    same_count = sum(judged.verdicts.values())
    different_count = len(judged.verdicts) - same_count
    undecided_count = len(pairs) - len(judged.verdicts)
    if json:
        console.print_json(
            {
                "same_count": same_count,
                "different_count": different_count,
                "undecided_count": undecided_count,
                "cost_usd": judged.cost_usd,
                "failure": judged.failure,
            }
        )
    else:
        console.print_line(
            f"judged {same_count:,} same, {different_count:,} different, {undecided_count:,} without a verdict   "
            f"cost {formatting.dollars(judged.cost_usd)}"
        )
        if judged.failure is not None:
            console.print_line(f"last failure: {judged.failure}")
    if judged.failure is not None and not judged.verdicts:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def _no_answer(key: str) -> FlowaiError:
    from flowai.errors import UsageError

    return UsageError(f"no cached answer has the key `{key}`", hint="it may have expired, or have been deleted")


def _caches(env: str | None) -> Caches:
    import os

    from flowai.cache.admin import find_caches
    from flowai.cli import console

    return find_caches(console.project(), env=env, environ=os.environ)


def _show(stores: tuple[CacheStats, ...], redis: str) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    for store in stores:
        where = redis if store.store == "redis" else "disk"
        size = "" if store.size_bytes is None else f"{formatting.size(store.size_bytes)} "
        held = store.error or f"{formatting.count(store.entry_count, 'entry', 'entries')}   {size}on {where}"
        console.print_line(f"{store.cache + ' cache':<14}   {held}")
    rows = [row for store in stores for row in _rows(store)]
    if rows:
        console.print_table(_COLUMNS, rows)


def _rows(stats: CacheStats) -> list[tuple[str, ...]]:
    from flowai.cache.stats import CacheUsage
    from flowai.rendering import formatting

    rows: list[tuple[str, ...]] = []
    for feature in sorted({*stats.entry_counts, *stats.features}):
        used = stats.features.get(feature, CacheUsage())
        rows.append(
            (
                feature,
                stats.cache,
                stats.store,
                f"{stats.entry_counts.get(feature, 0):,}",
                f"{used.hit_count:,}",
                f"{used.miss_count:,}",
                formatting.rate(used.hit_rate),
                f"{used.saved_tokens:,}",
                formatting.dollars(used.saved_usd),
                formatting.duration(used.saved_s * 1000),
            )
        )
    return rows


def _show_similar(similar: tuple[SimilarRequests, ...]) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    if not similar:
        return
    console.print_line()
    console.print_line("similar requests: cached answers compared with answers that were paid for")
    rows = [
        (
            each.feature,
            each.route,
            "serving" if each.is_serving else each.mode,
            f"{each.comparison_count:,}",
            f"{each.equal_count:,}",
            f"{each.same_count:,}",
            f"{each.different_count:,}",
            f"{each.undecided_count:,}",
            formatting.MISSING_TEXT if each.rate is None else f"{each.rate * 100:.2f} %",
            f"{each.low * 100:.2f} to {each.high * 100:.2f} %",
            formatting.dollars(each.would_save_usd),
        )
        for each in similar
    ]
    console.print_table(_SIMILAR_COLUMNS, rows)
    for each in similar:
        if each.mode == "serve" and not each.is_serving:
            console.print_line(
                f"{each.feature}: not served, the interval ends above max_false_hits {each.max_rate * 100:g} %"
            )
    undecided_count = sum(each.undecided_count for each in similar)
    if undecided_count:
        pairs = formatting.count(undecided_count, "pair of answers is", "pairs of answers are")
        console.print_line(f"{pairs} unequal and not judged: flowai cache review")


def _show_answers(found: tuple[CachedAnswer, ...]) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    first = found[0]
    console.print_line(first.key)
    stores = ", ".join(f"{each.cache} on {each.store}" for each in found)
    console.print_line(f"cache   {stores}")
    completion = first.completion
    console.print_line(
        f"model   {completion.served_model or completion.model}   {formatting.dollars(completion.cost_usd)}   "
        f"{formatting.duration(completion.latency_ms)}"
    )
    texts = [each.text for each in found if each.text is not None]
    if texts:
        console.print_line(f"asked   {_cut(texts[0])}")
    console.print_line(f"answer  {_cut(completion.text)}")


def _show_comparisons(undecided_count: int, readable: list[AnswerComparison]) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    console.print_line(f"{formatting.count(undecided_count, 'comparison')} undecided, {len(readable):,} shown")
    for comparison in readable:
        texts = comparison.texts
        if texts is None:
            continue
        console.print_line()
        console.print_line(f"{comparison.call_id}   {comparison.feature}   similarity {comparison.similarity:.3f}")
        console.print_line(f"  asked          {_cut(texts.asked)}")
        console.print_line(f"  cached         {_cut(texts.cached_asked)}")
        console.print_line(f"  answer         {_cut(texts.answer)}")
        console.print_line(f"  cached answer  {_cut(texts.cached_answer)}")
    if undecided_count > len(readable):
        console.print_line()
        console.print_line("texts are kept as long as the cached answer (ttl); more with --n")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..."
