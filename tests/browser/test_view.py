"""What a person sees in MLflow of a finished sweep of twelve trials, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, expect

from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import on_test_split
from sweeps.engine.results.results import Results
from sweeps.engine.tracking import best_key
from sweeps.engine.tracking.view import plain_link, view_link
from tests.browser import shown
from tests.sweeps.made import OBJECTIVE, confirm_made, made_sweep
from tests.sweeps.mlflow_server import Server
from tests.sweeps.processes import Surroundings, wait_for

NAME, BEST = "blobs", best_key(OBJECTIVE)

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_server, pytest.mark.slow]


@dataclass
class Shown:
    """A sweep, and the server that shows it."""

    results: Results
    uri: str
    database: str
    trials: list[Run]
    parent: Run

    @property
    def experiment(self) -> str:
        return str(self.parent.info.experiment_id)

    def run_page(self, run: Run) -> str:
        return f"{self.uri}/#/experiments/{self.experiment}/runs/{run.info.run_id}?workflowType=machine_learning"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    storage: Path = tmp_path_factory.mktemp("storage")
    results, database = made_sweep(storage, NAME), f"sqlite:///{storage}/mlflow.db"
    server = Server(database, storage)
    server.launch()
    trials, (parent,) = (shown.runs(database, NAME, role, BEST) for role in ("trial", "sweep"))
    server.wait()
    yield Shown(results, server.uri, database, trials, parent)
    server.kill()


def test_the_first_screen_has_the_ten_best_with_scores_charts_and_samples(
    sweep: Shown, page: Page, keep: Callable[[Page, str], None]
) -> None:
    page.goto(view_link(sweep.uri, sweep.experiment, sweep.results.plan.id), wait_until="domcontentloaded")
    names = shown.names(page, 12)
    assert names == [run.info.run_name for run in sweep.trials]
    scores = [run.data.metrics[BEST] for run in sweep.trials[:10]]
    assert scores == sorted(scores)
    assert [float(name.split()[1]) for name in names[:10]] == [float(f"{score:.4g}") for score in scores]

    lengths, inked = shown.wait_for_charts(page)
    curves = [run for run in sweep.trials[:10] if run.data.tags["best.critic_updates"] != "100"]
    assert len({round(length, 3) for length in lengths if length > 10}) == len(curves) > 2  # MLflow draws each twice
    assert inked > 1000
    pictures = shown.wait_for_pictures(page, 4)
    keep(page, "mlflow-first-screen")
    assert all(picture["bottom"] < page.viewport_size["height"] for picture in pictures[:4])  # type: ignore[index]
    expect(page.get_by_text("samples/best of 11")).to_be_visible()
    expect(page.get_by_text(OBJECTIVE, exact=True).first).to_be_visible()

    # Below it, their training.
    page.set_viewport_size({"width": 1440, "height": 1750})
    for title in ("film/best of 11", "train/wasserstein_estimate", "train/gradient_norm"):
        expect(page.get_by_text(title, exact=True).first).to_be_visible(timeout=shown.IN_TIME)
    assert len(shown.wait_for_pictures(page, 8)) == 8
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length == 3", timeout=shown.IN_TIME)
    keep(page, "mlflow-view")


def test_the_table_has_scores_and_what_was_searched(
    sweep: Shown, page: Page, keep: Callable[[Page, str], None]
) -> None:
    """In sight on a screen 1,280 pixels wide, and equal to what MLflow's client has."""
    page.set_viewport_size({"width": 1280, "height": 800})
    link = view_link(sweep.uri, sweep.experiment, sweep.results.plan.id)
    page.goto(link.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), wait_until="domcontentloaded")
    rows = shown.table(page, 10)
    keep(page, "mlflow-table")
    for row, run in zip(rows, sweep.trials[:10], strict=True):
        for key in (BEST, OBJECTIVE):
            assert float(row[f"metrics.`{key}`"]) == pytest.approx(run.data.metrics[key], rel=1e-12)
        for name in ("lambda_gp", "lr", "n_critic", "beta1", "beta2"):
            assert row[f"params.`{name}`"] == run.data.params[name]
    for column in ("lambda_gp", "lr", "n_critic", "beta1", "beta2"):
        box = page.locator(f".ag-header-cell[col-id='params.`{column}`']").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] < 1280


