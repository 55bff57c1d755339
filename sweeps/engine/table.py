"""Text in columns, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def table(lines: Sequence[Sequence[str]], align: Callable[[str, int], str] = str.rjust) -> list[str]:
    """The lines, the first of which is the header, with their cells in columns, and a rule below the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(align(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [text[0], "-" * max(map(len, text)), *text[1:]]
