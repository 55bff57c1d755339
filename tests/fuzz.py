"""Thousands of bad inputs, each in a process of its own under limits: `make fuzz`.

    python -m tests.fuzz [--count 3000] [--seed 0] [--jobs 2] [--only KIND:NUMBER]

Each input must be accepted, or refused with exit status 2 and one line that begins with `error: `. A traceback, an
unforeseen error, 60 seconds, or 2 GB of memory beyond the imports count as faults. The program prints the counts of
each kind of input, and for each fault the option `--only` that repeats it. Its exit status is 1 if there is a fault.

The inputs are drawn from the seed, the kind and the number alone. This process imports the product once, and forks for
each input, so that an input costs no imports. It starts no threads, because a fork does not take them along.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sweeps import MNIST, parse
from sweeps.cli import main as command
from sweeps.engine.driver.outcome import outcome
from wgan_core.data.images import load_images
from wgan_core.data.sequences import load_sequences
from wgan_core.data.tables import load_table

SECONDS, BYTES = 60, 2 << 30
NASTY: tuple[str, ...] = (
    *("", " ", "nan", "NaN", "inf", "-inf", "1e308", "-1e308", "1e-320", "9" * 400, "-0", "0x10", "1_000", "1,5"),
    *(
        "٣",
        "\x1b[31m",
        "\u202eabc",
        "é" * 1000,
        "=1+1",
        "a\x00b",
        "2020-02-30",
        "0000-00-00",
        "9999-12-31",
        "$1,000.00",
    ),
    *(
        "12%",
        "true",
        "null",
        "[]",
        "{}",
        "../../x",
        "/etc/passwd",
        "~",
        "%s",
        "\ud800",
        "1e9",
        "-1",
        "0",
        "1.5",
        "x" * 5000,
    ),
)
VALUES: tuple[Any, ...] = (
    *NASTY,
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, -(10**40), 1.5, 1e308, -1e-320, float("nan"), float("inf")),
    *([], {}, [[]], {"a": {}}, [0] * 1000, ["x"] * 1000, {"x" * 300: 1}),
)


def csv(draws: random.Random, folder: Path) -> Callable[[], object]:
    """A table as text, with at most some faults: cells, separators, quotes, names, encodings, changed bytes."""
    count = draws.choice([0, 1, 30, 200, 200, 200])
    makers: list[Callable[[int], str]] = [
        lambda row: str(row % 17),
        lambda row: f"{draws.gauss(0, 10):.3f}",
        lambda row: draws.choice(["red", "green", "blue"]),
        lambda row: str(datetime.date(2020, 1, 1) + datetime.timedelta(days=row)),
        lambda row: f"${draws.randrange(10**6):,}.{draws.randrange(100):02d}",
        lambda row: f"{draws.randrange(100)} %",
        lambda row: draws.choice(["yes", "no", ""]),
        lambda row: draws.choice(["", f"{draws.randrange(1000)},5"]),
    ]
    if draws.random() < 0.2:
        makers.append(lambda row: " ".join(draws.choice(["free", "text", "words"]) + str(row) for _ in range(8)))
        makers.append(lambda row: draws.choice(NASTY))
    columns = draws.choices(makers, k=draws.choice([1, 2, 5, 40]))
    names = [draws.choice(NASTY) if draws.random() < 0.03 else f"name {k}" for k in range(len(columns))]
    rows = [names, *([make(row) for make in columns] for row in range(count))]
    for _ in range(max(0, draws.randrange(6) - 3)):
        row = draws.choice(rows)
        row[draws.randrange(len(row))] = draws.choice(NASTY)
        if draws.random() < 0.1:
            row.append("one more")
    separator = draws.choice([",", ",", ";", "\t", "|"])
    wrong = draws.random() < 0.1
    cells = [[cell if wrong else _quoted(cell, separator) for cell in row] for row in rows]
    text = draws.choice(["\n", "\n", "\r\n", "\r"]).join(separator.join(row) for row in cells)
    encoding = draws.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    content = _changed(draws, text.encode(encoding, "replace"), 0.2)
    suffix = draws.choice([".csv", ".csv", ".CSV", ".tsv", ".txt", ".csv.gz"])
    if suffix.endswith("gz"):
        content = _changed(draws, gzip.compress(content, mtime=0), 0.2)
    file = folder / f"data{suffix}"
    file.write_bytes(content)
    if draws.random() < 0.5:
        more = draws.choice([[], ["--json"], ["--drop-text"], ["--categorical", "name 0"], ["--drop", "name 0"]])
        return lambda: command(["data", str(file), *more])
    return lambda: load_table(file)


def _quoted(cell: str, separator: str) -> str:
    return '"{}"'.format(cell.replace('"', '""')) if separator in cell or '"' in cell or "\n" in cell else cell


def parquet(draws: random.Random, folder: Path) -> Callable[[], object]:
    """A Parquet file with columns of any type, read as a table or as sequences."""
    count = draws.choice([0, 1, 50, 300, 300])
    columns = {}
    for number in range(draws.choice([1, 2, 4, 12])):
        name = draws.choice(NASTY).replace("\ud800", "") if draws.random() < 0.05 else f"c{number}"
        columns[name] = _column(draws, count)
    file = folder / "data.parquet"
    pq.write_table(pa.table(columns), file)
    file.write_bytes(_changed(draws, file.read_bytes(), 0.2))
    load: Callable[[Path], object] = draws.choice([load_table, load_sequences])
    return lambda: load(file)


def _column(draws: random.Random, count: int) -> pa.Array:
    odd = draws.random() < 0.3
    whole = [draws.choice([0, 1, -1, draws.randrange(-(2**31), 2**31), *([None] * odd)]) for _ in range(count)]
    extremes = [float("nan"), float("inf"), 1e308, None] if odd else []
    some = [draws.choice([0.0, 1.5, draws.gauss(0, 1), *extremes]) for _ in range(count)]
    words = [*NASTY[: 30 * odd], "a", "b", "c", *([None] * odd)]
    text = [draws.choice(words) for _ in range(count)]
    byte = [each if each is None else each.encode() for each in text]
    series = [[draws.gauss(0, 1) for _ in range(8)] for _ in range(count)]
    lists: list[Any] = [
        draws.choice([None, [], [1.0] * 7]) if odd and draws.random() < 0.1 else each for each in series
    ]
    channels = [None if each is None else [each, each] for each in lists]
    unit = draws.choice(["s", "ms", "us", "ns"])
    return draws.choice(
        (
            lambda: pa.array(whole, pa.int64()),
            lambda: pa.array(some, pa.float64()),
            lambda: pa.array(text, pa.large_string()),
            lambda: pa.array(text, pa.string()).dictionary_encode(),
            lambda: pa.array(byte, pa.binary()),
            lambda: pa.array(lists, pa.list_(pa.float64())),
            lambda: pa.array(channels, pa.list_(pa.list_(pa.float64()))),
            lambda: pa.array(whole, pa.int64()).cast(pa.timestamp(unit)),
            lambda: pa.array([None if each is None else decimal.Decimal(each) for each in whole], pa.decimal256(60, 4)),
            lambda: pa.array([None if each is None else bool(each) for each in whole], pa.bool_()),
            lambda: pa.nulls(count),
            lambda: pa.array([{"a": each} for each in whole], pa.struct([("a", pa.int64())])),
        )
    )()


MODES = ("L", "L", "RGB", "RGB", "RGBA", "P", "1", "LA", "I;16")
HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def images(draws: random.Random, folder: Path) -> Callable[[], object]:
    """Folders of Parquet files with images of any kind: splits, hidden files, labels, damaged pictures."""
    splits = draws.choice([("a",), ("train",), ("train", "test"), ("train", "validation", "test"), ("a", "test"), ()])
    damaged = draws.choice([0.0, 0.0, 0.02])
    size, mode = draws.choice([(8, 8), (28, 28), (8, 9), (200, 3)]), draws.choice(MODES)
    for split in splits:
        below = folder / draws.choice(["", "", "data", ".hidden", "__MACOSX", "ünï", "x" * 200, split])
        below.mkdir(parents=True, exist_ok=True)
        pictures = [
            {"bytes": _picture(draws, size, mode, damaged), "path": None} for _ in range(draws.choice([1, 30, 60, 60]))
        ]
        columns = {draws.choice(["image", "image", "image", "picture"]): pa.array(pictures, HF_IMAGE)}
        if draws.random() < 0.4:
            columns["label"] = _column(draws, len(pictures)) if draws.random() < 0.3 else pa.array([0] * len(pictures))
        pq.write_table(pa.table(columns), below / f"{split}.parquet")
    return lambda: load_images(folder)


def _picture(draws: random.Random, size: tuple[int, int], mode: str, damaged: float) -> bytes:
    mode, kind = draws.choice(MODES) if draws.random() < damaged else mode, draws.choice(["PNG", "PNG", "BMP", "WEBP"])
    written = io.BytesIO()
    try:
        Image.frombytes("L", size, draws.randbytes(size[0] * size[1])).convert(mode).save(written, kind)
    except (OSError, KeyError, ValueError, TypeError):
        Image.new("RGB", size).save(written, "PNG")
    return _changed(draws, written.getvalue(), damaged)


def options(draws: random.Random, folder: Path) -> Callable[[], object]:
    """Options of a script, most with a value of the right kind, and files of a space."""
    usual = {
        "--name": "a", "--trials": "12", "--budget": "900", "--seed": "1", "--objective": "fid", "--networks": "conv",
        "--confirm": "3x3", "--data": "x", "--preset": "gan", "--cpus-per-trial": "1", "--gpus-per-trial": ".5",
        "--max-concurrent": "1", "--lanes": "2", "--precision": "tf32", "--sampler": "random", "--storage": "s",
        "--study-storage": "sqlite:///x.db", "--tracking-uri": "none", "--warm-start": "b", "--extends": "b:1",
    }  # fmt: skip
    words = {
        "lr": "1e-4", "lambda_gp": "10", "n_critic": "5", "batch_size": "64", "critic.widths": "256-256",
        "loss": "wgan-lp", "beta1": ".5", "nothing": "1", "": "1",
    }  # fmt: skip
    ranges = ("1e-5..1e-2:log", "1,2,5", "0..0", "5..1", "a,b", "1..2:odd", "1..2", "256-256,512", "wgan-gp,hinge")

    def often(value: str) -> str:
        return value if draws.random() < 0.7 else draws.choice(NASTY)

    given = [f"{name}={often(usual[name])}" for name in draws.choices(list(usual), k=draws.choice([0, 1, 3]))]
    for option in draws.choices(["--set", "--search"], k=draws.randrange(3)):
        name = draws.choice(list(words))
        given.append(f"{option}={name}={often(words[name] if option == '--set' else draws.choice(ranges))}")
    if draws.random() < 0.4:
        file = folder / "space.toml"
        names = draws.choices(list(words), k=3)
        lines = [
            f"{name} = {draws.choice([json.dumps(often(words[name])), words[name], '[1, 2]', '1e999'])}"
            for name in names
        ]
        text = "\n".join([draws.choice(["[set]", "[set]", "[search]", "[other]", ""]), *lines])
        file.write_bytes(_changed(draws, text.encode("utf-8", "replace"), 0.2))
        given += ["--space", str(file)]
    return lambda: parse("mnist", "", 12, 900, given, MNIST)


def sweep(draws: random.Random, folder: Path) -> Callable[[], object]:
    """A command on a finished sweep of which one file was changed."""
    shutil.copytree(Path(os.environ["FUZZ_STORAGE"]), folder, dirs_exist_ok=True)
    files = sorted(each for each in (folder / "made").rglob("*") if each.is_file())
    small = [each for each in files if each.suffix == ".json"]
    of_sweep = [folder / "made" / "sweep.json", folder / "made" / "confirm.json"]
    databases = [folder / "made" / "study.db", folder / "mlflow.db"]
    file = draws.choice(draws.choice([of_sweep, of_sweep, small, small, databases, files]))
    how = draws.random()
    if file.suffix == ".json" and how < 0.7:
        try:
            content = json.loads(file.read_bytes())
        except ValueError:
            content = {}
        for _ in range(draws.choice([1, 1, 3])):
            _replace(draws, content)
        file.write_text(json.dumps(content))
        manifest = file.with_name("manifest.json")
        if file.name == "trial.json" and manifest.is_file():
            read = json.loads(manifest.read_text())
            read["trial.json"] = {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            manifest.write_text(json.dumps(read))
    elif how < 0.8:
        file.write_bytes(_changed(draws, file.read_bytes(), 1.0))
    else:
        file.unlink()
        draws.choice([lambda: os.mkfifo(file), file.mkdir, lambda: file.symlink_to("/etc/passwd"), lambda: None])()
    out = str(folder / "out")
    words = draws.choice(
        [
            *(
                ["ls"],
                ["ls", "--json"],
                ["status", "made"],
                ["best", "made"],
                ["best", "made", "--json"],
                ["report", "made"],
            ),
            *(
                ["sample", "made", "--out", f"{out}.png"],
                ["export", "made", "--out", out],
                ["promote", "made", "--as", "best"],
            ),
            *(["sample", f"{folder}/made/trials/1/checkpoints/000000020", "--out", f"{out}.png"],),
        ]
    )
    storage = ["--storage", str(folder)]
    return lambda: command([*words, *storage])


def _replace(draws: random.Random, content: Any) -> None:
    """Replace a value, or the name of an entry, somewhere in a tree of JSON."""
    while isinstance(content, dict | list) and content:
        key = draws.choice(list(content)) if isinstance(content, dict) else draws.randrange(len(content))
        inner = content[key]
        if isinstance(inner, dict | list) and inner and draws.random() < 0.8:
            content = inner
            continue
        if isinstance(content, dict) and draws.random() < 0.15:
            content[draws.choice(NASTY)] = content.pop(key)
        else:
            content[key] = draws.choice(VALUES)
        return


def _changed(draws: random.Random, content: bytes, share: float) -> bytes:
    """Change, cut, repeat or insert some bytes in a share of all cases."""
    if draws.random() >= share or not content:
        return content
    changed = bytearray(content)
    for _ in range(draws.choice([1, 1, 4, 50])):
        at = draws.randrange(len(changed)) if changed else 0
        kind = draws.randrange(5)
        if kind == 0 and changed:
            changed[at] = draws.randrange(256)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = draws.randbytes(draws.choice([1, 3, 100]))
        elif kind == 3:
            del changed[at : at + draws.choice([1, 4, 64])]
        else:
            changed[at:at] = changed[at : at + 40] * draws.choice([2, 50])
    return bytes(changed)


KINDS = {each.__name__: each for each in (csv, parquet, images, options, sweep)}


def prepare(storage: Path) -> None:
    """Make the finished sweep that `sweep` copies, in this process."""
    from tests.sweeps.made import confirm, finish, made_plan

    confirm(finish(storage, made_plan("made", 3)))


def child(kind: str, number: int, seed: int, folder: Path) -> int:
    """Try one input in this process, which was forked for it. Return the exit status."""
    os.setsid()
    own = getattr(psutil.Process().memory_info(), "data", 0)
    resource.setrlimit(resource.RLIMIT_DATA, (own + BYTES, own + BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    said = os.open(folder.with_suffix(".said"), os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(said, stream)
    draws = random.Random(f"{seed} {kind} {number}")
    act = KINDS[kind](draws, folder)

    def status() -> int:
        found = act()
        return found if isinstance(found, int) else 0

    try:
        return outcome(status, (), "")
    except SystemExit as error:
        return int(error.code or 0)


def fault(status: int, said: str) -> str:
    """Return what is wrong with the end of an input's process; empty if nothing is."""
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if "not foreseen" in said:
        return "unforeseen error"
    if os.WIFSIGNALED(status):
        return "hang" if os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU) else f"signal {os.WTERMSIG(status)}"
    code, errors = os.WEXITSTATUS(status), [line for line in said.splitlines() if line.startswith("error: ")]
    if code not in (0, 2):
        return f"exit status {code}"
    return "no single line" if len(errors) != (code == 2) else ""


