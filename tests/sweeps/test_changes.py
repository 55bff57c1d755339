"""`--set`, `--search` and `--space`: what they change, what they refuse, and that what is printed parses back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution

from sweeps.engine.charts.equal import Point, equal_study, importances
from sweeps.engine.driver.lanes import hypers
from sweeps.engine.plan.changes import SEARCH, SET, Changes
from sweeps.engine.plan.options import chosen, parse
from sweeps.engine.plan.plan import Plan, read_plan, settle, write_plan
from sweeps.engine.plan.presets import MNIST, WGAN_GP
from sweeps.engine.plan.presets_tabular import TABULAR
from sweeps.engine.plan.settings import Value
from sweeps.engine.plan.space import KNOWN, Range, Space, check_space, parameters_of, text_of
from sweeps.engine.plan.structures import check_structures
from sweeps.engine.results.leaderboard import shared
from sweeps.engine.study.sampling import as_distribution
from sweeps.engine.tracking.texts import LOG10
from sweeps.engine.tracking.view import _axis
from tests.sweeps.made import made_plan
from wgan_core.config import PARAMETERS, STRUCTURAL, Structure
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.training.preflight import check_fit

MLP = MNIST["wgan-gp"].structure_for((1, 8, 8), None)


def changed(*words: str, space: Space = WGAN_GP, structure: Structure = MLP) -> tuple[Space, Structure, list[str]]:
    """The space and the structure after the words of a command line, and the lines about presets that move."""
    changes = parse("mnist", "", 12, 900, words).changes
    made = changes.structure(structure, 1000)
    found, said = changes.space(space, made)
    return found, made, said


def refused(*words: str, **more: object) -> str:
    with pytest.raises(UserError) as error:
        changed(*words, **more)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_values_are_fixed_and_ranges_narrowed() -> None:
    """Of all names in one command line; the rest of the space and of the structure stays."""
    space, structure, said = changed(
        SET, "lambda_gp=10", "batch_size=128", "critic.widths=64-32", SEARCH, "lr=1e-4..1e-3:log", "n_critic=1,2,5"
    )
    assert space.fixed == {"lambda_gp": 10}
    assert space.ranges == {
        "lr": Range(1e-4, 1e-3, log=True),
        "n_critic": Range(1, 5, whole=True, among=(1, 2, 5)),
        "beta1": WGAN_GP.ranges["beta1"],
        "one_minus_beta2": WGAN_GP.ranges["one_minus_beta2"],
    }
    assert (structure.batch_size, structure.network_options) == (128, {"critic": {"widths": [64, 32]}})
    assert [dict(point) for point in space.presets] == [
        {name: value for name, value in point.items() if name != "lambda_gp"} for point in WGAN_GP.presets
    ]
    assert said == []
    check_fit(structure, 1)


@pytest.mark.parametrize("name", KNOWN)
def test_every_hyper_parameter_can_be_set_and_searched(name: str) -> None:
    """Of the table and of its aliases; the presets stay starting points, inside."""
    usual = PARAMETERS[parameters_of(name)[0]].values.usual or 0.5
    loss = (SET, "loss=wgan-clip") if name == "clip" else ()
    fixed, *_ = changed(*loss, SET, f"{name}={2 if PARAMETERS[parameters_of(name)[0]].whole else usual}")
    assert name in fixed.fixed
    assert not {*parameters_of(name)} & {
        each for other in {*fixed.ranges} for each in parameters_of(other)
    } or name in (
        "lr_critic",
        "lr_generator",
    )
    low, high = ("2", "3") if PARAMETERS[parameters_of(name)[0]].whole else ("0.25", "0.5")
    space, *_ = changed(*loss, SEARCH, f"{name}={low}..{high}")
    assert (space.ranges[name].low, space.ranges[name].high) == (float(low), float(high))
    assert all(space.ranges[name].holds(point[name]) for point in space.presets)


@pytest.mark.parametrize("name", [name for name, about in STRUCTURAL.items() if not about.of_data])
def test_every_setting_of_the_structure_can_be_set(name: str) -> None:
    other = {"loss": "hinge", "optimiser": "sgd", "dtype": "float64", "precision": "tf32", "full_batch": True}
    value = other.get(name, {int: 2, bool: True, float: 0.5}.get(type(STRUCTURAL[name].values.usual)))
    structure = MNIST["wgan-gp"].structure_for((1, 8, 8), None, classes=3)
    _, made, _ = changed(SET, f"{name}={text_of(value)}", structure=structure)
    assert getattr(made, name) == value
    assert made != structure


def test_other_networks_get_their_own_options() -> None:
    _, made, _ = changed(
        SET, "networks=conv", "critic.width=8", structure=TABULAR["wgan-gp"].structure_for((1, 8, 8), None)
    )
    assert (made.networks, made.network_options) == ("conv", {"critic": {"width": 8}})
    check_fit(made, 1)


def test_a_single_width_is_a_list_of_one() -> None:
    assert changed(SET, "generator.widths=32")[1].network_options == {"generator": {"widths": [32]}}


def test_a_full_batch_has_all_rows() -> None:
    _, made, _ = changed(SET, "full_batch=true")
    assert made.batch_size == 1000
    assert changed(SET, "full_batch=false", structure=made)[1].batch_size == 64
    assert "batch_size must be the number of training samples where full_batch is true, 1,000; given 8" in refused(
        SET, "batch_size=8", structure=made
    )


def test_a_preset_outside_is_moved_to_the_nearest_point_and_said() -> None:
    space, _, said = changed(SEARCH, "lr=5e-4..1e-2", "n_critic=2,4", "weight_decay=1e-6..1e-2")
    assert [(point["lr"], point["n_critic"], point["weight_decay"]) for point in space.presets] == [
        (5e-4, 4, 1e-6),
        (1e-3, 4, 1e-6),
        (5e-4, 2, 1e-6),
    ]
    assert "preset 0: lr 0.0001 is not in 0.0005..0.01:log; 0.0005 is tried" in said
    assert len(said) == 2 + 3 + 3


def test_presets_that_fall_together_are_tried_once() -> None:
    names = ("lambda_gp=10", "lr=1e-4", "beta1=0", "one_minus_beta2=.1")
    space, _, said = changed(SET, *names, SEARCH, "n_critic=1,5")
    assert space.presets == ({"n_critic": 5}, {"n_critic": 1})
    assert said == ["preset 1 is then preset 0: it is left out"]


def test_a_rate_of_one_network_and_of_both() -> None:
    """`lr` keeps the other network's rate; both rates replace it; `lr` replaces two rates."""
    assert {"lr", "lr_critic"} <= changed(SEARCH, "lr_critic=1e-4..1e-2")[0].ranges.keys()
    assert "lr" not in changed(SEARCH, "lr_critic=1e-4..1e-2", SET, "lr_generator=1e-4")[0].ranges
    blog = MNIST["mlp-blog"].space
    space, *_ = changed(SEARCH, "lr=1e-4..1e-2", space=blog)
    assert {"lr_critic", "lr_generator"}.isdisjoint(space.ranges)
    assert changed(SET, "beta2=.99")[0].ranges.keys() == WGAN_GP.ranges.keys() - {"one_minus_beta2"}


