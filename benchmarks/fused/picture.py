"""The picture of a run of `fused_trials.py`: trials on the device against trial-updates a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from machine import MOST_BUSY

# By arm: its label and colour. Two arms do not depend on how many trials there are, and were measured anew at each K.
LOOKS = {
    "ours": ("ours", "#d62728"),
    "eager": ("ours, not captured", "#ff9896"),
    "hfta": ("fused modules (HFTA)", "#1f77b4"),
    "processes": ("{processes} processes side by side", "#2ca02c"),
    "textbook": ("textbook loop, one at a time", "#7f7f7f"),
}
DASHES = ("--", "-.", ":")


def draw(content: dict[str, Any], out: Path) -> None:
    """Write the picture of these figures; its suffix says in which format."""
    from matplotlib.figure import Figure  # may be absent where the benchmark ran

    panels = sorted({(each["structure"], each["n_critic"]) for each in content["figures"]}, reverse=True)
    figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
    for axes, (structure, n_critic) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        figures = [
            each for each in content["figures"] if (each["structure"], each["n_critic"]) == (structure, n_critic)
        ]
        figures.sort(key=lambda each: each["trials"])
        for arm, (label, colour) in LOOKS.items():
            _line(axes, figures, arm, label.format(**content), colour)
        for (precision, seconds), dash in zip(figures[0]["floor_seconds"]["floor"].items(), DASHES, strict=False):
            axes.axhline(1 / seconds, color="black", linestyle=dash, linewidth=1, label=f"floor, {precision}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks([each["trials"] for each in figures], [str(each["trials"]) for each in figures])
        axes.set(
            title=f"{structure} pair, n_critic {n_critic}", xlabel="trials on the device", ylabel="trial-updates/s"
        )
        axes.grid(alpha=0.3, which="both")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    disturbed = ", WITH OTHER WORK BESIDE IT" if content["other_busy_cores"] > MOST_BUSY else ""
    figure.suptitle(f"{content['device']}, torch {content['torch']}, {content['date']}{disturbed}", fontsize=10)
    figure.savefig(out, dpi=110)


def _line(axes: Any, figures: list[dict[str, Any]], arm: str, label: str, colour: str) -> None:
    found = [(each["trials"], each["arms"][arm]) for each in figures if isinstance(each["arms"].get(arm), dict)]
    if not found:
        return
    rates = [entry["per_second"] for _, entry in found]
    middle = [rate["median"] for rate in rates]
    beyond = [[rate["median"] - rate["q1"] for rate in rates], [rate["q3"] - rate["median"] for rate in rates]]
    axes.errorbar([trials for trials, _ in found], middle, beyond, label=label, color=colour, marker="o", capsize=3)
