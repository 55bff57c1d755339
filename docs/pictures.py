"""What this folder shows of a sweep: `make pictures`, on a sweep in the storage.

Of one that runs, the live view; of one that has ended, its report, and pictures of that and of its pages in MLflow, by
Debian's chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from sweeps.engine.plan.arguments import storage_of
from sweeps.engine.report.write import PAGE, REPORT
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.results.status import read_status
from sweeps.engine.terminal.live import svg
from sweeps.engine.terminal.view import Estimate, View

HERE = Path(__file__).parent
SIZE: ViewportSize = {"width": 1440, "height": 900}
USUAL_STORAGE = "~/wgan-sweeps"
WAIT_MS = 60_000
LOOK_S = 45.0
# MLflow opens a panel of its assistant beside the page once, on the first visit to a server on this machine.
NOT_THE_FIRST_VISIT = """if (location.protocol == 'http:')
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="mnist", help="of the sweep")
    parser.add_argument("--storage", help="folder of all sweeps (default: $WGAN_STORAGE, else ~/wgan-sweeps)")
    given = parser.parse_args()
    results = open_results(storage_of(given.storage), given.name)
    status = read_status(results)
    if status.driver is not None and status.driver.may_live:
        live_view(results, status.driver.session)
        return
    chromium = shutil.which("chromium")
    assert chromium, "Debian's chromium must be there: make test-deps"
    with serving(given.name, storage_of(given.storage)) as link, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport=SIZE)
        context.add_init_script(NOT_THE_FIRST_VISIT)
        mlflow_pages(context.new_page(), link)
        report_pages(context.new_page(), copied(results))
        browser.close()


def live_view(before: Results, session: str) -> None:
    """As a terminal shows it, with the pace of the half-minute that this takes."""
    estimate = Estimate(before.plan)
    estimate.look(before.rows, 0.0)
    time.sleep(LOOK_S)
    now = open_results(str(Path(before.folder.path).parent), before.plan.name)
    view = View(now.plan, now.rows, LOOK_S, estimate.look(now.rows, LOOK_S), session)
    (HERE / "terminal.svg").write_text(svg(view, height=14))
    print(HERE / "terminal.svg")


@contextmanager
def serving(name: str, storage: str) -> Iterator[str]:
    """Run `sweeps serve-ui` for as long as the block lasts; yield the link that it prints, which carries the key."""
    command = [str(Path(sys.executable).with_name("sweeps")), "serve-ui", name, "--storage", storage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[-1] for line in process.stdout if "#/experiments/" in line)
        finally:
            process.terminate()


def mlflow_pages(page: Page, link: str) -> None:
    """The link's first screen, and the same as a table."""
    page.goto(link, wait_until="domcontentloaded")
    page.locator("img[src*='get-artifact'][src*='compressed']").nth(3).wait_for(timeout=WAIT_MS)
    page.locator(".parcoords canvas.foreground").wait_for(timeout=WAIT_MS)
    keep(page, "mlflow")
    page.goto(link.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), wait_until="domcontentloaded")
    page.reload(wait_until="domcontentloaded")
    page.locator(".ag-center-cols-container .ag-row").nth(5).wait_for(timeout=WAIT_MS)
    keep(page, "mlflow-table")


def copied(results: Results) -> Path:
    """The report in this folder; the usual storage stands for that of the machine on which it was made."""
    storage = str(Path(results.folder.path).parent)
    report = HERE / f"{results.plan.name}-report.html"
    report.write_text((results.folder / REPORT).read(PAGE).decode().replace(storage, USUAL_STORAGE))
    print(report)
    return report


def report_pages(page: Page, report: Path) -> None:
    """The report's head, and some of its charts."""
    page.goto(report.as_uri(), wait_until="domcontentloaded")
    page.locator("#curves .js-plotly-plot path.js-line").first.wait_for(state="attached", timeout=WAIT_MS)
    keep(page, "report")
    for section in ("confirmed", "parallel", "map"):
        part = page.locator(f"#{section}")
        part.scroll_into_view_if_needed()
        time.sleep(0.5)
        part.screenshot(path=HERE / f"report-{section}.png")
        print(HERE / f"report-{section}.png")


def keep(page: Page, name: str) -> None:
    """The page as it is in the window, a moment later: what is drawn moves in."""
    time.sleep(2)
    page.screenshot(path=HERE / f"{name}.png")
    print(HERE / f"{name}.png")


if __name__ == "__main__":
    main()
