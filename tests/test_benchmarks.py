"""The benchmarks run, and what they print and keep is whole. Nothing is said here of how fast anything is."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wgan_core.data.toy import load_toy
from wgan_core.metrics.metric import Direction, MetricSpec
from wgan_core.metrics.modes import MODES_NAME
from wgan_core.metrics.two_sample import ACCURACY_REAL_NAME
from wgan_core.metrics.wasserstein import SLICED_NAME, W1_NAME

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def figures_of(script: str, *options: str | Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, ROOT / "benchmarks" / script, *options, "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=out.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the scripts import from beside them."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = (
        "wgan_gp",
        "fused.hfta",
        "fused.picture",
        "mnist_fused",
        "sweep",
        "convolutions",
        "metrics",
        "damages",
        "fooled",
        "stacked_mnist",
    )
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(name) for name in names})


def test_tables_adds_what_is_missing_and_trains_nothing_twice(tmp_path: Path) -> None:
    lines = [f"{row % 37},{row * row % 101 / 10},{['a', 'b', 'c'][row % 3]}" for row in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["n,x,kind", *lines]))
    command = [sys.executable, ROOT / "benchmarks" / "tables.py", tmp_path / "t.csv", "--updates", "3"]
    command += ["--threads", "1", "--out", "found.jsonl", "--rows", "rows"]

    def found(*arms: str) -> list[dict[str, Any]]:
        done = subprocess.run([*command, "--arms", *arms], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]

    first = found("ranks")
    (one, other) = found("ranks", "standard")
    assert [one] == first
    assert (one["arm"], other["arm"]) == ("ranks", "standard")
    assert 0.5 < one["auc"] <= 1
    assert 0 <= one["nearer"] <= 1
    assert [one[name] for name in ("integers", "places", "range")] == [True] * 3
    assert one["rows"] == len((tmp_path / "rows" / "t-ranks-0.csv").read_text().splitlines()) - 1
    command = [sys.executable, ROOT / "benchmarks" / "tables_summary.py", "found.jsonl", "--picture", "t.png"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert "| t | 200 | ours | 1 |" in told
    assert "better than ours, standard: auc on" in told
    assert Image.open(tmp_path / "t.png").width > 500


def test_step(tmp_path: Path) -> None:
    found = figures_of("step.py", "--pairs", "2", "--seconds", "0.1", "--n-critic", "2", out=tmp_path / "step.json")
    (figure,) = found["figures"]
    assert figure["n_critic"] == 2
    assert figure["ours_ms"] > 0 < figure["ours_floor_ms"]
    # We run real and generated samples in one pass and leave out zeros: as many products, or fewer.
    assert 0 < figure["ours_mflop"] <= figure["textbook_mflop"]


def test_sweep(tmp_path: Path, modules: SimpleNamespace) -> None:
    options = ("--trials", "2", "--budget", "9", "--samples", "100", "--repeats", "1", "--alone-within", "0")
    found = figures_of("sweep.py", *options, out=tmp_path / "sweep.json")
    assert [run["arm"] for run in found["runs"]] == ["a", "b", "c"]
    for run in found["runs"]:
        assert 0 < run["training"] < run["span"] < run["total"]
        assert run["evaluation"] > 0
        seconds, best = zip(*run["best"], strict=True)
        assert run["startup"] < seconds[0] <= seconds[-1] < run["total"]
        assert list(best) == sorted(best, reverse=True)
        assert best[-1] > found["floor"]
    assert set(found["ratios"]) == {"span b/a", "total b/a", "span c/a", "total c/a"}
    modules.sweep.draw(found, tmp_path / "sweep.png")
    earlier = {**found, "runs": [{"arm": "a"}]}
    with pytest.raises(SystemExit, match="measure again"):
        modules.sweep.draw(earlier, tmp_path / "earlier.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_precision(tmp_path: Path) -> None:
    options = ("--updates", "5", "--seeds", "2", "--samples", "100", "--device", "cpu")
    found = figures_of("precision.py", *options, out=tmp_path / "precision.json")
    assert [run["arm"] for run in found["runs"]] == ["float32", "bfloat16", "float32 again"] * 2
    first, rounded, again = found["runs"][:3]
    assert list(first["curve"]) == ["1", "2", "3", "4", "5"]
    # The same start, and from there other numbers; of the third arm another start.
    assert rounded["curve"]["5"] not in (first["curve"]["5"], again["curve"]["5"])
    (exact, *others) = found["summary"]
    assert exact["mean"] == pytest.approx(sum(run["curve"]["5"] for run in found["runs"][::3]) / 2)
    assert exact["difference"] is None
    for arm in others:
        assert arm["difference"] == pytest.approx(arm["mean"] - exact["mean"])
        assert arm["half"] > 0 < arm["seconds_an_update"]


def test_fused_trials(tmp_path: Path, modules: SimpleNamespace) -> None:
    options = ("--structures", "mlp", "--trials", "2", "--processes", "1", "--pairs", "2", "--seconds", "0.05")
    found = figures_of("fused_trials.py", *options, "--device", "cpu", out=tmp_path / "fused.json")
    (figure,) = found["figures"]
    assert figure["trials"] == 2
    measured = {name for name, arm in figure["arms"].items() if isinstance(arm, dict)}
    assert measured == {"ours", "hfta", "processes", "textbook"}
    assert all(figure["arms"][name]["per_second"]["q1"] > 0 for name in measured)
    assert set(figure["ratios"]) == {"ours/hfta", "ours/processes", "ours/textbook"}
    rate = figure["arms"]["ours"]["per_second"]["median"]
    assert figure["reached"]["fp32"] == pytest.approx(rate * figure["floor_seconds"]["floor"]["fp32"])
    assert figure["report_ms"] is None or figure["report_ms"] > 0
    # By hand: the critic's parameters, and those of the generator, which has no bias before a normalisation.
    critic = (784 + 1) * 512 + (512 + 1) * 256 + 256 + 1
    generator = (100 + 1) * 128 + 128 * 256 + 256 * 512 + (512 + 1) * 1024 + (1024 + 1) * 784 + 2 * (256 + 512)
    assert figure["work"]["optimiser_bytes"] == 28 * (critic + generator) + 8 * generator
    # Samples go through the generator twice and back once; through the critic, twice and back twice or oftener.
    read = 4 * (4 * (784 * 512 + 512 * 256) + 3 * (128 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784))
    assert read < figure["work"]["weight_bytes"] < 2 * read
    assert set(found["cuda"].values()) == {"not measured"}
    (apart,) = (value for what, value in found["equality"].items() if what.startswith("mlp, cpu"))
    assert apart < 1e-12
    modules.picture.draw(found, tmp_path / "fused.png")
    assert (tmp_path / "fused.png").read_bytes().startswith(b"\x89PNG")


def test_mnist_fused(tmp_path: Path, modules: SimpleNamespace) -> None:
    options = ("--trials", "5", "--lanes", "3", "--budget", "27", "--samples", "100", "--device", "cpu")
    found = figures_of("mnist_fused.py", *options, "--threads", "2", out=tmp_path / "mnist.json")
    assert sum(found["ends"].values()) == 5
    assert found["ends"]["stopped"] > 0
    best = [point["best"] for point in found["curve"]]
    assert best == sorted(best, reverse=True)
    assert found["best"] == min(value for there in found["values"].values() for value in there.values())
    # A trial makes one critic update between two of the 27 reports.
    assert found["critic_updates"] == sum(len(there) for there in found["values"].values())
    beside = {**found, "trials": 2, "budget": 9, "cores": 2, "runs": []}
    for curve in (found["curve"], []):  # the second is of a search without a finite score
        modules.mnist_fused.draw({**found, "curve": curve}, tmp_path / "mnist.png", beside)
    assert (tmp_path / "mnist.png").read_bytes().startswith(b"\x89PNG")


def test_mixed_n_critic(tmp_path: Path) -> None:
    options = ("--structures", "toy", "--lanes", "3", "--updates", "2", "--warm-up", "1", "--rounds", "2")
    found = figures_of("mixed_n_critic.py", *options, "--device", "cpu", out=tmp_path / "mixed.json")
    (figure,) = found["figures"]
    assert set(figure["arms"]) == {"mixed", "alike", "split"}
    assert all(rate["q1"] > 0 for rate in figure["arms"].values())
    assert set(figure["ratios"]) == {"mixed/alike", "mixed/split"}
    assert "mixed/split" in (tmp_path / "mixed.txt").read_text()


def test_convolutions(tmp_path: Path, modules: SimpleNamespace) -> None:
    options = ("--trials", "2", "--rounds", "2", "--seconds", "0.01", "--device", "cpu")
    found = figures_of("convolutions.py", *options, out=tmp_path / "convolutions.json")
    (figure,) = found["figures"]
    assert set(figure["per_second"]) == set(found["largest_difference_fp64"]) == set(modules.convolutions.WAYS)
    assert all(rate["q1"] > 0 for rate in figure["per_second"].values())
    assert max(found["largest_difference_fp64"].values()) < 1e-12


@pytest.mark.parametrize("pair", ["mlp", "conv"])
def test_fused_modules_are_k_textbook_loops(modules: SimpleNamespace, pair: str) -> None:
    """Two updates of each network, in fp64, of models that differ in weights, λ and rate."""
    torch.set_default_dtype(torch.float64)
    made, (batch, latent), betas = (
        modules.wgan_gp.PAIRS[pair],
        (modules.wgan_gp.BATCH, modules.wgan_gp.LATENT),
        (0.5, 0.9),
    )
    lambdas, rates, data = (10.0, 1.0, 0.1), (1e-4, 3e-4, 1e-3), torch.zeros((4, 1, 28, 28), dtype=torch.uint8)
    fused = modules.hfta.Hfta(data, 1, made, lambdas, rates, betas)
    loops = [
        modules.wgan_gp.Textbook(data, 1, made, lambda_gp=weight, lr=rate, betas=betas)
        for weight, rate in zip(lambdas, rates, strict=True)
    ]
    for name in ("critic", "generator"):
        network = modules.hfta.fuse([getattr(loop, name) for loop in loops])
        getattr(fused, name).load_state_dict(network.state_dict())
    models = len(loops)
    for _ in range(2):
        real, weight = torch.rand(batch, models, 28, 28) * 2 - 1, torch.rand(batch, models)
        z, its_z = torch.randn(2, models, batch, latent)
        critic_losses, generator_losses = fused.update_critic(real, z, weight), fused.update_generator(its_z)
        for k, loop in enumerate(loops):
            alone = loop.update_critic(real[:, k : k + 1], z[k], weight[:, k])
            torch.testing.assert_close(critic_losses[k], alone, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(generator_losses[k], loop.update_generator(its_z[k]), rtol=1e-10, atol=1e-10)
    for name in ("critic", "generator"):
        wanted = modules.hfta.fuse([getattr(loop, name) for loop in loops]).state_dict()
        for key, tensor in getattr(fused, name).state_dict().items():
            torch.testing.assert_close(
                tensor, wanted[key], rtol=0, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}"
            )


def test_ordered_pairs_are_counted(modules: SimpleNamespace) -> None:
    """By hand: of eight pairs of different levels, five are in order, two are not, and one is a tie."""
    ordered_share = modules.metrics.ordered_share
    assert ordered_share([[0, 3], [1], [2, 3]]) == pytest.approx(5.5 / 8)
    assert ordered_share([[1, 2], [3, 4]]) == 1
    assert ordered_share([[3, 4], [1, 2]]) == 0
    assert ordered_share([[1, 1], [1, 1]]) == 0.5


def test_a_score_is_bad_by_its_direction(modules: SimpleNamespace) -> None:
    def badness(direction: Direction, score: float, name: str = "eval/x") -> float:
        found: float = modules.metrics.badness(MetricSpec(name, "", direction, frozenset(), ""), score)
        return found

    assert badness("minimize", 1) < badness("minimize", 2)
    assert badness("maximize", 2) < badness("maximize", 1)
    # Such metrics have a best value in the middle.
    assert badness("none", 1) < badness("none", 1.5) < badness("none", 0.4)
    assert badness("none", 0.5, ACCURACY_REAL_NAME) < badness("none", 0.9, ACCURACY_REAL_NAME)


def test_lost_modes_of_points_are_ordered(modules: SimpleNamespace) -> None:
    evaluator, fresh = modules.metrics.prepare(load_toy("8gaussians"))
    ladder = {modules.damages.lost_modes: (0, 2, 6)}
    shares = modules.metrics.climb(evaluator, fresh, ladder, draws=1)
    for name in (W1_NAME, SLICED_NAME, MODES_NAME, "eval/coverage"):
        assert shares[name] == {"lost_modes": 1}
    seconds = dict.fromkeys(shares, 0.5)
    assert "| w1, default | 1.00 | 1.00 | 0.50 |" in modules.metrics.table(evaluator, shares, seconds)


def test_the_comparison_of_games_is_whole(tmp_path: Path) -> None:
    """Three arms on the same nets, three seeds each in cohorts of two; figures of both views, a picture, a table."""
    options = ("--updates", "9", "--seeds", "3", "--lanes", "2", "--threads", "1", "--out", "a.png")
    found = figures_of("modes.py", *options, out=tmp_path / "out.json")
    arms = {arm["arm"]: arm for arm in found["arms"]}
    losses = [arm["structure"]["loss"] for arm in arms.values()]
    assert list(arms) == ["as published", "gan", "wgan-gp"]
    assert losses == ["difference-of-means", "gan", "wgan-gp"]
    assert len({json.dumps(arm["structure"]["network_options"]) for arm in arms.values()}) == 1
    for arm in arms.values():
        assert list(arm["curve"]) == [str(step) for step in range(1, 10)]
        assert all(len(scores) == 3 for scores in (*arm["curve"].values(), arm["final"]))
        for view in ("last", "averaged"):
            mean, half = arm["mean and half width"][view][W1_NAME]
            values = [scores[view][W1_NAME] for scores in arm["final"]]
            assert mean == pytest.approx(np.mean(values))
            assert half == pytest.approx(4.303 * np.std(values, ddof=1) / math.sqrt(3), rel=1e-3)
    assert np.asarray(Image.open(tmp_path / "a.png")).ndim == 3
    assert found["real against real"][MODES_NAME] == 8


def test_stacked_mnist(tmp_path: Path) -> None:
    """A short run is whole, and continued it has the same figures. Real images have the KL of so few samples."""
    options = ("--smoke", "--threads", "1", "--keep", str(tmp_path / "kept"))
    found = figures_of("stacked_mnist.py", *options, out=tmp_path / "stacked.json")
    assert found["accuracy"]["all three"] > 0.97
    for name in ("held-out images, by label", "held-out images, by classifier"):
        assert found["rows"][name]["modes"] == 1000
        assert found["rows"][name]["kl_data"] == pytest.approx(999 / 52_000, abs=0.003)
    (ours,) = (row for name, row in found["rows"].items() if name.startswith("ours"))
    # After one update, all samples may be of one mode, at the largest KL that there is.
    assert 1 <= ours["modes"] < 1000
    assert 1 < ours["kl_uniform"] < math.log(1001)
    assert figures_of("stacked_mnist.py", *options, out=tmp_path / "again.json") == found


def test_stacked_modes_are_counted(modules: SimpleNamespace) -> None:
    """By hand: two modes of three samples each have KL log 500 from uniform ones, and miss what the data has."""
    law = torch.full((1000,), 1e-3, dtype=torch.float64)
    digits = torch.tensor([[0, 1, 2], [9, 9, 9]]).repeat(3, 1)
    found = modules.stacked_mnist.figures(digits, law)
    assert found["modes"] == 2
    assert found["kl_uniform"] == found["kl_data"] == pytest.approx(math.log(500))
    assert found["kl_of_data"] == math.inf
    every = torch.cartesian_prod(*[torch.arange(10)] * 3)
    assert modules.stacked_mnist.figures(every, law) == pytest.approx(
        {"modes": 1000, "kl_uniform": 0, "kl_data": 0, "kl_of_data": 0}
    )


def test_settings_of_stacked_mnist_are_changed_by_name(modules: SimpleNamespace) -> None:
    structure, hyper = modules.stacked_mnist.changed(["loss=wgan-lp", "ema_decay=0.9", "n_critic=3"], 50)
    assert (structure.loss, structure.ema_decay, hyper.n_critic, hyper.decay_updates) == ("wgan-lp", 0.9, 3, 50)
