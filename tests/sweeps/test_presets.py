"""Presets: what each holds fixed and tries first, how a script's options name them, and that each sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from torch.nn import BatchNorm2d

from sweeps.engine.plan.options import parse
from sweeps.engine.plan.presets import CONDITIONAL, MNIST, Preset
from sweeps.engine.results.results import open_results
from tests.sweeps.processes import MNIST as MNIST_SCRIPT
from tests.sweeps.processes import Surroundings
from wgan_core.config import Hyper, Structure
from wgan_core.errors import UserError
from wgan_core.networks.network import build
from wgan_core.networks.spectral import has_spectral_norm


@pytest.mark.parametrize("preset", MNIST.values(), ids=MNIST)
def test_each_builds_and_has_its_published_point(preset: Preset) -> None:
    structure = preset.structure_for((1, 28, 28), None)
    build(structure)
    assert preset.space.presets
    for point in preset.space.presets:
        preset.space.hyper(point)
    assert preset.structure_for((1, 28, 28), "conv").networks == "conv"


def test_the_published_points() -> None:
    """The blog's two rates with torch's own betas; Arjovsky's RMSProp, n_critic and bound."""
    blog, clip = MNIST["mlp-blog"], MNIST["wgan-clip"]
    assert blog.space.hyper(blog.space.presets[0]) == Hyper(10.0, 4e-3, 1e-3, 1, 0.9, 0.999)
    assert blog.structure_for((1, 28, 28), None) == Structure("mlp", (1, 28, 28))
    assert clip.space.hyper(clip.space.presets[0]) == Hyper(0.0, 5e-5, 5e-5, 5, 0.0, 0.99, clip=0.01)
    structure = clip.structure_for((1, 28, 28), None)
    assert (structure.loss, structure.optimiser) == ("wgan-clip", "rmsprop")


def test_the_settings_of_the_authors_code() -> None:
    """Gulrajani et al. 2017: z of 128, and no batch normalisation on MNIST; Mescheder et al. 2018: RMSProp."""
    dcgan, residual = (MNIST[name].structure_for((1, 28, 28), None) for name in ("dcgan", "residual"))
    assert (dcgan.latent_dim, dcgan.batch_size, residual.latent_dim) == (128, 50, 128)
    assert not [each for each in build(dcgan)[1].modules() if isinstance(each, BatchNorm2d)]
    for part in ("ACGAN", "32 channels for 128", "batch of 64 for 128", "fall to 0 only with --decay"):
        assert part in MNIST["residual"].source
    for loss in ("gan-r1", "gan-r2"):
        preset = MNIST[loss]
        assert preset.space.hyper(preset.space.presets[0]) == Hyper(20.0, 1e-4, 1e-4, 1, 0.0, 0.99)
        structure = preset.structure_for((1, 28, 28), None)
        assert (structure.loss, structure.optimiser) == (loss, "rmsprop")


@pytest.mark.parametrize(
    ("options", "name", "budget"),
    [
        ([], "mnist", 900),
        (["--preset", "gan"], "mnist-gan", 900),
        (["--preset", "mlp-blog", "--full"], "mnist-mlp-blog-full", 93_700),
        (["--full"], "mnist-full", 1_000_000),
        (["--preset", "gan", "--smoke"], "mnist-gan-smoke", 45),
        (["--decay"], "mnist-decay", 900),
        (["--no-pruning"], "mnist-unpruned", 900),
        (["--precision", "bfloat16", "--smoke"], "mnist-smoke-bfloat16", 45),
        (["--precision", "float32"], "mnist", 900),
        (["--preset", "gan", "--name", "mine", "--budget", "50"], "mine", 50),
    ],
    ids=str,
)
def test_each_search_has_a_name_of_its_own(options: list[str], name: str, budget: int) -> None:
    found = parse("mnist", "", 12, 900, options, MNIST)
    assert (found.name, found.budget) == (name, budget)


