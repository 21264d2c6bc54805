"""The table at the end, and the same as JSON."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """A line of the table. ``met`` is None where there is no target."""

    what: str
    genmeter: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None


@dataclass
class Report:
    """Everything a run has found: lines for people, figures for programs, and what disagreed."""

    lines: list[Line] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, line: Line, **figures: object) -> None:
        """A line of the table and the figures it was made of."""
        self.lines.append(line)
        self.figures |= figures

    def check(self, right: bool, what: str) -> None:
        """Say whether ``what`` is so; where it is not, the run fails in the end."""
        print(f"  {'ok' if right else 'WRONG'}: {what}", flush=True)
        if not right:
            self.faults.append(what)

    def table(self) -> str:
        """The lines below one another, in columns."""
        head: tuple[str, ...] = ("what", "genmeter", "peer", "ratio", "target", "met")
        rows = [head]
        for line in self.lines:
            met = "" if line.met is None else "yes" if line.met else "NO"
            rows.append((line.what, line.genmeter, line.peer, line.ratio, line.target, met))
        return columns(rows)

    def write(self, path: Path) -> None:
        """The figures, the lines and the faults as JSON."""
        lines = [vars(line) for line in self.lines]
        text = {"figures": self.figures, "lines": lines, "faults": self.faults}
        path.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n")


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows below one another, the first of them as a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ruled
    )


def at(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` of some ordered values do not pass; 0.0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def short(value: float) -> str:
    """A number with as many digits as are of interest."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def spread(seconds: Sequence[float]) -> str:
    """Median, least and 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    middle, least, most = statistics.median(ordered), ordered[0], at(ordered, 0.95)
    return f"{short(middle * 1e3)} ms (min {short(least * 1e3)}, p95 {short(most * 1e3)})"