def test_another_loss_drops_what_it_does_not_use() -> None:
    space, structure, said = changed(SET, "loss=hinge")
    assert "lambda_gp" not in space.ranges
    assert said == ["the loss hinge does not use lambda_gp: it is not searched"]
    check_space(space, structure.loss)
    space, structure, _ = changed(SET, "loss=wgan-clip")
    with pytest.raises(UserError, match=r"must give clip; .* add a range or a fixed value, as by --search or --set"):
        check_space(space, structure.loss)


def test_the_default_scale_is_that_of_the_table() -> None:
    space, *_ = changed(SEARCH, "lr=1e-4..1e-3", "beta1=0..0.5", "one_minus_beta2=.01..0.1", "lambda_gp=0..1:linear")
    assert [space.ranges[name].log for name in ("lr", "beta1", "one_minus_beta2", "lambda_gp")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((SET, "lamda_gp=1"), "--set must name what --help lists; given 'lamda_gp': the nearest names are lambda_gp, "),
        ((SEARCH, "ncritic=1,2"), "given 'ncritic': the nearest names are n_critic, "),
        ((SET, "widths=8"), "the nearest names are critic.widths, "),
        ((SET, "classes=3"), "--set must name what --help lists; given 'classes'"),
        ((SET, "critic.width=8"), "given 'critic.width': the nearest names are critic.widths, "),
        ((SET, "critic.widths=8-x"), "widths must be one or more whole numbers > 0; given '8-x'"),
        ((SET, "networks=transformer"), "networks must be one of conv, dcgan, "),
        ((SET, "lr"), "--set takes words NAME=VALUE; given 'lr': write --set lambda_gp=10"),
        ((SET, "lr=1", "lr=2"), "given lr twice"),
        ((SET, "lr=1", SEARCH, "lr=1..2"), "--set and --search must name different things; both name lr"),
        ((SET, "lr=fast"), "--set lr takes numbers; given 'fast'"),
        ((SET, "lr=0"), "lr_critic must be a finite number > 0; given 0"),
        ((SET, "lr=nan"), "lr_critic must be a finite number > 0; given nan"),
        ((SET, "n_critic=1.5"), "n_critic must be a whole number >= 1; given 1.5"),
        ((SET, "batch_size=0"), "batch_size must be a whole number >= 1; given 0"),
        ((SET, "batch_size=many"), "batch_size must be a whole number >= 1; given 'many'"),
        ((SET, "ema_decay=1"), "ema_decay must be a number in [0, 1); given 1.0"),
        ((SET, "loss=least-squares"), "loss must be one of wgan-gp, "),
        ((SET, "spectral_norm=yes"), "spectral_norm must be true or false; given 'yes'"),
        ((SET, "dtype=float64", "precision=tf32"), "precision must be float32 where dtype is float64"),
        ((SET, "lr=1", "lr_critic=1", "lr_generator=1"), "lr must have an effect; given beside lr_critic and lr_gen"),
        (
            (SET, "beta2=.9", SEARCH, "one_minus_beta2=.1..0.2"),
            "one_minus_beta2 must have an effect; given beside beta2",
        ),
        ((SET, "clip=1"), "the loss 'wgan-gp' must use what is set or searched; it does not use clip"),
        ((SET, "loss=hinge", SEARCH, "lambda_gp=1..2"), "the loss 'hinge' must use what is set or searched"),
        ((SEARCH, "lr=1e-2..1e-5"), "the range of lr must have low < high; given '1e-2..1e-5'"),
        ((SEARCH, "lr=1e-2..1e-2"), "to fix it, write --set lr=1e-2"),
        ((SEARCH, "lambda_gp=0..1"), "a range on a log scale must begin above 0; given lambda_gp=0..1: begin above 0"),
        ((SEARCH, "lambda_gp=0,1:log"), "a range on a log scale must begin above 0"),
        ((SEARCH, "lr=1e-5..1:cubic"), "the scale of lr must be log or linear; given 'cubic'"),
        ((SEARCH, "lr=1e-5..inf"), "lr_critic must be a finite number > 0; given inf"),
        ((SEARCH, "n_critic=1,2.5"), "n_critic must be a whole number >= 1; given 2.5"),
        ((SEARCH, "beta1=0..1"), "beta1 must be a number in [0, 1); given 1.0"),
        ((SEARCH, "precision=float32,tf32"), "all trials of a sweep must share precision; given by --search"),
        ((SEARCH, "critic.width=8,16"), "critic.NAME must name an option of the critic of 'mlp'; given 'critic.width'"),
        ((SEARCH, "critic.widths=8-8..16-16"), "critic.widths takes a list of values, without a range or a scale"),
        ((SEARCH, "critic.slope=.1...2"), "critic.slope must be searched over a list"),
        ((SEARCH, "batch_size=0,64"), "batch_size must be a whole number >= 1; given 0"),
        ((SEARCH, "loss=wgan-gp,wgan"), "loss must be one of wgan-gp, "),
        ((SEARCH, "networks=mlp,conv", "critic.widths=8,16"), "networks=conv critic.widths=8 do not: critic.NAME must"),
        ((SET, "critic.widths=8", SEARCH, "networks=mlp,conv"), "write --search critic.widths=8"),
        ((SEARCH, "networks=mlp,conv", "batch_size=1,2"), "networks=conv batch_size=1 do not: batch_size must be at"),
        ((SET, "full_batch=true", SEARCH, "batch_size=32,64"), "batch_size must be searched without full batches"),
        ((SEARCH, "loss=hinge,gan", "lambda_gp=1..2"), "the loss 'gan' or 'hinge' must use what is set or searched"),
        ((SET, "networks=conv", "--networks", "mlp"), "networks must be given once; given by --networks and by --set"),
        ((SET, "decay_updates=9", "--decay"), "decay_updates must be given once"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], said: str) -> None:
    def act() -> None:
        space, structure, _ = changed(*words)
        check_structures(space, structure, lambda each: check_fit(each, 1))

    with pytest.raises(UserError, match=re.escape(said)) as error:
        act()
    assert "\n" not in str(error.value)