def test_the_plain_link_lists_them_in_order_too(sweep: Shown, page: Page) -> None:
    """What is opened where the view could not be set."""
    link = plain_link(sweep.uri, sweep.experiment, sweep.results.plan.id, OBJECTIVE)
    page.goto(link, wait_until="domcontentloaded")
    assert shown.names(page, 12) == [run.info.run_name for run in sweep.trials]


# Whether a page can read what a server answers, run what it answers, or show it as a picture or in a frame.
FOREIGN = """async ([base, script]) => {
    const anew = Math.random();  // not what the browser has in its cache
    const api = `${base}/ajax-api/2.0/mlflow/experiments/search?max_results=1`, asked = {credentials: 'include'};
    const came = (tag, address) => new Promise(told => { const found = document.createElement(tag);
        found.onload = () => told(true); found.onerror = () => told(false); found.src = address;
        document.body.append(found) });
    const sent = {...asked, method: 'POST', mode: 'no-cors', body: '{"name": "foreign"}'};
    await fetch(`${base}/api/2.0/mlflow/experiments/create`, sent);
    return [await fetch(api, asked).then(answer => answer.ok, () => false),
        await came('script', `${base}/${script}?${anew}`),
        await came('img', `${base}/static-files/favicon.ico?${anew}`)] }"""


# Whether a page can show a picture.
PICTURE = """address => new Promise(told => { const found = document.createElement('img');
    found.onload = () => told(true); found.onerror = () => told(false); found.src = address })"""


@contextmanager
def other_server(folder: Path) -> Iterator[tuple[int, list[tuple[str, str | None, str | None]]]]:
    """A server of another user's: its port, and the path, cookie and Referer of each request that it has got."""
    got: list[tuple[str, str | None, str | None]] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append((self.path, self.headers["Cookie"], self.headers["Referer"]))
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port, got
        finally:
            server.shutdown()


