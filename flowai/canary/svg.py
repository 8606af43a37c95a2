"""Parts of the SVG plots of a canary report: colours of both schemes, axes, lines.

Plots hold only numbers and names from flowai, escaped; no text from models or users.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WIDTH = 720

# dashes distinguish the lines too, for people who do not see colours; for both schemes
DASHES = ("", "6 3", "2 3")
_STYLE = """
svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
.paper { fill: #fff; } text { fill: #1c1f23; } .quiet { fill: #59616b; } .axis { stroke: #d8dce1; }
.band { fill: #e3f0e6; } .none { stroke: #59616b; }
.a { stroke: #0b62c4; } .b { stroke: #8a5200; } .c { stroke: #1a6b37; } .act { stroke: #b3261e; }
.dot { fill: #1c1f23; } .worse { fill: #b3261e; } .safe { fill: #1a6b37; }
path, line { fill: none; stroke-width: 1.5; } .thin { stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #16181b; } text { fill: #e6e8eb; } .quiet { fill: #a0a8b2; } .axis { stroke: #363b42; }
  .band { fill: #1d3325; } .none { stroke: #a0a8b2; }
  .a { stroke: #7ab4ff; } .b { stroke: #f0b35e; } .c { stroke: #6cc98a; } .act { stroke: #ff8d85; }
  .dot { fill: #e6e8eb; } .worse { fill: #ff8d85; } .safe { fill: #6cc98a; }
}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Area of a plot in pixels, and the ranges of its axes; values outside are drawn at the border."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        """Return the position of a value on the horizontal axis."""
        return self.left + _part(value, self.x_range) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the position of a value on the vertical axis."""
        return self.bottom - _part(value, self.y_range) * (self.bottom - self.top)


def _part(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return (min(max(value, low), high) - low) / ((high - low) or 1)


def document(title: str, height: float, parts: Iterable[str]) -> str:
    """Return an SVG with a title."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>',
            *parts,
            "</svg>\n",
        )
    )


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Return a text; `words` are escaped."""
    classes = f' class="{kind}"' if kind else ""
    return f'<text{classes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def line(kind: str, begin: tuple[float, float], end: tuple[float, float], *, dash: str = "") -> str:
    """Return a straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    (x1, y1), (x2, y2) = begin, end
    return f'<line class="{kind}"{dashes} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rows_of_y(frame: Frame, marks: Iterable[tuple[float, str]]) -> Iterator[str]:
    """Yield horizontal grid lines with their names."""
    for value, name in marks:
        y = frame.y(value)
        yield line("axis", (frame.left, y), (frame.right, y))
        yield text(frame.left - 6, y + 4, name, kind="quiet", anchor="end")


def curve(frame: Frame, kind: str, points: Sequence[tuple[float, float]], *, dash: str = "") -> str:
    """Return a line through points; empty without points."""
    placed = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points]
    if not placed:
        return ""
    path = f"M{' L'.join(placed)}" if len(placed) > 1 else f"M{placed[0]} h3"
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path class="{kind}"{dashes} d="{path}"/>'


def powers(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Return marks of whole powers of ten; values are logarithms."""
    step = max(1, math.ceil((high - low) / count))
    values = [power for power in range(math.ceil(low), math.floor(high) + 1) if power % step == 0]
    return [(float(power), f"10^{power}" if power else "1") for power in values]


def times(limits: tuple[float, float], count: int) -> list[tuple[float, str]]:
    """Return evenly spaced marks of times; values are seconds since 1970."""
    low, high = limits
    steps = range(count) if high > low else range(1)
    moments = [low + (high - low) * step / max(count - 1, 1) for step in steps]
    return [(at_s, datetime.fromtimestamp(at_s, UTC).strftime("%d %b %H:%M")) for at_s in moments]
