"""`flowai cache stats|clear`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from flowai.cache.admin import Caches
    from flowai.cache.stats import CacheStats

app = typer.Typer(
    cls=HelpGroup,
    help="Show what the caches saved; clear them.",
    epilog=examples("flowai cache stats", "flowai cache clear --env prod"),
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


@app.command(cls=HelpCommand, epilog=examples("flowai cache stats", "flowai cache stats --env prod --json"))
def stats(env: Env = None, json: JsonOption = False) -> None:
    """Show entries, hits and savings of both caches by feature."""
    from flowai.cache.admin import cache_stats
    from flowai.cli import console
    from flowai.errors import ExitCode

    caches = _caches(env)
    stores = cache_stats(caches)
    if json:
        console.print_json({"caches": stores})
    else:
        _show(stores, caches.redis_shown)
    if any(store.error for store in stores):
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


@app.command(cls=HelpCommand, epilog=examples("flowai cache clear", "flowai cache clear --env prod"))
def clear(env: Env = None, json: JsonOption = False) -> None:
    """Delete all cached answers and counts, on disk and in Redis."""
    from flowai.cache.admin import clear_caches
    from flowai.cli import console

    entry_count = clear_caches(_caches(env))
    if json:
        console.print_json({"cleared_count": entry_count})
    else:
        console.print_line(f"cleared {entry_count:,} entries")


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
