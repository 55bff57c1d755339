"""The live view as a picture."""

from __future__ import annotations

import io
import re

from rich.console import Console

from sweeps.engine.cluster.use import Use
from sweeps.engine.terminal.screen import Screen
from sweeps.engine.terminal.view import View

# rich names fonts that a browser would fetch from the net.
FONTS = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def svg(view: View, use: Use | None = None, width: int = 100, height: int = 20) -> str:
    """SVG of what a terminal of so many columns and lines shows; it needs nothing but a font of equal widths."""
    console = Console(
        file=io.StringIO(), record=True, width=width, height=height, force_terminal=True, color_system="truecolor"
    )
    console.print(Screen(view, use=use), end="")
    return FONTS.sub("", console.export_svg(title=view.plan.name))
