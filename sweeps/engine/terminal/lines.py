"""How a sweep stands, in words."""

from __future__ import annotations

from sweeps.engine.terminal.view import View

SHOWN = 8


def line(view: View) -> str:
    """All of it in one line."""
    parts = [f"{clock(view.elapsed_s)}  {len(view.ended)} of {view.plan.trials} trials ended"]
    if view.running:
        shown = [f"{row.label} ({row.step / view.plan.budget:.0%})" for row in view.running[:SHOWN]]
        more = len(view.running) - len(shown)
        parts.append("running " + ", ".join(shown) + (f" and {more} more" if more else ""))
    if view.best is not None:
        parts.append(f"best {view.best.value:.4g} (trial {view.best.label})")
    parts.append(left(view))
    return "  |  ".join(parts)


def left(view: View) -> str:
    """The time left."""
    if len(view.ended) == view.plan.trials:
        return "all trials have ended"
    left_s = view.pace.left_s
    return "time left not known yet" if left_s is None else f"about {clock(left_s)} left"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds; without the hours where there are none."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def not_known(why: str) -> str:
    """What is said where the trials cannot be asked for now."""
    return f"  progress is not known now: {why}"
