"""The report's page: one HTML file with all facts about a sweep, which loads nothing from other servers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.style import STATES
from sweeps.engine.plan.arguments import storage_of
from sweeps.engine.plan.plan import on_test_split
from sweeps.engine.plan.uri import NOT_RECORDED
from sweeps.engine.report.captions import charts_of
from sweeps.engine.report.findings import findings
from sweeps.engine.report.pictures import picture
from sweeps.engine.report.plan_texts import plan_texts, version_texts
from sweeps.engine.report.ranks import ranks
from sweeps.engine.report.upload import UploadStatus, read_upload_status
from sweeps.engine.results.leaderboard import BESIDE, checkpoint_of, hyper_cells, hyper_titles
from sweeps.engine.results.results import Results
from sweeps.engine.storage.history import GENERATOR_UPDATES, SECONDS, History, read_histories
from sweeps.engine.storage.layout import sweep_folder
from sweeps.engine.study.attributes import COPIES
from sweeps.engine.study.rows import Row, score_text, sort_rows
from wgan_core.errors import printable

GALLERY, FRAMES = 10, 9
WIDTH, WIDE = 280, 560


@dataclass(frozen=True)
class Card:
    """A trial as the page shows it.

    Attributes:
        row: The trial.
        cells: Its hyper-parameters as texts, by title.
        score: Its best score.
        ratio: Its score divided by the floor.
        state: Its state, or "copies".
        beside: Scores beside its best one, as texts by short name.
        at_equal: Its score at the equal step.
        generator_updates: Its generator updates.
        seconds: Its seconds of training.
        checkpoint: Path of its best checkpoint, or empty.
        picture: Its samples as a `data:` URL, or empty.
    """

    row: Row
    cells: dict[str, str]
    score: str
    ratio: str
    state: str
    beside: dict[str, str]
    at_equal: str
    generator_updates: str
    seconds: str
    checkpoint: str
    picture: str = ""

    @property
    def is_scored(self) -> bool:
        return math.isfinite(self.row.value)


def page(results: Results, facts: Facts, described: dict[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        results: The sweep's results.
        facts: The sweep and its trials' records.
        described: Content of `sweep.json`.
    """
    charts, storage = charts_of(facts), _storage(results)
    confirmation, plan = results.confirmation, results.plan
    again = {} if confirmation is None else read_histories(results.folder, confirmation.rows)
    histories = {history.label: history for history in (*facts.histories.values(), *again.values())}
    uploads = {label: read_upload_status(results.folder, history) for label, history in histories.items()}
    test_objective = on_test_split(plan.objective)
    template = _environment().get_template("sweep.html")
    return template.render(
        **_best(results, facts, histories, uploads),
        mark=mark(plan.id),
        plan=plan,
        facts=facts,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        titles=hyper_titles(plan),
        beside=[name for name in BESIDE if plan.measures(name)],
        floor=score_text(plan.floor, plan.floor_error),
        inputs=results.program_use,
        where=f" --storage {shlex.quote(storage)}" if storage else "",
        open_where=f", {storage!r}" if storage else "",
        test_floor=None if confirmation is None else confirmation.plan.floors.get(test_objective),
        findings=findings(facts, confirmation),
        confirmation=confirmation,
        winner=None if confirmation is None else confirmation.winner,
        on_test_split=test_objective,
        gallery=[_card(results, facts, row, histories[row.label], WIDTH) for row in facts.best_first[:GALLERY]],
        trials=[_card(results, facts, row, histories[row.label]) for row in sort_rows(facts.rows)],
        counts={state: n for state in STATES if (n := sum(row.state == state for row in facts.rows))},
        charts=charts,
        figures=Markup("{" + ",".join(f'"{key}":{_json(chart.figure)}' for key, chart in charts.items()) + "}"),
        plotly=Markup(get_plotlyjs()),
        ranks=ranks(facts),
        failed=[row for row in results.all_rows if row.state == "FAIL"],
        is_recorded=described.get("tracking_uri") != NOT_RECORDED or any(each.run_id for each in uploads.values()),
        uploads=uploads,
        incomplete=[each for each in uploads.values() if not each.is_whole],
        records=_records(list(uploads.values())),
        plan_texts=plan_texts(results),
        version_texts=version_texts(described, facts),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sweeps.engine.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"short": short, "whole": whole, "time": time_of}
    return environment