def numbers(name: str) -> st.SearchStrategy[float]:
    if PARAMETERS[parameters_of(name)[0]].whole:
        return st.integers(1, 10**6)
    return st.floats(1e-9, 0.999, exclude_max=True)


@given(st.data())
def test_what_is_printed_parses_back(data: st.DataObject) -> None:
    """Changes to arguments and back: the same changes, of every name, with ranges, lists, scales and values."""
    names = data.draw(st.lists(st.sampled_from(KNOWN), unique=True, min_size=1))
    fixed: dict[str, Value] = {"batch_size": data.draw(st.integers(1, 10**6)), "full_batch": data.draw(st.booleans())}
    searched = {}
    for name in names:
        values = data.draw(st.lists(numbers(name), min_size=2, max_size=5, unique=True))
        whole, log = PARAMETERS[parameters_of(name)[0]].whole, data.draw(st.booleans())
        kind = data.draw(st.sampled_from(["value", "range", "list"]))
        if kind == "value":
            fixed[name] = values[0]
        else:
            ends = Range(min(values), max(values), log, whole)
            searched[name] = ends if kind == "range" else Range.of(values, log, whole)
    fixed["critic.widths"] = data.draw(st.lists(st.integers(1, 999), min_size=2, max_size=4))
    changes = Changes(fixed, searched)
    assert parse("mnist", "", 12, 900, changes.arguments()).changes == changes


