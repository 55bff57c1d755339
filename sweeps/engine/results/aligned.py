"""Tables of text. The module imports no study, so that commands without one start fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wgan_core.errors import printable


def table(lines: Sequence[Sequence[str]], align: Callable[[str, int], str] = str.rjust) -> list[str]:
    """Align cells in columns and return the lines of text, with a rule below the header line."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(align(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [text[0], "-" * max(map(len, text)), *text[1:]]
