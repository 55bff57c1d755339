"""What a page of MLflow's shows, as its browser has it."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Page, expect

IN_TIME = 60_000  # milliseconds, on a busy machine
# By its cells' columns, each row of the table of runs.
TABLE = """rows => rows.map(row => Object.fromEntries(
    Array.from(row.querySelectorAll('.ag-cell')).map(cell => [cell.getAttribute('col-id'), cell.innerText.trim()])))"""
# Whether something was drawn: of each line its length in pixels, of a canvas how many pixels are not blank.
LINES = "paths => paths.map(path => path.getTotalLength())"
INKED = """canvas => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return Array.from({length: data.length / 4}, (_, at) => data[4 * at + 3]).filter(alpha => alpha > 0).length }"""
IMAGES = """images => images.map(image => ({
    complete: image.complete, width: image.naturalWidth, bottom: image.getBoundingClientRect().bottom}))"""
# Of the report: how bright its text is, and its ground, 0 to 255; and what the chart of the scores shows of each trial.
BRIGHTNESS = """body => { const style = getComputedStyle(body), of = text => text.match(/[0-9.]+/g).slice(0, 3)
    .reduce((sum, part) => sum + Number(part) / 3, 0); return [of(style.color), of(style.backgroundColor)] }"""
CURVES = """() => { const found = {};
    for (const trace of document.querySelector('#curves .js-plotly-plot').data) {
        const trials = trace.customdata || [];
        Array.from(trace.x).forEach((x, at) => {
            const told = Array.isArray(trials[at]) ? trials[at][0] : trials[at];
            const trial = told ?? (trace.name || '').match(/trial ([0-9]+)/)?.[1];
            if (trial != null && Number.isFinite(trace.y[at])) (found[trial] ??= {})[x] = trace.y[at];
        }) }
    return found }"""
PICTURES = "img[src*='get-artifact'][src*='compressed']"


def runs(uri: str, name: str, role: str, best_key: str) -> list[Run]:
    """The runs of a sweep by their score, as MLflow's client has them."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    order = [f"metrics.`{best_key}` ASC"]
    return list(client.search_runs([experiment.experiment_id], f"tags.`sweep.role` = '{role}'", order_by=order))


def names(page: Page, count: int) -> list[str]:
    """The names in the list of runs, from above; once there are so many. Rows come and go while the page is drawn."""
    rows = """count => {
        const found = [...document.querySelectorAll(".ag-row a[href*='/runs/']")].map(
            link => [Number(link.closest('.ag-row').getAttribute('row-index')), link.innerText])
        return found.length >= count && found }"""
    found = page.wait_for_function(rows, arg=count, timeout=IN_TIME).json_value()
    return [name for _, name in sorted(found)]


def table(page: Page, count: int) -> list[dict[str, Any]]:
    """The first rows of the table of runs: its cells by column."""
    expect(page.locator(".ag-center-cols-container .ag-row").nth(count - 1)).to_be_visible(timeout=IN_TIME)
    # A row is in two parts, as the columns on the left stay where they are.
    cells = [page.locator(f".ag-row[row-index='{place}']").evaluate_all(TABLE) for place in range(count)]
    return [{column: text for part in row for column, text in part.items()} for row in cells]


def wait_for_pictures(page: Page, count: int) -> list[dict[str, Any]]:
    """The images of the charts in sight, once so many are there whole."""
    whole = f"""() => Array.from(document.querySelectorAll("{PICTURES}"))
        .filter(image => image.complete && image.naturalWidth > 0).length >= {count}"""
    page.wait_for_function(whole, timeout=IN_TIME)
    found: list[dict[str, Any]] = page.locator(PICTURES).evaluate_all(IMAGES)
    return found


def wait_for_charts(page: Page) -> tuple[list[float], int]:
    """Of the first section: the lengths of its curves, and how much of the parallel coordinates is inked."""
    page.locator(".js-plotly-plot path.js-line").first.wait_for(state="attached", timeout=IN_TIME)
    page.locator(".parcoords canvas.foreground").wait_for(state="attached", timeout=IN_TIME)
    chart = page.locator(".js-plotly-plot").first
    lengths: list[float] = chart.locator("path.js-line").evaluate_all(LINES)
    inked: int = page.locator(".parcoords canvas.foreground").evaluate(INKED)
    return lengths, inked