def _shown(value: object) -> object:
    """Write out the control characters of a text. Jinja escapes HTML afterwards; our own HTML stays as it is."""
    return printable(value, "\n") if isinstance(value, str) and not isinstance(value, Markup) else value


def _best(
    results: Results, facts: Facts, histories: dict[str, History], uploads: dict[str, UploadStatus]
) -> dict[str, Any]:
    """Return what the page says of the best trial. Both dicts hold the records of all trials by label."""
    best = results.best_so_far
    if best is None:
        return {"best": None, "best_seed": None, "best_run": None, "frames": []}
    history = histories[best.label]
    return {
        "best": _card(results, facts, best, history, WIDE),
        "best_seed": results.plan_of(best).trial_seed(best.number),
        "best_run": uploads[best.label].run_id,
        "frames": _frames(results, best, history),
    }


def mark(sweep_id: str) -> str:
    """Return the text that identifies a file as a report of this sweep."""
    return f"wgan-sweeps report of sweep {sweep_id}"


def _card(results: Results, facts: Facts, row: Row, history: History, width: int = 0) -> Card:
    known, floor = math.isfinite(row.value), facts.plan.floor
    cells = hyper_cells(results.plan, row)
    return Card(
        row=row,
        cells=dict(zip(hyper_titles(results.plan), cells, strict=True)),
        score=score_text(row.value, row.error) if known else short(None),
        ratio=f"{row.value / floor:.1f}" if known and floor > 0 else "–",
        state=COPIES if row.copies else row.state,
        beside={name: short(row.beside.get(name)) for name in BESIDE if results.plan.measures(name)},
        at_equal=short(facts.equal.get(row.number) if results.plan_of(row) is facts.plan else None),
        generator_updates=whole(history.last.get(GENERATOR_UPDATES)),
        seconds=short(history.last.get(SECONDS)),
        checkpoint=str(checkpoint_of(results.folder, row)) if known else "",
        picture=picture(results.folder, row.label, row.best_step, width) if width and known else "",
    )


def _frames(results: Results, best: Row, history: History) -> list[tuple[int, str]]:
    """Return the winner's samples in the course of training, as pairs of critic updates and picture."""
    steps = [step.critic_updates for step in history.steps if step.image]
    every = max(1, math.ceil(len(steps) / FRAMES))
    chosen = steps[::-1][::every][::-1]
    found = [(step, picture(results.folder, best.label, step, WIDTH // 2)) for step in chosen]
    return [(step, image) for step, image in found if image]


def _storage(results: Results) -> str:
    """Return the storage that a command must be given to find the sweep; empty if it finds the sweep by itself."""
    name = results.plan.name
    if sweep_folder(storage_of(None), name) == results.folder:
        return ""
    return str(results.folder).removesuffix(f"/{name}")


def _records(uploads: Sequence[UploadStatus]) -> tuple[int, int]:
    """Return the number of records, and how many of them MLflow has."""
    recorded = sum(each.recorded for each in uploads)
    return recorded, recorded - sum(len(each.waiting) for each in uploads)


def _json(figure: Any) -> str:
    """Return a figure as JSON that is safe inside a script element, because Plotly escapes "<" and "/"."""
    return str(figure.to_json())


def short(value: float | None) -> str:
    """Format a number with four significant digits, or a dash if it is missing."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def whole(value: float | None) -> str:
    """Format a whole number with separated thousands, or a dash if it is missing."""
    return "–" if value is None or not math.isfinite(value) else f"{int(value):,}"


def time_of(history: History) -> str:
    """Format the UTC time of a trial's last record, or a dash if it has none."""
    span = history.span_ms
    return "–" if span is None else datetime.fromtimestamp(span[1] / 1000, UTC).strftime("%m-%d %H:%M:%S")