def test_a_file_and_a_notebook_say_the_same_as_the_command_line(tmp_path: Path) -> None:
    """A word of the command line replaces the file's entry of its name."""
    file = tmp_path / "space.toml"
    file.write_text(
        "set.lambda_gp = 10\nset.critic.widths = [64, 32]\nset.spectral_norm = true\n"
        '[search]\nlr = "1e-5..1e-2:log"\nn_critic = [1, 2, 5]\nbeta1 = "0..0.5"\n'
    )
    words = (
        *(SET, "lambda_gp=10", "critic.widths=64-32", "spectral_norm=true"),
        *(SEARCH, "lr=1e-5..1e-2:log", "n_critic=1,2,5", "beta1=0..0.5"),
    )
    asked = parse("mnist", "", 12, 900, words)
    read = parse("mnist", "", 12, 900, ["--space", str(file)])
    assert (read.changes, read.name) == (asked.changes, asked.name)
    fixed = {"lambda_gp": 10, "critic.widths": [64, 32], "spectral_norm": True}
    searched = {"lr": Range(1e-5, 1e-2, log=True), "n_critic": [1, 2, 5], "beta1": "0..0.5"}
    assert chosen("n", 12, 900, {"set": fixed, "search": searched}).changes == asked.changes
    assert chosen("n", 12, 900, {"space": str(file)}).changes == asked.changes
    moved = parse("mnist", "", 12, 900, ["--space", str(file), SET, "lr=1e-3"]).changes
    assert moved.fixed["lr"] == 1e-3
    assert "lr" not in moved.searched


