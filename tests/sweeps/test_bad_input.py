"""What a person can get wrong: one line that begins `error: `, exit status 2, and no trial begun.

The script runs in this process where the mistake is found before Ray is started, else as a process of its own.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from optuna.pruners import NopPruner

import sweeps.mnist
from sweeps import run_script
from sweeps.engine.driver import run
from sweeps.engine.plan.plan import SweepStart, check_name, check_reserved, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range, Space
from sweeps.engine.plan.uri import database, make_room, sqlite_uri
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results, tracking_uri_of
from sweeps.engine.study.storage import open_study
from sweeps.engine.tracking import MlflowRecorder
from sweeps.engine.tracking.store import connect
from tests.sweeps.conftest import blobs, write_images
from tests.sweeps.made import made_plan
from tests.sweeps.processes import MNIST, Ended, Running, Surroundings, copy_tables
from wgan_core.data.folder import Folder
from wgan_core.data.mnist import load_mnist
from wgan_core.data.mnist_files import SHA256, Mirror
from wgan_core.errors import UserError

NAME = "bad"
# What to do is said last, after a colon, a semicolon or a comma, and begins with a verb.
REMEDY = re.compile(
    "[:;,] (?:add|ask|check|choose|connect|convert|copy|correct|drop|give|leave|minimise|name|rename|resize|set|take|"
    "widen|write) "
)


class Script:
    """The MNIST script in this process, on the small images and with a storage of its own unless told otherwise."""

    def __init__(
        self, storage: Path, data: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.storage, self._data, self._capture, self._patch = storage, data, capture, patch

    def refused(self, *options: str | Path | int, alone: bool = True) -> str:
        """The line with which these options are refused; `alone`: nothing else is said on stderr."""
        given = {"--storage": self.storage, "--name": NAME, "--data": self._data}
        defaults = [part for option, value in given.items() if option not in options for part in (option, value)]
        if "--no-data" in options:
            at = defaults.index("--data")
            del defaults[at : at + 2]
        arguments = [str(part) for part in (*defaults, *options) if part != "--no-data"]
        self._patch.setattr(sys, "argv", ["mnist.py", *arguments])
        self._capture.readouterr()
        return self.line_of(sweeps.mnist.main, alone)

    def line_of(self, main: Callable[[], object], alone: bool = True) -> str:
        """The line that this script's main ends with; it says what to do."""
        assert run_script(main) == 2  # type: ignore[arg-type]
        lines = self._capture.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[0 if alone else -1 :]
        assert REMEDY.search(lines[-1]), lines[-1]
        assert not list(self.storage.rglob("trials"))
        assert not list(self.storage.rglob("sweep.json"))
        return lines[-1]


