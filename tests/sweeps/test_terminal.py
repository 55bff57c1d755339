"""How a sweep is told: the live view on terminals of all kinds, --quiet, --json, and how errors are."""

from __future__ import annotations

import io
import json
import logging
import math
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

import sweeps.mnist
from sweeps import run_script
from sweeps.cli import main
from sweeps.commands import best
from sweeps.engine.cluster.use import Gpu, Use, measured
from sweeps.engine.driver.outcome import NoScore
from sweeps.engine.driver.time_limit import unfinished_text
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal import text as letters
from sweeps.engine.terminal.choose import reporter_for
from sweeps.engine.terminal.live import LiveView, Screen, svg
from sweeps.engine.terminal.reporter import Ending
from sweeps.engine.terminal.reporters import JsonLines, Plain, Quiet
from sweeps.engine.terminal.view import Pace, View
from tests.sweeps.processes import ROOT
from tests.sweeps.terminals import HEIGHT, WIDTH, Terminal
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|9[0-7])[0-9;]*m")
USE = Use(nodes=3, cpus=66, cpus_used=64, gpus=4, gpus_used=3.5, here=[Gpu(0.5, 20.0, 80.0), Gpu(1.0, 10.0, 80.0)])
POINT = WGAN_GP.presets[0]


def row(number: int, state: str, step: int, value: float = math.nan, reason: str = "") -> Row:
    return Row(number, str(number), state, dict(POINT), value, step, step, 0.0, reason, "s")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--quiet` and a terminal's encoding change is of the whole process."""
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    letters.replace_unencodable()


@pytest.fixture
def busy(make_plan: Callable[..., Plan]) -> View:
    """Sixty-four trials run, beside some that have ended and some that wait."""
    rows = [row(0, "COMPLETE", 90, 2.0), row(1, "PRUNED", 10, 5.0), row(2, "FAIL", 10)]
    rows += [row(number, "RUNNING", 45, 1.0 + number) for number in range(3, 67)]
    return View(make_plan(trials=80), rows, 61.0, Pace(125.0, 1234.5), "s")


def drawn(view: View, width: int, height: int, encoding: str = "utf-8", **settings: object) -> str:
    """What a terminal gets."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=letters.NAME, newline="")
    console = Console(file=file, width=width, height=height, force_terminal=True, _environ={}, **settings)  # type: ignore[arg-type]
    console.print(Screen(view, use=USE), end="")
    file.seek(0)
    return file.read()


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in ESCAPE.sub("", text).removesuffix("\n").split("\n")]


def test_what_the_live_view_shows(busy: View) -> None:
    found = lines(drawn(busy, 110, 20))
    assert len(found) < 20
    assert found[0] == "sweep  1:01  about 2:05 left"
    assert found[1] == "3 of 80 trials ended  1 stopped early  1 failed  64 running  13 waiting"
    assert found[2] == "best 2 (trial 0)  4.0 x floor 0.5  eval/a"
    assert (
        found[3] == "1,234 critic updates/s  3 nodes  64 of 66 CPUs  3.5 of 4 GPUs  this node's 75% busy, 30 of 160 GiB"
    )
    assert found[5].split() == [
        "trial",
        "progress",
        "updates",
        "score",
        "x",
        "floor",
        "λ",
        "lr",
        "n_critic",
        "β1",
        "β2",
    ]
    assert found[6].split() == [
        "3",
        *found[6].split()[1:2],
        "45/90",
        "4",
        "8.0",
        "10",
        "1.00e-04",
        "5",
        "0.000",
        "0.9000",
    ]
    shown = [int(line.split()[0]) for line in found[6:] if line[:5].strip().isdecimal()]
    assert shown == list(range(3, 3 + len(shown)))
    assert f"and {64 - len(shown)} more are running" in found
    assert len(shown) >= 10


def test_half_of_the_budget_is_half_of_a_bar(make_plan: Callable[..., Plan]) -> None:
    view = View(make_plan(), [row(0, "RUNNING", 45)], 0.0, Pace(None, None), "s")
    bar = drawn(view, 110, 20, no_color=True)
    assert 2 * bar.count("━") == pytest.approx(len("progress" + " " * 32), abs=2)


@pytest.mark.parametrize("width", [200, 110, 80, 60, 40, 20])
@pytest.mark.parametrize("height", [50, 20, 12, 4])
def test_it_fits_the_terminal(busy: View, width: int, height: int) -> None:
    """However small: no line is broken, and none is too long."""
    found = lines(drawn(busy, width, height))
    assert len(found) < height
    assert max(map(len, found)) <= width
    assert found[0].startswith("sweep")
    if width >= 60 and height >= 12:
        assert any("trial" in line and "λ" in line and "lr" in line for line in found)
        assert any(line.startswith("and ") for line in found) == (height < 64 + 8)


def test_all_fit_on_a_terminal_that_is_high_enough(busy: View) -> None:
    found = lines(drawn(busy, 110, 80))
    assert [line.split()[0] for line in found if "45/90" in line] == [str(number) for number in range(3, 67)]
    assert "more are running" not in "\n".join(found)


def test_without_colour_and_without_unicode(busy: View) -> None:
    assert COLOUR.search(drawn(busy, 110, 20, color_system="truecolor"))
    assert not COLOUR.search(drawn(busy, 110, 20, color_system="truecolor", no_color=True))
    found = lines(drawn(busy, 110, 20, encoding="ascii"))
    assert found[5].split()[-5:] == ["l", "lr", "n_critic", "b1", "b2"]
    assert "-----" in found[6]
    assert "?" not in "".join(found)


def test_before_the_first_score_and_without_a_floor(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(floors={"eval/a": math.nan})
    empty = lines(drawn(View(plan, [], 0.0, Pace(None, None), "s"), 80, 20))
    assert empty[:2] == ["sweep  0:00  time left not known yet", empty[1]]
    assert empty[2] == "no score yet (eval/a)"
    assert not [line for line in empty if line.startswith("trial")]
    scored = lines(drawn(View(plan, [row(0, "RUNNING", 10, 2.0)], 0.0, Pace(None, None), "s"), 80, 20))
    assert scored[2] == "best 2 (trial 0)  eval/a"


def test_the_picture_of_it_needs_nothing_from_elsewhere(busy: View) -> None:
    picture = svg(busy, USE)
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "url(" not in re.sub(r"url\(#", "", picture)
    assert "more&#160;are&#160;running" in picture


# Told to programs


@pytest.fixture
def ending(make_plan: Callable[..., Plan], tmp_path: Path) -> Callable[..., Ending]:
    """A sweep that has ended so."""

    def made(*rows: Row, done: bool = True, unfinished: str = "") -> Ending:
        results = Results(Folder.at(tmp_path), make_plan(trials=len(rows)), list(rows))
        return Ending(results, 12.5, done, "ui", "link", unfinished)

    return made


ROWS = (row(0, "COMPLETE", 90, 2.0), row(1, "PRUNED", 10, math.inf), row(2, "FAIL", 10, reason="not finite"))


def test_json_lines(busy: View, ending: Callable[..., Ending], capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, whose numbers are those of the rows, and null where there is no number."""
    reporter = JsonLines()
    reporter.say("\ntrial 3 is trained again")
    reporter.began(busy.plan)
    reporter.shows(busy)
    reporter.shows(busy)
    reporter.trial_ended(ROWS[2])
    reporter.ended(busy)
    reporter.finished(ending(*ROWS))
    reporter.failed("what it was")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = [json.loads(line, parse_constant=refuse) for line in capsys.readouterr().out.splitlines()]
    message, started, progress, trial, last, finished, error = found
    assert message == {"event": "message", "text": "trial 3 is trained again"}
    wanted = {"name": "sweep", "stage": "search", "trials": 80, "budget": 90, "objective": "eval/a", "floor": 0.5}
    wanted |= {"floor_error": None}
    assert started == {"event": "started", **wanted}
    assert (progress["event"], progress["ended"], progress["trials"], len(progress["running"])) == (
        "progress",
        3,
        80,
        64,
    )
    assert progress["running"][0] == {"trial": "3", "step": 45, "score": 4.0}
    assert progress["best"] == {"trial": "0", "score": 2.0, "error": None}
    assert (progress["elapsed_s"], progress["left_s"], progress["updates_per_s"]) == (61.0, 125.0, 1234.5)
    assert last == progress
    failed = {"trial": "2", "state": "FAIL", "score": None, "updates": 10, "reason": "not finite"}
    assert trial == {"event": "trial", **failed}
    assert finished["best"] == ending(*ROWS).results.best_as_json()
    leaders = [(each["trial"], each["score"]) for each in finished["leaderboard"]]
    assert leaders == [("0", 2.0), ("1", None), ("2", None)]
    assert finished["leaderboard"][2] == {**failed, "params": POINT}
    assert (finished["seconds"], finished["ui_command"], finished["link"]) == (12.5, "ui", "link")
    assert error == {"event": "error", "message": "what it was"}


def test_json_lines_of_a_sweep_without_a_score(
    ending: Callable[..., Ending], capsys: pytest.CaptureFixture[str]
) -> None:
    JsonLines().finished(ending(ROWS[2]))
    assert json.loads(capsys.readouterr().out)["best"] is None


def test_quiet_tells_the_checkpoint_alone(
    busy: View, ending: Callable[..., Ending], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of a sweep that is whole, and has one; and of libraries nothing but errors is heard."""
    reporter = Quiet()
    logging.getLogger("mlflow").warning("not up to date")
    reporter.say("a message")
    reporter.began(busy.plan)
    reporter.shows(busy)
    reporter.not_known("why")
    reporter.trial_ended(ROWS[2])
    reporter.ended(busy)
    reporter.finished(ending(*ROWS, done=False))
    reporter.finished(ending(ROWS[2]))
    assert capsys.readouterr() == ("", "")
    reporter.finished(ending(*ROWS))
    assert capsys.readouterr() == (f"{tmp_path}/trials/0/checkpoints/000000090\n", "")


def test_a_sweep_that_its_hours_ended_has_a_best_checkpoint(
    ending: Callable[..., Ending], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left undone is the last line for a person, and a field for a program."""
    rows = (ROWS[0], row(1, "RUNNING", 10, 3.0))
    said = unfinished_text(0.5, replace(ending(*rows).results, plan=replace(ending(*rows).results.plan, trials=4)))
    assert said == (
        "ended by --hours 0.5; trials begun and not ended: 1; trials not begun: 2; the same command again continues"
    )
    ended = ending(*rows, done=False, unfinished=said)
    Quiet().finished(ended)
    assert capsys.readouterr().out.endswith("/trials/0/checkpoints/000000090\n")
    Plain().finished(ended)
    assert capsys.readouterr().out.splitlines()[-1] == said
    JsonLines().finished(ended)
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["unfinished"]) == (False, said)


def test_the_end_is_the_leaderboard(ending: Callable[..., Ending], capsys: pytest.CaptureFixture[str]) -> None:
    Plain().finished(ending(*ROWS))
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == ["", "sweep: eval/a on held-out data, real against real 0.5; 12 s", ""]
    assert out[3].split()[0] == "trial"
    assert [line.split()[0] for line in out[5:8]] == ["0", "1", "2"]
    assert out[8] == "trial 2 failed: not finite"
    assert out[9].startswith("all trials: networks=mlp, ")
    assert out[11].startswith("best checkpoint   ")
    assert out[12:] == ["look at the runs  ui", "then open         link"]


# How it is chosen, and how errors are told


def test_who_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(reporter_for(quiet=False, json=False)) is Plain
    ours, theirs = pty.openpty()
    with capsys.disabled(), open(ours, "rb"), open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert type(reporter_for(quiet=False, json=False)) is Plain  # it has no size: nobody sits there
        termios.tcsetwinsize(theirs, (HEIGHT, WIDTH))
        assert type(reporter_for(quiet=False, json=False)) is LiveView
        assert type(reporter_for(quiet=True, json=False)) is Quiet
        assert type(reporter_for(quiet=False, json=True)) is JsonLines
        for without_cursor in ("dumb", "unknown", ""):
            monkeypatch.setenv("TERM", without_cursor)
            assert type(reporter_for(quiet=False, json=False)) is Plain
        monkeypatch.undo()


def test_output_options_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("mnist", "", 12, 4500, ["--help"])
    text = capsys.readouterr().out
    for option in ("--quiet", "--json", "--debug"):
        assert f"  {option} " in text[text.index("\noutput:") :]
    given = parse("mnist", "", 12, 4500, ["--quiet", "--debug"])
    assert (given.quiet, given.json, given.debug) == (True, False, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--quiet", "--json"), "--quiet and --json say what stdout holds, and only one can be; given both: leave one"),
        (("--json", "--lanes", "0"), "--lanes must be auto or a whole number >= 1; given '0': give --lanes 8"),
        (("--json", "--budgets", "9"), "unrecognized arguments: --budgets 9: see mnist.py --help"),
    ],
)
def test_a_refusal_is_an_event_too(
    options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line on stderr and the status are the same as without --json."""
    monkeypatch.setattr(sys, "argv", ["mnist.py", *options])
    try:
        status: object = run_script(sweeps.mnist.main)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(f"error: {said}")
    assert json.loads(out) == {"event": "error", "message": line.removeprefix("error: ")}


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("what must hold: what to do"), 2, "error: what must hold: what to do"),
        (NoScore("the reasons are above"), 1, "error: the reasons are above"),
        (KeyboardInterrupt(), 130, "interrupted: the same command again goes on from the last checkpoints"),
        (ZeroDivisionError("by zero"), 1, "error: ZeroDivisionError: by zero: this was not foreseen, so it is a bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_one_line_and_its_traceback_is_for_who_asks(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WGAN_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["mnist.py"])
    assert run_script(fail(error)) == status
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(said)
    assert ("--debug shows where" in line) == ("not foreseen" in line)
    for arguments, variable in ((["--debug"], "0"), ([], "1")):
        monkeypatch.setattr(sys, "argv", ["mnist.py", *arguments])
        monkeypatch.setenv("WGAN_DEBUG", variable)
        assert run_script(fail(error)) == status
        *traceback, last = capsys.readouterr().err.splitlines()
        assert last.startswith(said[:60])
        assert ("Traceback (most recent call last):" in traceback) == (status != 130)
    assert out == ""


def test_the_command_tells_errors_likewise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("WGAN_DEBUG", raising=False)
    for name in ("ls", "doctor"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "--debug" in capsys.readouterr().out
    assert main(["best", "none", "--storage", str(tmp_path), "--debug"]) == 2
    *traceback, last = capsys.readouterr().err.splitlines()
    assert traceback[0] == "Traceback (most recent call last):"
    assert last.startswith("error: no sweep named 'none'")
    monkeypatch.setattr(best, "run", lambda given: 1 // 0)
    assert main(["best", "none"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ZeroDivisionError: ")
    monkeypatch.setattr(best, "run", lambda given: fail(KeyboardInterrupt())())
    assert main(["best", "none"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_goes_is_no_error(tmp_path: Path) -> None:
    """As `head -1` does, which has what it wanted: not a word, and the status that shells know."""
    code = "import sys, time; from sweeps.cli import main; time.sleep(.5); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "ls", "--storage", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_sweep_goes_on_without_a_reader() -> None:
    code = "from sweeps.engine.terminal.reporters import Plain; v = Plain(); [v.say('x') for _ in range(3)]; input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(b"\n")
        assert (process.returncode, err) == (0, b"")


def test_gpus_are_measured_by_their_drivers_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a command that writes what NVIDIA's does: percent and MiB; and none where it is not, or says no number."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measured() == []
    command = tmp_path / "nvidia-smi"
    for said, found in (
        ("87, 2048, 81920\n0, 0, 81920", [Gpu(0.87, 2.0, 80.0), Gpu(0.0, 0.0, 80.0)]),
        ("[N/A], 2048, 81920", []),
        ("No devices were found", []),
    ):
        command.write_text(f"#!/bin/sh\nprintf '{said}\\n'\n")
        command.chmod(0o755)
        assert measured() == found


# On a terminal: a process of its own that has one, and what that shows in the end

# Drives the view with rows made up, as a sweep does, until it is interrupted.
DRIVEN = """
import fcntl, logging, math, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches this process
logging.basicConfig(stream=sys.stderr, format="%(message)s")
from sweeps.engine.cluster.use import Use
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal import live, watch
from sweeps.engine.terminal.choose import reporter_for
from sweeps.engine.driver.outcome import outcome
from wgan_core.config import Structure

live.DRAWN_EVERY_S, watch.REFRESH_S = 0.2, 0.02
plan = Plan("1d", "driven", 80, 90, 0, "eval/a", Structure("mlp", (1, 8, 8)), WGAN_GP, "d", "d", {}, {"eval/a": 0.5})
looks = 0

def rows():
    global looks
    looks += 1
    return [Row(n, str(n), "RUNNING", {}, 2.0 + n, 9, looks % 90, 0.0, "", "s") for n in range(64)]

def main():
    reporter = reporter_for(quiet=False, json=False)
    reporter._use = lambda: Use(1, 2, 2)
    with watch.Watch(reporter, plan, list, "s"):  # a stage before
        pass
    with watch.Watch(reporter, plan, rows, "s"):
        while looks < 5:
            time.sleep(0.01)
        logging.getLogger("mlflow").warning("a warning")
        reporter.say("trial 3 is trained again: " + "a long reason, " * 10)
        print("printed by a library")
        print("and on stderr", file=sys.stderr)
        while True:
            time.sleep(0.01)

sys.exit(outcome(main, [], ": the same command again goes on"))
"""


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def started(**env: str) -> Terminal:
        made.append(Terminal([sys.executable, "-c", DRIVEN], **env))
        return made[-1]

    yield started
    for each in made:
        each.close()


def test_interrupted_on_a_terminal(on_terminal: Callable[..., Terminal]) -> None:
    """The view is drawn, what is said meanwhile stands above it whole, and Ctrl-C leaves the terminal as it was."""
    terminal = on_terminal(TERM="xterm-256color")
    terminal.read_until(lambda: "and on stderr" in terminal.text)
    seen = len(terminal.text)
    # Between two drawings: what is on its way when Ctrl-C is typed, a terminal throws away.
    terminal.read_until(lambda: terminal.text[seen:].count("more are running") >= 3)
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "\x1b[?1049h" not in terminal.text  # what was above it stays in reach
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    assert "64 running" in ESCAPE.sub("", terminal.text)
    assert COLOUR.search(terminal.text)
    long = ("trial 3 is trained again: " + "a long reason, " * 10).rstrip()
    broken = [long[at : at + WIDTH].rstrip() for at in range(0, len(long), WIDTH)]
    before = "0:00  0 of 80 trials ended  |  time left not known yet"
    messages = [before, "a warning", *broken, "printed by a library", "and on stderr"]
    shown = terminal.shown()
    assert shown[: len(messages)] == messages
    *last, interrupted, end = shown[len(messages) :]
    assert re.fullmatch(r"0:\d\d  0 of 80 trials ended  \|  running 0 .*best 2 \(trial 0\).*left", "".join(last))
    assert (interrupted, end) == ("interrupted: the same command again goes on", "")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=str)
def test_on_a_terminal_that_can_do_less(on_terminal: Callable[..., Terminal], environment: dict[str, str]) -> None:
    """Plain lines where the cursor cannot be moved; the view without colour where none is wanted."""
    terminal = on_terminal(**environment)
    terminal.read_until(lambda: "and on stderr" in terminal.text)
    if environment["TERM"] != "dumb":
        terminal.read_until(lambda: "more are running" in terminal.text.rpartition("and on stderr")[2])
    terminal.type("\x03")
    assert terminal.end() == 130
    assert ("\x1b" in terminal.text) == (environment["TERM"] != "dumb")
    assert not COLOUR.search(terminal.text)
    assert terminal.shown()[-2:] == ["interrupted: the same command again goes on", ""]