@pytest.mark.parametrize(
    ("text", "said"),
    [("lr = 1", "has 'lr': put each name into one of the two tables"), ("[set", "is none, TOMLDecodeError: ")],
)
def test_files_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(text)
    assert said in refused("--space", str(file))
    for path in (tmp_path / "none.toml", tmp_path, Path("/dev/zero"), Path("~no-such-user/x")):
        assert "--space must name a TOML file of at most 16 KiB with the tables" in refused("--space", str(path))


def test_the_sweep_keeps_the_values_and_not_the_file(tmp_path: Path) -> None:
    """`sweeps confirm` runs the kept arguments, and the file may have changed by then."""
    file = tmp_path / "space.toml"
    file.write_text("[set]\nlambda_gp = 10\n")
    options = parse("mnist", "", 12, 900, ["--seed", "1", "--space", str(file), SEARCH, "lr=1e-4..1e-3", "--decay"])
    assert options.arguments == ("--seed", "1", "--decay", SET, "lambda_gp=10", SEARCH, "lr=0.0001..0.001:log")
    assert parse("mnist", "", 12, 900, options.arguments).changes == options.changes


def test_other_changes_are_another_sweep() -> None:
    """By default; the order of the words makes no difference."""
    first = parse("mnist", "", 12, 900, [SET, "lambda_gp=10", "beta1=0"]).name
    assert re.fullmatch(r"mnist-space-[0-9a-f]{6}", first)
    assert parse("mnist", "", 12, 900, [SET, "beta1=0", "lambda_gp=10.0"]).name == first
    assert parse("mnist", "", 12, 900, [SET, "lambda_gp=11", "beta1=0"]).name != first
    assert parse("mnist", "", 12, 900, [SET, "lambda_gp=11", "--name", "mine"]).name == "mine"