def test_a_short_schedule_knows_its_published_one() -> None:
    assert parse("mnist", "", 12, 900, ["--preset", "mlp-blog"], MNIST).published == 93_700
    assert parse("mnist", "", 12, 900, ["--preset", "gan"], MNIST).published is None


def test_sn_gans_settings() -> None:
    """Table 1 of Miyato et al. 2018: (rate, beta1, beta2, n_critic) of A to F."""
    space = MNIST["sn-gan"].space
    found = [space.hyper(point) for point in space.presets]
    assert [(each.lr_critic, each.beta1, round(each.beta2, 3), each.n_critic) for each in found] == [
        (1e-4, 0.5, 0.9, 5),
        (1e-4, 0.5, 0.999, 1),
        (2e-4, 0.5, 0.999, 1),
        (1e-3, 0.5, 0.9, 5),
        (1e-3, 0.5, 0.999, 5),
        (1e-3, 0.9, 0.999, 5),
    ]


def test_the_spectral_presets() -> None:
    """SN-GAN's six settings without a penalty; the projection critic's rates, for labelled images."""
    spectral, projection = MNIST["spectral"], CONDITIONAL["projection"]
    penalised = [MNIST["sn-gan"].space.hyper(point) for point in MNIST["sn-gan"].space.presets]
    found = [spectral.space.hyper(point) for point in spectral.space.presets]
    assert found == [replace(each, lambda_gp=0.0) for each in penalised]
    assert projection.space.hyper(projection.space.presets[0]) == Hyper(0.0, 2e-4, 2e-4, 5, 0.0, 0.9)
    for preset, classes in ((spectral, 0), (projection, 10)):
        structure = preset.structure_for((1, 28, 28), None, classes=classes)
        assert (structure.loss, structure.spectral_norm, structure.latent_dim) == ("hinge", True, 128)
        assert has_spectral_norm(build(structure)[0])
    # Another pair is normalised as well.
    assert has_spectral_norm(build(spectral.structure_for((1, 28, 28), "conv"))[0])


def test_data_that_is_called_as_the_script_leaves_the_name() -> None:
    assert parse("mnist", "", 12, 900, ["--data", "mnist"], MNIST).name == "mnist"
    assert parse("mnist", "", 12, 900, ["--data", "other"], MNIST, named=("mnist", "other")).name == "mnist-other"


def test_an_unknown_preset_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse("mnist", "", 12, 900, ["--preset", "stylegan"], MNIST)
    (line,) = capsys.readouterr().err.splitlines()
    assert "'stylegan'" in line
    assert all(name in line for name in MNIST)


def test_a_full_schedule_that_nobody_published_is_refused() -> None:
    with pytest.raises(UserError, match=r"--full takes the published schedule; of the preset 'gan' .* give --budget"):
        parse("mnist", "", 12, 900, ["--preset", "gan", "--full"], MNIST)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "more"), [("wgan-clip", ()), ("gan-saturating", ("--decay",))])
def test_a_preset_sweeps(
    joined: Surroundings, small_data: Path, tmp_path: Path, preset: str, more: tuple[str, ...]
) -> None:
    """The published point first, with rates that fall if that was asked; a leaderboard and a best checkpoint."""
    options = ("--data", small_data, "--preset", preset, "--smoke", "--trials", 1, "--budget", 5, *more)
    ran = joined.run(MNIST_SCRIPT, tmp_path, *options).succeeded()
    assert "published" not in ran.out  # of neither game
    name = f"mnist-{preset}-smoke" + "-decay" * len(more)
    best = open_results(str(tmp_path), name).best_as_json()
    assert best["params"]["decay_updates"] == 5 * len(more)
    url = f"sqlite:///{tmp_path}/{name}/study.db"
    (first,) = optuna.load_study(study_name=None, storage=url).get_trials()
    assert first.params == MNIST[preset].space.presets[0]
    assert "best checkpoint" in ran.out


def test_a_script_without_presets_has_networks_all_the_same() -> None:
    assert parse("mine", "", 12, 900, []).networks == "mlp"
    assert parse("mine", "", 12, 900, ["--networks", "conv"]).networks == "conv"