@pytest.fixture
def script(
    tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Script:
    def never(*_: object) -> None:
        raise AssertionError("Ray was to be started")

    monkeypatch.setattr(run, "joined", never)
    return Script(tmp_path / "storage", small_data, capsys, monkeypatch)


# Sweeps that join a Ray that runs, and the script as a process. They come first: one of them waits for a minute at its
# end, beside all that follows.


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port on which nobody answers: held, so that nobody else takes it, and not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.fixture(scope="module")
def begun(joined: Surroundings, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A sweep of one trial, told in JSON Lines."""
    storage = tmp_path_factory.mktemp("away")
    options = ("--name", NAME, "--data", small_data, "--smoke", "--budget", 9)
    return storage, joined.run(MNIST, storage, *options, "--trials", 1, "--json").succeeded()


@pytest.fixture(scope="module")
def continued(
    joined: Surroundings, small_data: Path, begun: tuple[Path, Ended], closed_port: int
) -> tuple[Path, Running]:
    """The same, extended by a second trial while its tracking server is away; it waits at its end."""
    storage, _ = begun
    options = ("--name", NAME, "--data", small_data, "--smoke", "--budget", 9)
    away = f"http://127.0.0.1:{closed_port}"
    return storage, joined.script(storage, *options, "--trials", 2, "--tracking-uri", away)


@pytest.mark.slow
def test_a_sweep_in_json_lines(begun: tuple[Path, Ended]) -> None:
    """Nothing else is on stdout, and what is agrees with the study; the sweep has had no second trial yet."""
    storage, ran = begun
    found = [json.loads(line) for line in ran.out.splitlines()]
    events = [each["event"] for each in found if each["event"] != "message"]
    assert events[:2] == ["started", "progress"]
    assert [each for each in events if each != "progress"] == ["started", "trial", "finished"]
    started, trial, finished = (
        next(each for each in found if each["event"] == event) for event in ("started", "trial", "finished")
    )
    results = open_results(str(storage), NAME)
    first = results.rows[0]
    assert (started["name"], started["trials"], started["budget"]) == (NAME, 1, 9)
    assert (started["objective"], started["floor"]) == (results.plan.objective, results.plan.floor)
    assert (trial["trial"], trial["state"], trial["score"], trial["reason"]) == (
        "0",
        "COMPLETE",
        first.value,
        first.reason,
    )
    assert finished["done"]
    assert finished["best"] == Results(results.folder, results.plan, [first]).best_as_json()
    assert finished["best"]["run_id"]
    (row,) = finished["leaderboard"]
    assert (row["trial"], row["updates"], row["params"]) == ("0", 9, first.params)
    last = [each for each in found if each["event"] == "progress"][-1]
    assert (last["ended"], last["running"], last["best"]) == (
        1,
        [],
        {"trial": "0", "score": first.value, "error": first.error},
    )


@pytest.mark.slow
def test_refused_as_a_process(surroundings: Surroundings, tmp_path: Path, continued: tuple[Path, Running]) -> None:
    """What a shell sees is what the tests in this process see."""
    cases = {
        ("--lanes", "0"): "--lanes",
        ("--data", str(tmp_path / "nothing.parquet")): "does not exist",
    }
    started = {surroundings.script(tmp_path / "storage", *options): said for options, said in cases.items()}
    for ran, said in started.items():
        ran.refused(said)
        assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "storage").exists()


@pytest.mark.slow
def test_first_start_without_the_tracking_server(
    joined: Surroundings, small_data: Path, tmp_path: Path, closed_port: int, continued: tuple[Path, Running]
) -> None:
    """Fatal, within seconds, and the same command works once the server is reachable: nothing is left behind."""
    away = f"http://127.0.0.1:{closed_port}"
    options = ("--data", small_data, "--smoke", "--tracking-uri", away)
    joined.run(MNIST, tmp_path, *options).refused(away)
    assert not list(tmp_path.rglob("trials"))
    assert not list(tmp_path.rglob("sweep.json"))
    assert not list(tmp_path.rglob("lease.json"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/1").exists(), reason="no /proc here")
def test_first_start_with_a_tracking_database_that_cannot_be_written(
    joined: Surroundings, small_data: Path, tmp_path: Path, continued: tuple[Path, Running]
) -> None:
    """Said before Ray starts, and not after a minute of MLflow's trying again."""
    uri = "sqlite:////proc/1/x.db"
    ran = joined.run(MNIST, tmp_path, "--data", small_data, "--smoke", "--tracking-uri", uri)
    ran.refused("/proc/1/x.db", "cannot be written", "check --tracking-uri")
    assert not list(tmp_path.rglob("sweep.json"))


@pytest.mark.slow
def test_an_optuna_storage_that_cannot_be_opened(
    joined: Surroundings, small_data: Path, tmp_path: Path, continued: tuple[Path, Running]
) -> None:
    """Nor is its password shown."""
    url = f"sqlite:///{tmp_path}/no/such/folder/study.db"
    ran = joined.run(MNIST, tmp_path, "--data", small_data, "--smoke", "--study-storage", url)
    ran.refused("--study-storage", "unable to open database file")
    assert not list(tmp_path.rglob("trials"))


@pytest.mark.slow
def test_more_than_the_machine_has(
    joined: Surroundings, small_data: Path, tmp_path: Path, continued: tuple[Path, Running]
) -> None:
    ran = joined.run(MNIST, tmp_path, "--data", small_data, "--smoke", "--cpus-per-trial", 100_000)
    ran.refused("--cpus-per-trial", "the nodes have")
    assert not list(tmp_path.rglob("trials"))


# The script in this process, which ends before Ray is started.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lanes", "0"), "--lanes must be auto or a whole number >= 1; given '0': give --lanes 8"),
        (("--lanes", "many"), "given 'many'"),
        (("--lanes", "1.5"), "given '1.5'"),
        (
            ("--budget", "0"),
            "--budget must be a whole number from 1 to 999,999,999; given 0: give --budget 10000",
        ),
        (("--budget", "-45"), "given -45"),
        (("--budget", "4"), "n_critic must be at most the budget, or a trial never updates its generator; given"),
        (("--trials", "0"), "--trials must be a whole number from 1 to 100,000; given 0: give --trials 12"),
        (
            ("--seed", "-1"),
            "--seed must be a whole number from 0 to 9,223,372,036,854,775,807; given -1: give --seed 0",
        ),
        (("--cpus-per-trial", "0"), "--cpus-per-trial must be a finite number >= 0.05; given 0.0: give "),
        (("--cpus-per-trial", "nan"), "--cpus-per-trial must be a finite number >= 0.05; given nan"),
        (("--cpus-per-trial", "inf"), "--cpus-per-trial must be a finite number >= 0.05; given inf"),
        (("--gpus-per-trial", "-0.5"), "--gpus-per-trial must be 0 to 1, or a whole number of GPUs; given -0.5"),
        (("--gpus-per-trial", "1.5"), "given 1.5: give --gpus-per-trial 2, for example, or a fraction such as 0.25"),
        (("--gpus-per-trial", "3"), "a batch must divide evenly over the GPUs of a trial; 64 samples, 3 GPUs"),
        (("--gpus-per-trial", "inf"), "--gpus-per-trial must be 0 to 1, or a whole number of GPUs; given inf"),
        (("--gpus-per-trial", "nan"), "--gpus-per-trial must be 0 to 1, or a whole number of GPUs; given nan"),
        (("--hours", "0"), "--hours must be a finite number > 0; given 0.0: give --hours 2"),
        (("--hours", "-.5"), "--hours must be a finite number > 0; given -0.5: give --hours 2"),
        (("--hours", "nan"), "--hours must be a finite number > 0; given nan: give --hours 2"),
        (("--max-concurrent", "-1"), "--max-concurrent must be a whole number >= 0; given -1: give --max-concurrent 0"),
        (("--name", "a/b"), "'a/b': give --name a-b"),
        (("--storage", "nowhere://bucket"), "a URI such as s3://bucket/prefix; given 'nowhere://bucket'"),
        (("--storage", ""), "--storage must name a folder; it is empty: leave it out for ~/wgan-sweeps"),
        (("--data", "nothing.parquet"), "nothing.parquet does not exist"),
        (("--data", ""), "--data must name a Parquet file or a folder of them; it is empty; leave it out"),
        (("--data", "~no-such-user/x"), "'~no-such-user/x' it stands for none; write the path in full"),
        (("--objective", "train/wasserstein_estimate"), "it tends to at least W + W^2/(2 lambda)"),
        (("--objective", "train/critic_loss"), "an objective must be comparable across trials"),
        (("--objective", "beauty"), "known metric; given 'beauty'"),
        (("--objective", "fid"), "measured on the data of the sweep"),
        (
            ("--trials", "400", "--confirm", "400x26"),
            "--confirm must ask for at most 10,000 trials; given 400x26 of 400",
        ),
    ],
)
def test_options_out_of_range(script: Script, options: tuple[str, ...], said: str) -> None:
    assert said in script.refused(*options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--networks", "transformer"), "argument --networks: invalid choice: 'transformer' (choose from "),
        (("--trials", "several"), "argument --trials: must be a whole number in digits; given 'several'"),
        (("--budget", "1e4"), "argument --budget: must be a whole number in digits; given '1e4'"),
        (("--seed", "0.5"), "argument --seed: must be a whole number in digits; given '0.5'"),
        (("--max-concurrent", ""), "argument --max-concurrent: must be a whole number in digits; given ''"),
        (("--gpus-per-trial", "half"), "argument --gpus-per-trial: must be a number such as 0.5; given 'half'"),
        (("--cpus-per-trial", "all"), "argument --cpus-per-trial: must be a number such as 0.5; given 'all'"),
        (("--trials",), "argument --trials: expected one argument"),
        (("--budgets", "9"), "unrecognized arguments: --budgets 9"),
        (("two\nlines",), "unrecognized arguments: two lines"),
    ],
)
def test_options_that_are_none(
    script: Script,
    options: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What argparse itself refuses: status 2 and one line too, without the usage, which `--help` has."""
    monkeypatch.setattr(sys, "argv", ["mnist.py", "--storage", str(script.storage), *options])
    with pytest.raises(SystemExit) as ended:
        run_script(sweeps.mnist.main)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert line.endswith(": see mnist.py --help")
    assert not script.storage.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lambda_gp": Range(-1.0, 1.0)}, "lambda_gp must be a finite number >= 0; given -1.0"),
        ({"lambda_gp": Range(0.0, 1.0, log=True)}, "low > 0 on a log scale"),
        ({"beta1": Range(0.0, 1.0)}, "beta1 must be a number in [0, 1); given 1.0"),
        ({"one_minus_beta2": Range(0.0, 0.2)}, "beta2 must be a number in [0, 1)"),
        ({"n_critic": Range(0, 5, whole=True)}, "n_critic must be a whole number >= 1; given 0: set n_critic to 5"),
        ({"lr": Range(0.0, 1e-2)}, "lr_critic must be a finite number > 0"),
        ({"lr": Range(1e-2, 1e-5)}, "low <= high"),
        ({"lr": Range(1e-5, float("inf"))}, "finite"),
        ({"momentum": Range(0.0, 0.9)}, "given 'momentum'"),
        ({"lr": Range(5e-4, 1e-2, log=True)}, "widen the range"),
    ],
)
def test_spaces_that_cannot_be(script: Script, change: dict[str, Range], said: str) -> None:
    """A script of one's own names its space: a range that reaches a forbidden value is refused when it is made."""
    assert said in script.line_of(lambda: Space({**WGAN_GP.ranges, **change}, {}, WGAN_GP.presets))


def test_a_space_must_give_every_hyper_parameter(script: Script) -> None:
    ranges = {name: bounds for name, bounds in WGAN_GP.ranges.items() if name != "n_critic"}
    assert "n_critic" in script.line_of(lambda: Space(ranges, {}))
    assert "preset 0" in script.line_of(lambda: Space(ranges, {"n_critic": 5}, WGAN_GP.presets))


def test_data_that_cannot_be_used(script: Script, tmp_path: Path) -> None:
    """A file that is cut short, as one of many: tests/core/test_data.py has the others."""
    data = write_images(tmp_path / "cut.parquet", blobs(40, seed=0))
    data.write_bytes(data.read_bytes()[:-1000])
    assert "must be a whole Parquet file" in script.refused("--data", data)


def test_networks_that_do_not_suit_the_data(script: Script, tmp_path: Path) -> None:
    data = write_images(tmp_path / "odd.parquet", blobs(40, seed=0, side=10))
    assert "multiples of 4" in script.refused("--data", data, "--networks", "conv")


def test_mnist_whose_checksum_does_not_match(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that gives other files is refused by name, and nothing of it is kept."""
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    for file in SHA256:
        (mirror / f"{file}.gz").write_bytes(gzip.compress(b"other digits"))
    sources = (Mirror(mirror.as_uri()),)
    monkeypatch.setattr(sweeps.mnist, "load_mnist", partial(load_mnist, cache=cache, sources=sources))
    line = script.refused("--no-data", alone=False)
    assert "SHA-256" in line
    assert mirror.as_uri() in line
    assert not cache.exists()


@pytest.mark.parametrize("storage", ["file/sweeps", "/proc/self/sweeps"])
def test_a_storage_that_cannot_be_written(script: Script, tmp_path: Path, storage: str) -> None:
    """Below a file, where root cannot write either; and as on a read-only file system."""
    (tmp_path / "file").write_text("not a folder")
    line = script.refused("--storage", tmp_path / storage)
    assert "the storage must be a folder that can be written" in line
    assert "check --storage" in line


def tracked_in(uri: str, folder: Path) -> MlflowRecorder:
    return MlflowRecorder(Folder.at(folder / NAME), made_plan(NAME, 1), uri)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
@pytest.mark.parametrize("make", [lambda folder: Path("/proc/self/x.db"), lambda folder: folder])
def test_a_tracking_database_that_cannot_be_written(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """In a folder that takes no files, or where there is a folder: MLflow would try again for over a minute.

    So it is not asked: the words are not its own.
    """
    uri = f"sqlite:///{make(tmp_path)}"
    with pytest.raises(UserError, match=r"sqlite:.* did not: .* cannot be written") as refused:
        tracked_in(uri, tmp_path).open(first_start=True)
    assert REMEDY.search(str(refused.value))
    assert "\n" not in str(refused.value)
    tracked_in(uri, tmp_path).open(first_start=False)  # on continuing it is a warning, as a server that is away is


def test_room_for_a_tracking_database(tmp_path: Path) -> None:
    """Nothing but its folder is made, and a database that is there stays as it is."""
    file = tmp_path / "new" / "mlflow.db"
    make_room(f"sqlite:///{file}")
    assert list(tmp_path.rglob("*")) == [file.parent]
    file.write_bytes(b"kept")
    make_room(f"sqlite:///{file}")
    assert file.read_bytes() == b"kept"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////x/a.db", "/x/a.db"),
        ("sqlite+pysqlite:////x/a.db?timeout=5", "/x/a.db"),
        ("sqlite:///file:/x/a.db?mode=ro&uri=true", "/x/a.db"),
        ("sqlite:////x/file:a.db", "/x/file:a.db"),
        ("sqlite:////x%20y/a.db", "/x y/a.db"),
        ("sqlite:////x%2520y/a.db", "/x%20y/a.db"),
        ("sqlite:///:memory:", None),
        ("sqlite:///file::memory:?cache=shared&uri=true", None),
        ("sqlite://", None),
        ("postgresql://me@host/db", None),
        ("https://host/", None),
    ],
)
def test_the_file_of_a_database(uri: str, file: str | None) -> None:
    assert database(uri) == (file and Path(file))


@pytest.mark.parametrize("name", ["a%20b", "a%b", "a b", "a&b", "a;b", "a'b", 'a"b', "ä"])
def test_a_study_lies_in_its_storage_whatever_the_storages_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    uri = sqlite_uri(f"{tmp_path / name}/study.db")
    assert database(uri) == tmp_path / name / "study.db"
    open_study("sweep", uri, NopPruner())
    assert [path for path in tmp_path.rglob("*.db") if path.is_file()] == [tmp_path / name / "study.db"]


def test_mlflows_database_lies_in_a_storage_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "a%20b"
    folder.mkdir()
    copy_tables(folder)
    client = connect(sqlite_uri(f"{folder}/mlflow.db"))
    experiment = client.create_experiment("x", artifact_location=(folder / "mlartifacts" / "x").as_uri())
    run = client.create_run(experiment).info.run_id
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a.txt").write_text("a")
    client.log_artifacts(run, str(tmp_path / "from"))
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.txt")] == ["a%20b", "from"]


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow-2.db"])
def test_the_database_that_lies_in_a_moved_storage_is_preferred(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new = tmp_path / "old", tmp_path / "new"
    write_plan(Folder.at(old / "x"), made_plan("x", 1), SweepStart(tracking_uri=f"sqlite:///{old}/{name}"))
    (old / name).touch()
    shutil.copytree(old, new)
    assert tracking_uri_of(Folder.at(new / "x"), None) == f"sqlite:///{new}/{name}"
    assert tracking_uri_of(Folder.at(old / "x"), None) == f"sqlite:///{old}/{name}"


@pytest.mark.parametrize("name", ["Default", "mlartifacts", "mlruns", "mlflow.db", "mlflow.db-journal"])
def test_names_that_mlflow_has_are_refused(name: str) -> None:
    check_name(name)  # a sweep of an earlier version can be looked at
    with pytest.raises(UserError, match=r"must not be that of MLflow's own files"):
        check_reserved(name)


# The last, as it waits for the sweep that was continued first.


@pytest.mark.slow
def test_continuing_without_the_tracking_server(
    joined: Surroundings, small_data: Path, continued: tuple[Path, Running]
) -> None:
    """A warning, the trial is trained, its records wait in the spool; with the server back all of them arrive."""
    from mlflow import MlflowClient

    storage, ran = continued
    ran.succeeded()
    assert "MLflow has not everything yet" in ran.out
    assert [line for line in ran.err.splitlines() if "MLflow is not up to date" in line]
    trial = storage / NAME / "trials" / "1"
    spooled = sorted(file.name for file in (trial / "spool").iterdir())
    assert spooled[0] == "000000000-start.json"
    assert spooled[-1] == "end.json"
    assert not (trial / "mlflow.json").exists()

    again = ("--name", NAME, "--data", small_data, "--smoke", "--budget", 9, "--trials", 2)
    quiet = joined.run(MNIST, storage, *again, "--quiet").succeeded()
    results = open_results(str(storage), NAME)
    assert (quiet.out, quiet.err) == (f"{checkpoint_of(results.folder, results.best)}\n", "")
    uri = f"sqlite:///{storage}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    runs = {run.data.tags.get("trial.number"): run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {None, "0", "1"}
    assert runs[None].data.tags["mlflow.sync"] == "complete"
    assert runs["1"].info.status in ("FINISHED", "KILLED")
    points = client.get_metric_history(runs["1"].info.run_id, "eval/sliced_wasserstein")
    assert len(points) == len(spooled) - 2
