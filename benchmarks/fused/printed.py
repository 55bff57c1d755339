"""What `fused_trials.py` prints of a figure."""

from __future__ import annotations

from typing import Any

from fused.floor import Work

NOT_MEASURED = "not measured"
ARMS = ("ours", "eager", "hfta", "processes", "textbook")
HEADER = (
    f"{'K':>4}  {'arm':<10}{'trial-updates/s [q1, q3]':>30}{'ours / it [q1, q3]':>24}  share of the floor, a report"
)


def rows(figure: dict[str, Any]) -> str:
    """A line an arm."""
    reached = ", ".join(f"{precision} {share:.1%}" for precision, share in figure.get("reached", {}).items())
    beside = {"ours": f"  {reached}; {_milliseconds(figure['report_ms'])}" if reached else ""}
    lines = [
        f"{figure['trials']:>4}  {arm:<10}{_rate(figure['arms'][arm]):>30}"
        f"{_ratio(figure['ratios'].get(f'ours/{arm}')):>24}{beside.get(arm, '')}"
        for arm in ARMS
    ]
    return "\n".join(line.rstrip() for line in lines)


def floor_lines(figure: dict[str, Any]) -> str:
    work, floor = Work(**figure["work"]), figure["floor_seconds"]
    products = ", ".join(f"{precision} {1e6 * taken:.1f} us" for precision, taken in floor["products"].items())
    moved = ", ".join(
        f"{count / 1e6:.1f} {name}"
        for name, count in (
            ("optimiser", work.optimiser_bytes),
            ("weights", work.weight_bytes),
            ("activations", work.activation_bytes),
        )
    )
    of_bytes = f"{1e6 * floor['bytes']:.1f} us" if floor["bytes"] is not None else NOT_MEASURED
    least = ", ".join(f"{precision} {1 / taken:.0f}/s" for precision, taken in floor["floor"].items())
    return (
        f"floor of a trial-update: products of {work.operations / 1e6:.0f} MFLOP {products}; "
        f"bytes, {work.bytes / 1e6:.1f} MB ({moved}), {of_bytes}; the larger of the two: {least}"
    )


def _rate(entry: dict[str, Any] | str) -> str:
    if isinstance(entry, str):
        return entry
    rate = entry["per_second"]
    return f"{rate['median']:.1f} [{rate['q1']:.1f}, {rate['q3']:.1f}]"


def _milliseconds(taken: float | None) -> str:
    return "lost in the noise" if taken is None else f"{taken:.1f} ms"


def _ratio(values: dict[str, float] | None) -> str:
    return f"{values['median']:.2f} [{values['q1']:.2f}, {values['q3']:.2f}]" if values else ""
