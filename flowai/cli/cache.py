"""`flowai cache stats|clear`: what the exact cache holds and saved; empties it.

In: options. Out: a table or JSON on stdout. Must never know how the cache keeps things.
"""

from __future__ import annotations

import typer

from flowai.cli.options import Json

app = typer.Typer(help="Show what the cache saved; empty it.", no_args_is_help=True)


@app.command()
def stats(json: Json = False) -> None:
    """Show entries, bytes, hits, misses, and what was saved, by feature."""
    from flowai.cli import console
    from flowai.operations.cache import cache_stats

    found = cache_stats(console.project())
    if json:
        console.print_json(found)
        return
    from flowai.reports import numbers

    console.print_line(
        f"exact cache   {numbers.count(found.entry_count, 'entry', 'entries')}   "
        f"{numbers.size(found.size_bytes)} on disk"
    )
    rows = []
    for feature in sorted({*found.entry_counts, *found.features}):
        used = found.features.get(feature)
        if used is None:
            rows.append((feature, str(found.entry_counts.get(feature, 0)), "0", "0", "-", "0", "$0", "0.00 s"))
            continue
        asked_count = used.hit_count + used.miss_count
        rows.append(
            (
                feature,
                f"{found.entry_counts.get(feature, 0):,}",
                f"{used.hit_count:,}",
                f"{used.miss_count:,}",
                numbers.rate(used.hit_count / asked_count if asked_count else None),
                f"{used.saved_tokens:,}",
                numbers.dollars(used.saved_usd),
                numbers.duration(used.saved_s * 1000),
            )
        )
    if rows:
        console.print_table(
            ("feature", "entries", "hits", "misses", "hit rate", "tokens saved", "saved", "time saved"), rows
        )


@app.command()
def clear(json: Json = False) -> None:
    """Forget every cached answer and every count."""
    from flowai.cli import console
    from flowai.operations.cache import clear_cache

    entry_count = clear_cache(console.project())
    if json:
        console.print_json({"cleared_count": entry_count})
    else:
        console.print_line(f"cleared {entry_count:,} entries")