def test_a_continued_sweep_has_the_same_space(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    """Lists go to the sweep's file and back; another list, or another setting, is refused by name."""
    folder = Folder.at(tmp_path / "sweep")
    space, structure, _ = changed(SEARCH, "n_critic=1,2,5", SET, "batch_size=32")
    plan = make_plan(space=space, structure=structure)
    write_plan(folder, plan)
    assert read_plan(folder) == plan == settle(folder, plan)
    other, *_ = changed(SEARCH, "n_critic=1,2,4", SET, "batch_size=32")
    with pytest.raises(UserError, match=r"space\.ranges\.n_critic\.among was \[1, 2, 5\] and is \[1, 2, 4\]"):
        settle(folder, make_plan(space=other, structure=structure))
    with pytest.raises(UserError, match=r"structure\.batch_size was 32 and is 64"):
        settle(folder, make_plan(space=space, structure=MLP))


def test_a_file_of_an_earlier_version_has_no_lists(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    folder, plan = Folder.at(tmp_path / "sweep"), make_plan()
    write_plan(folder, plan)
    described = json.loads(folder.read("sweep.json"))
    assert "among" not in described["plan"]["space"]["ranges"]["lr"]
    folder.write("sweep.json", json.dumps({**described, "format": 2}).encode())
    assert read_plan(folder) == plan


@pytest.mark.parametrize("among", [(5, 1), (1, 1, 5), (1, 7), (2, 5)])
def test_a_list_that_is_none_is_refused(among: tuple[float, ...]) -> None:
    """As somebody else may have written it."""
    with pytest.raises(UserError, match="the list of n_critic must rise from its low to its high"):
        Space({**WGAN_GP.ranges, "n_critic": Range(1, 5, whole=True, among=among)}, {})


def test_a_list_is_drawn_from_its_values() -> None:
    assert as_distribution(Range.of([5, 1, 2], whole=True)).choices == (1, 2, 5)  # type: ignore[attr-defined]


def test_charts_and_lanes_take_lists() -> None:
    """Charts show a list of numbers on a numeric axis; the lanes that are measured have its values."""
    ranges = {"n_critic": Range.of([1, 2, 5], whole=True), "beta1": Range(0.0, 0.9)}
    points = [Point({"n_critic": n, "beta1": 0.1 * n}, float(n)) for n in (1, 2, 5, 1, 2)]
    assert isinstance(equal_study(ranges, points).get_trials()[0].distributions["n_critic"], IntDistribution)
    assert importances(ranges, points).keys() == ranges.keys()
    space = Space(ranges, {"lambda_gp": 1.0, "lr": 1e-3, "beta2": 0.9})
    assert [hyper.n_critic for hyper in hypers(space, 3)] == [1, 2, 5]


def test_the_leaderboard_names_what_all_trials_share() -> None:
    space, structure, _ = changed(SET, "batch_size=32", "critic.widths=64-32", "decay_updates=9", "lambda_gp=1")
    line = shared(made_plan("n", 1, structure, space=space))
    shown = "networks=mlp, latent_dim=100, batch_size=32, ema_decay=0.999, loss=wgan-gp, optimiser=adam"
    assert line == f"all trials: {shown}, critic.widths=64-32, decay_updates=9"


def test_the_help_lists_every_name_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("mnist", "", 12, 900, ["--help"], MNIST)
    lines = capsys.readouterr().out.partition("names of --set")[2].splitlines()
    listed = {line.split()[0]: line for line in lines if line.startswith("  ")}
    shown = {name for name, about in STRUCTURAL.items() if not about.of_data}
    assert {*KNOWN, *shown, "networks", "critic.NAME", "generator.NAME"} == listed.keys()
    assert listed["lr"].endswith("(default: 1e-05..0.01:log)")
    assert listed["batch_size"].endswith("samples per update (default: 64)")


def test_a_file_that_fixes_and_searches_one_name_is_refused(tmp_path: Path) -> None:
    """`sweeps confirm` could never run such a sweep again."""
    (tmp_path / "space.toml").write_text('[set]\nlr = 1e-3\n[search]\nlr = "1e-4..1e-2"\n')
    with pytest.raises(UserError, match="both name lr"):
        Changes.read((), (), str(tmp_path / "space.toml"))


def test_numbers_of_numpy_are_numbers_in_a_notebook() -> None:
    found = Changes.given(
        {"beta1": np.float64(0.5)}, {"lr": np.array([1e-4, 1e-3]), "n_critic": [np.int64(1), 2]}, None
    )
    assert found == Changes.read(("beta1=0.5",), ("lr=0.0001,0.001", "n_critic=1,2"))
    with pytest.raises(UserError, match="set must be a dictionary"):
        Changes.given(["beta1=0.5"], {}, None)  # type: ignore[arg-type]


def test_absurd_widths_are_refused_in_one_line() -> None:
    with pytest.raises(UserError):
        changed("--set", f"critic.widths={'9' * 5_000}")


def test_one_rate_for_two_is_told() -> None:
    """The published point of two rates is no longer tried as it was."""
    preset = MNIST["mlp-blog"]
    _, _, said = changed("--search", "lr=1e-4..1e-2", space=preset.space)
    assert any("lr_generator" in line and "becomes that of lr_critic" in line for line in said)


def test_a_notebook_gives_each_value_once() -> None:
    with pytest.raises(UserError, match="precision must be given once"):
        chosen("mine", 12, 900, {"precision": "tf32", "set": {"precision": "bfloat16"}})


def test_a_range_with_zero_has_a_linear_axis_in_mlflow() -> None:
    space = Space({**WGAN_GP.ranges, "weight_decay": Range.of([0, 1e-4], log=False)}, {})
    assert _axis(space, "weight_decay") == "weight_decay"
    assert _axis(space, "lr") == f"lr{LOG10}"