def test_the_link_of_serve_ui_opens_the_view_and_nothing_else_does(
    sweep: Shown, browser: Browser, page: Page, tmp_path: Path, keep: Callable[[Page, str], None]
) -> None:
    """In place of the key the browser has a cookie, which pages of other servers cannot use."""
    around = Surroundings(tmp_path)
    try:
        storage = Path(sweep.results.folder.path).parent
        running = around.sweeps("serve-ui", NAME, "--storage", storage, "--port", 5097)
        wait_for(lambda: "Ctrl-C ends" in running.out or running.process.poll() is not None, "the server", 120)
        link = next(line.split()[-1] for line in running.out.splitlines() if "#/experiments/" in line)
        base, _, rest = link.partition("/?")
        key, place = rest.partition("#")[::2]

        with browser.new_context() as without_cookies:
            stranger = without_cookies.new_page()
            stranger.goto(f"{base}/#{place}")
            expect(stranger.get_by_text("a request must carry this server's key")).to_be_visible()

        page.goto(link, wait_until="domcontentloaded")
        assert shown.names(page, 12) == [run.info.run_name for run in sweep.trials]
        shown.wait_for_charts(page)
        shown.wait_for_pictures(page, 4)
        keep(page, "mlflow-serve-ui")
        assert page.url.startswith(f"{base}/#{place}")  # MLflow adds to it
        assert key not in page.url
        assert page.evaluate("() => document.cookie") == ""
        assert key not in page.content()
        asked = [base, page.locator("script[src]").first.get_attribute("src")]

        open_report(page, base, sweep, "mlflow-serve-ui-report", keep)
        page.goto("about:blank")
        stranger = page.context.new_page()
        (tmp_path / "index.html").write_text(f"<!doctype html><a href='{base}/#{place}'>trials</a>")
        (tmp_path / "note.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
        client, parent = MlflowClient(tracking_uri=sweep.database), sweep.parent.info.run_id
        with other_server(tmp_path) as (port, got):
            for host in ("127.0.0.1", "localhost"):
                stranger.goto(f"http://{host}:{port}/")
                assert stranger.evaluate(FOREIGN, asked) == [False, False, False]
            stranger.goto(f"http://127.0.0.1:{port}/")
            assert stranger.evaluate(PICTURE, f"http://127.0.0.1:{port}/note.svg") is True
            stranger.get_by_text("trials").click()
            expect(stranger.get_by_text("a request must carry this server's key")).to_be_visible()
            assert "/note.svg" in [path for path, _, _ in got]
            assert {cookie for _, cookie, _ in got} == {None}

            # A note of a database that came from this user.
            own = page.context.new_page()
            del got[:]
            note = client.get_run(parent).data.tags["mlflow.note.content"]
            address = f"http://127.0.0.1:{port}/note.svg"
            client.set_tag(parent, "mlflow.note.content", f"![theirs]({address}) [elsewhere](http://127.0.0.1:{port}/)")
            try:
                own.goto(sweep.run_page(sweep.parent).replace(sweep.uri, base), wait_until="domcontentloaded")
                expect(own.locator(f"img[src='{address}']")).to_be_attached(timeout=shown.IN_TIME)
                for host in ("127.0.0.1", "localhost", base.partition("://")[2].partition(":")[0]):
                    assert own.evaluate(PICTURE, f"http://{host}:{port}/note.svg") is False
                assert got == []
                with page.context.expect_page() as opened:
                    own.get_by_text("elsewhere").click(modifiers=["Control"])
                opened.value.wait_for_load_state()
                assert ("/", None, None) in got
            finally:
                client.set_tag(parent, "mlflow.note.content", note)
        assert client.get_experiment_by_name("foreign") is None
        own.goto(base, wait_until="domcontentloaded")
        assert own.evaluate(FOREIGN, asked) == [True, True, True]
    finally:
        around.close()


def open_report(page: Page, base: str, sweep: Shown, name: str, keep: Callable[[Page, str], None]) -> None:
    """Follow the link from the sweep's run to its report, which MLflow shows in a frame, until the charts are drawn."""
    page.goto(sweep.run_page(sweep.parent).replace(sweep.uri, base), wait_until="domcontentloaded")
    link = page.get_by_text("report/sweep.html").first
    expect(link).to_be_visible(timeout=shown.IN_TIME)
    page.goto(f"{base}/{link.get_attribute('href')}", wait_until="domcontentloaded")
    report, best = page.frame_locator("iframe"), sweep.trials[0].data.tags["trial.number"]
    expect(report.get_by_text(f"The best: trial {best}")).to_be_visible(timeout=shown.IN_TIME)
    expect(report.locator("#curves .js-plotly-plot path.js-line").first).to_be_attached(timeout=shown.IN_TIME)
    keep(page, name)


def test_the_sweeps_run_leads_with_the_winner(sweep: Shown, page: Page, keep: Callable[[Page, str], None]) -> None:
    """With its score and picture above the fold, and links that lead to the trials and to published files."""
    page.goto(sweep.run_page(sweep.parent), wait_until="domcontentloaded")
    best = sweep.trials[0]
    lead = page.get_by_text(f"Best: trial {best.data.tags['trial.number']}")
    expect(lead).to_be_visible(timeout=shown.IN_TIME)
    row = page.locator("tr", has=lead)
    assert f"{OBJECTIVE} {best.data.metrics[BEST]:.4g}, 10.0 times the 0.5 of real data" in row.inner_text()
    assert f"lambda_gp {best.data.params['lambda_gp']}, lr {best.data.params['lr']}" in row.inner_text()
    picture = row.locator("img")
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    keep(page, "mlflow-sweep")
    link = row.get_by_text("all trials, best first").get_attribute("href")
    assert link is not None
    assert view_link(sweep.uri, sweep.experiment, sweep.results.plan.id).endswith(link)
    for name in ("trials.parquet", "best_config.json"):
        expect(row.get_by_text(f"report/{name}")).to_be_visible()
    open_report(page, sweep.uri, sweep, "mlflow-report", keep)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_from_disk_has_mlflows_figures(
    sweep: Shown, page: Page, keep: Callable[[Page, str], None], scheme: Literal["light", "dark"]
) -> None:
    """Every chart drawn, the best's pictures too; text that reads on its ground; each point MLflow's own."""
    page.emulate_media(color_scheme=scheme)
    page.goto((Path(sweep.results.folder.path) / "report" / "sweep.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 9", timeout=shown.IN_TIME)
    pictures = page.locator("#best img, #leaders img").evaluate_all(shown.IMAGES)
    assert len(pictures) >= 11
    assert all(picture["complete"] and picture["width"] > 0 for picture in pictures)
    light, dark = page.locator("body").evaluate(shown.BRIGHTNESS)
    assert abs(light - dark) > 100
    assert (light > dark) == (scheme == "dark")  # of the text, and of the ground
    keep(page, f"report-{scheme}")

    client, curves = MlflowClient(tracking_uri=sweep.database), page.evaluate(shown.CURVES)
    for run in sweep.trials[:10]:
        points = client.get_metric_history(run.info.run_id, OBJECTIVE)
        trial = int(run.data.tags["trial.number"])
        assert curves[str(trial)] == {str(point.step): pytest.approx(point.value, rel=1e-12) for point in points}
    table = pd.read_parquet(Path(sweep.results.folder.path) / "report" / "trials.parquet").set_index("trial")
    for run in sweep.trials[:10]:
        row = table.loc[run.data.tags["trial.number"]]
        assert row["best_score"] == pytest.approx(run.data.metrics[BEST], rel=1e-12)
        for key in ("train/wasserstein_estimate", "train/gradient_norm", OBJECTIVE):
            assert row[f"last/{key}"] == pytest.approx(run.data.metrics[key], rel=1e-12)
        assert row["lambda_gp"] == pytest.approx(float(run.data.params["lambda_gp"]), rel=5e-4)


def test_a_failed_trials_run_says_why(sweep: Shown, page: Page, keep: Callable[[Page, str], None]) -> None:
    """The one that failed before its first report, too."""
    (failed,) = [run for run in sweep.trials if BEST not in run.data.metrics]
    page.goto(sweep.run_page(failed), wait_until="domcontentloaded")
    description = page.get_by_text("the critic's weights are not finite").first
    expect(description).to_be_visible(timeout=shown.IN_TIME)
    expect(page.get_by_text("No score.")).to_be_visible()
    keep(page, "mlflow-failed")


def test_a_confirmed_sweep_says_how_sure_its_best_is(
    sweep: Shown, page: Page, keep: Callable[[Page, str], None]
) -> None:
    """On the sweep's run and in the report; early and confirmed scores are columns side by side. Comes last."""
    results = confirm_made(sweep.results, ConfirmationSize(2, 3))
    assert results.confirmation is not None
    winner = results.confirmation.winner
    assert winner is not None
    page.goto(sweep.run_page(sweep.parent), wait_until="domcontentloaded")
    expect(page.get_by_text(f"Best: trial {results.best.label}")).to_be_visible(timeout=shown.IN_TIME)
    expect(page.get_by_text(f"mean [95 % interval]: {winner.validation} on the validation split")).to_be_visible()
    keep(page, "mlflow-confirmed")

    link = view_link(sweep.uri, sweep.experiment, results.plan.id)
    page.goto(link.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), wait_until="domcontentloaded")
    rows = shown.table(page, 10)
    named = {row["attributes.`Run Name`"].splitlines()[-1].split()[0]: row for row in rows}
    leader = named[f"t{winner.leader.number:03d}"]
    assert winner.test is not None
    assert float(leader[f"metrics.`{BEST}`"]) == pytest.approx(winner.leader.value, rel=1e-9)
    column = f"metrics.`confirmed/{on_test_split(OBJECTIVE)}`"
    assert float(leader[column]) == pytest.approx(winner.test.mean, rel=1e-9)
    assert all(name[1:].isdecimal() for name in named)  # runs that confirm are not compared

    page.goto((Path(results.folder.path) / "report" / "sweep.html").as_uri(), wait_until="domcontentloaded")
    expect(page.get_by_text(f"The best: trial {results.best.label}")).to_be_visible(timeout=shown.IN_TIME)
    said = page.locator("#confirmed tbody tr").first.inner_text()
    assert f"{winner.test.mean:.4g}" in said
    assert f"{winner.test.low:.4g} to {winner.test.high:.4g}" in said
    keep(page, "report-confirmed")