def run(cases: list[tuple[str, int]], seed: int, jobs: int, folder: Path) -> list[tuple[str, int, str, str]]:
    """Try all inputs, and return kind, number, fault (or "accepted", "refused") and the last line of each."""
    waiting, running, found = collections.deque(cases), {}, []
    while waiting or running:
        while waiting and len(running) < jobs:
            kind, number = waiting.popleft()
            own = folder / f"{kind}-{number}"
            own.mkdir()
            pid = os.fork()
            if not pid:
                status = 70
                try:
                    status = child(kind, number, seed, own)
                except BaseException as error:
                    print(f"Traceback (most recent call last): {type(error).__name__}: {error}", file=sys.stderr)
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(status)
            running[pid] = kind, number, own, time.monotonic() + SECONDS
        for pid, (kind, number, own, deadline) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                ended, status = os.waitpid(pid, 0)
            if ended:
                del running[pid]
                text = own.with_suffix(".said").read_text(errors="replace")
                wrong = fault(status, text)
                good = "refused" if os.WIFEXITED(status) and os.WEXITSTATUS(status) else "accepted"
                found.append((kind, number, wrong or good, (text.strip().splitlines() or [""])[-1][:300]))
                if wrong:
                    print(f"{wrong}: --only {kind}:{number}: {found[-1][3]!a}", flush=True)
                elif len(found) % 100 == 0:
                    print(f"{len(found)} of {len(cases)} inputs", flush=True)
                shutil.rmtree(own, ignore_errors=True)
                own.with_suffix(".said").unlink()
        time.sleep(0.005)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000, help="number of inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="inputs at a time (default: %(default)s)")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="try one input, and show what it printed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare is not None:
        prepare(given.prepare)
        return 0
    with tempfile.TemporaryDirectory(prefix="wgan-fuzz-") as scratch:
        storage = Path(scratch, "storage")
        subprocess.run([sys.executable, "-m", "tests.fuzz", "--prepare", storage], check=True)
        os.environ |= {"FUZZ_STORAGE": str(storage), "HOME": scratch, "WGAN_STORAGE": str(storage)}
        if given.only:
            kind, _, number = given.only.partition(":")
            cases = [(kind, int(number))]
        else:
            cases = [(given.kinds[k % len(given.kinds)], k // len(given.kinds)) for k in range(given.count)]
        began, inputs = time.monotonic(), Path(scratch, "inputs")
        inputs.mkdir()
        found = run(cases, given.seed, given.jobs, inputs)
    if given.only:
        print(found[0])
    counts = collections.Counter((kind, end) for kind, _, end, _ in found)
    ends = sorted({end for _, end in counts})
    print(f"\n| kind | {' | '.join(ends)} |\n|{'---|' * (1 + len(ends))}")
    for kind in given.kinds:
        print(f"| {kind} | {' | '.join(str(counts[kind, end]) for end in ends)} |")
    faults = sum(counts[each] for each in counts if each[1] not in ("accepted", "refused"))
    print(f"\n{len(found)} inputs, {faults} faults, seed {given.seed}, {time.monotonic() - began:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
