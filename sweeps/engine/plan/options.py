"""Command-line options of a sweep script."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sweeps.engine.plan.arguments import (
    Parser,
    add_debug,
    add_places,
    number,
    storage_of,
    study_storage_of,
    tracking_uri_given,
    whole_number,
    without_places,
)
from sweeps.engine.plan.changes import EXAMPLES, SEARCH, SET, Changes
from sweeps.engine.plan.confirmation_size import DIGITS, ConfirmationSize
from sweeps.engine.plan.passes import Passes
from sweeps.engine.plan.plan import MOST_CONFIRMS
from sweeps.engine.plan.presets import Preset
from sweeps.engine.plan.samplers import SAMPLERS, TPE
from sweeps.engine.plan.settings import NETWORKS, OF_SWEEP, SHARED
from sweeps.engine.plan.space import KNOWN, meaning_of, parameters_of, text_of
from wgan_core.backend.choices import CAPTURED, EAGER, EXECUTIONS, FLOAT32, PRECISIONS
from wgan_core.config import PARAMETERS, STRUCTURAL, Structure
from wgan_core.errors import UserError
from wgan_core.metrics.register import check_features
from wgan_core.networks.pairs import PAIRS

# The networks of a script without presets.
DEFAULT_NETWORKS = "mlp"
# Help of `--data` in a script for images.
IMAGES = (
    "Parquet file or folder of images, Hugging Face layout "
    "(default: MNIST, fetched once into $WGAN_DATA, else wgan-sweeps in $XDG_CACHE_HOME or ~/.cache)"
)
# Twenty processes share a CPU: with less, a cluster would fill with processes.
LEAST_CPUS = 0.05
SMOKE_TRIALS, SMOKE_BUDGET, SMOKE_SAMPLES = 4, 45, 1000


@dataclass(frozen=True)
class Options:
    """Options of a sweep, checked.

    Attributes:
        max_concurrent: Cohorts that train at the same time; 0 for as many as fit on the cluster.
        lanes: Trials that one process trains side by side; None to choose the number by a measurement.
        precision: How training computes products; None for the precision that the structure names.
        execution: How a GPU carries out updates, a name in `wgan_core.backend.choices.EXECUTIONS`.
        published: Critic updates of the preset's published schedule, if it has one.
        script, arguments: The file that was run, and its arguments without those that say where to keep files.
        quiet, json: How the sweep reports to the terminal.
        debug: Whether to print the traceback of an error.
        own: Options that only this script has, by name.
        changes: What `--set`, `--search` and `--space` change.
        sampler: Name of the sampler, one of `sweeps.engine.plan.samplers.SAMPLERS`.
        hours: Hours after which this command begins no trial; None for no limit.
        passes: The default budget as passes over the data, if the script has it so. `budget` is 0 until `for_rows`.
        warm_start: Names of earlier sweeps whose best settings are tried first.
        extends: The trial of another sweep to train on, as SWEEP:TRIAL; None for a search.
        dry_run: Whether to measure and print what the sweep would take, and to start nothing.
    """

    name: str
    trials: int
    budget: int
    seed: int
    preset: str
    networks: str | None
    data: str | None
    features: str | None
    objective: str | None
    lanes: int | None
    cpus_per_trial: float | None
    gpus_per_trial: float | None
    max_concurrent: int
    storage: str
    study_storage: str | None
    tracking_uri: str | None
    smoke: bool
    decay: bool = False
    pruning: bool = True
    allow_copies: bool = False
    confirm: ConfirmationSize | None = None
    precision: str | None = None
    execution: str = CAPTURED
    published: int | None = None
    script: str = ""
    arguments: tuple[str, ...] = ()
    quiet: bool = False
    json: bool = False
    debug: bool = False
    own: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    sampler: str = TPE
    passes: Passes | None = None
    warm_start: tuple[str, ...] = ()
    extends: str | None = None
    dry_run: bool = False
    hours: float | None = None

    def for_rows(self, rows: int) -> Options:
        """Return the options with the budget for so many training rows, if it was left to the data."""
        if self.budget or self.passes is None:
            return self
        return replace(self, budget=self.passes.updates(rows))

    def extending(self, trial: str, budget: int) -> Options:
        """Return the options of the sweep that trains a trial, given as SWEEP:TRIAL, on to a larger budget."""
        kept: dict[str, Any] = {"confirm": None, "warm_start": (), "sampler": TPE, "pruning": False}
        return replace(self, extends=trial, budget=budget, trials=1, lanes=1, **kept)


def parse(
    name: str,
    description: str,
    trials: int,
    budget: int | Passes,
    arguments: Sequence[str] | None = None,
    presets: Mapping[str, Preset] | None = None,
    data: str | None = IMAGES,
    own: Callable[[argparse._ArgumentGroup], None] | None = None,
    named: Sequence[str] = (),
) -> Options:
    """Parse the command line of a sweep script.

    Args:
        name: Default name of the sweep.
        description: Text for `--help`.
        trials, budget: Default number of trials, and of critic updates per trial. If the budget is `Passes`, the script
            calls `Options.for_rows` once it has the data.
        arguments: The command line; None for `sys.argv`.
        presets: The script's presets by name, the default first.
        data: Help of `--data`; None if the script has data of its own, and so no such option.
        own: Adds options that only this script has to the group that it is given.
        named: Values of `--data` that are not paths, the default first. Each other value becomes part of the default
            sweep name.

    Raises:
        BadArguments: The parser rejects an argument.
        UserError: An option has a bad value.
    """
    script = _Script(name, description, trials, budget, presets or {}, data, own, named)
    return script.options(sys.argv[1:] if arguments is None else arguments)


@dataclass(frozen=True)
class _Script:
    """A sweep script as its command line sees it. `parse` explains the attributes."""

    name: str
    description: str
    trials: int
    budget: int | Passes
    presets: Mapping[str, Preset]
    data: str | None
    own: Callable[[argparse._ArgumentGroup], None] | None
    named: Sequence[str]

    def options(self, arguments: Sequence[str]) -> Options:
        """Parse a command line, and fill in the options that follow from others or from the environment."""
        given = self._parser().parse_args(arguments)
        given.changes = Changes.read(given.set or (), given.search or (), given.space)
        _check_precedence(given)
        if self.presets:
            self._settle_preset(given)
        elif given.networks is None:
            given.networks = DEFAULT_NETWORKS
        if given.extends is not None and (given.name is None or given.confirm is not None or given.warm_start):
            raise UserError(
                "--extends must come with a --name, and without --confirm and --warm-start; given otherwise: run "
                "`sweeps extend`"
            )
        if given.smoke and given.extends is None:
            is_usual = not any(word.partition("=")[0] == "--trials" for word in arguments)
            given.trials = min(given.trials, SMOKE_TRIALS) if is_usual else given.trials
            given.budget = min(given.budget or SMOKE_BUDGET, SMOKE_BUDGET)
        given.budget, given.warm_start = given.budget or 0, tuple(dict.fromkeys(given.warm_start))
        if given.name is None:
            given.name = self._default_name(given)
        # Not by argparse, which would replace their messages: it takes a `UserError` for any `ValueError`.
        given.lanes = _lanes(given.lanes)
        given.confirm = None if given.confirm is None else ConfirmationSize.read(given.confirm)
        given.script, given.arguments = str(Path(sys.argv[0]).resolve()), _kept(arguments, self.named)
        given.arguments += given.changes.arguments()
        given.storage, given.study_storage = storage_of(given.storage), study_storage_of(given.study_storage)
        given.tracking_uri = tracking_uri_given(given.tracking_uri)
        common = {each.name for each in fields(Options)}
        options = Options(
            **{key: value for key, value in vars(given).items() if key in common},
            own={key: value for key, value in vars(given).items() if key not in (*common, "full", *_SPACE)},
        )
        options = options if options.extends is None else options.extending(options.extends, options.budget)
        _check(options)
        return options

    def _parser(self) -> Parser:
        parser = Parser(prog=f"{self.name}.py", description=self.description, epilog=_table(self.presets))
        passes = None if isinstance(self.budget, int) else self.budget
        parser.set_defaults(preset="", full=False, data=None, published=None, passes=passes)
        _add_search(parser, self.name, self.trials, self.budget, self.data)
        _add_space(parser)
        if self.presets:
            _add_presets(parser, self.presets)
        _add_resources(parser)
        add_places(parser)
        _add_output(parser)
        if self.own is not None:
            self.own(parser.add_argument_group("data"))
        return parser

    def _settle_preset(self, given: argparse.Namespace) -> None:
        """Fill in the options that the preset settles: budget with `--full`, published budget, default objective."""
        preset = self.presets[given.preset]
        given.published = preset.published_updates
        given.objective = given.objective or preset.objective
        if not given.full or given.extends is not None:
            return
        if preset.published_updates is None:
            raise UserError(
                f"--full takes the published schedule; of the preset {given.preset!r} ({preset.source}) none was "
                "published: give --budget"
            )
        given.budget = preset.published_updates

    def _default_name(self, given: argparse.Namespace) -> str:
        """Return the default sweep name, with the options that make a different search.

        Without them in the name, one search would try to continue the other, and fail.
        """
        parts = (
            (True, self.name),
            (given.data in self.named[1:], given.data),
            (given.preset != next(iter(self.presets), ""), given.preset),
            (given.full, "full"),
            (given.smoke, "smoke"),
            (given.decay, "decay"),
            (not given.pruning, "unpruned"),
            (given.allow_copies, "copies"),
            (given.precision not in (None, FLOAT32), given.precision),
            (given.sampler != TPE, given.sampler),
            (given.warm_start, "-".join(("after", *given.warm_start))),
            (bool(given.changes), f"space-{given.changes.digest()}"),
        )
        return "-".join(part for is_told, part in parts if is_told)


# Options of the command line that `Options.changes` holds.
_SPACE = ("set", "search", "space")
CHOICES = (
    *("seed", "objective", "features", "lanes", "cpus_per_trial", "gpus_per_trial", "max_concurrent"),
    *(
        "storage",
        "study_storage",
        "tracking_uri",
        "decay",
        "pruning",
        "allow_copies",
        "confirm",
        "precision",
        "execution",
        "sampler",
        "warm_start",
        "hours",
    ),
)


def chosen(name: str, trials: int, budget: int, given: Mapping[str, Any]) -> Options:
    """Return the options of a sweep that is started without a script.

    Args:
        given: Values for any of `CHOICES`, `set`, `search` and `space`. The other options keep their defaults.

    Raises:
        UserError: An option has a bad value.
        TypeError: An option is not one of `CHOICES`.
    """
    choices = (*CHOICES, *_SPACE)
    unknown = sorted(given.keys() - set(choices))
    if unknown:
        raise TypeError(f"an option is one of {', '.join(choices)}; given {unknown[0]!r}")
    usual = parse(name, "", trials, budget, arguments=())
    found = dict(given)
    if isinstance(found.get("warm_start"), str):
        found["warm_start"] = (found["warm_start"],)
    found["warm_start"] = tuple(dict.fromkeys(found.get("warm_start", ())))
    if isinstance(found.get("confirm"), str):
        found["confirm"] = ConfirmationSize.read(found["confirm"])
    if "lanes" in found:
        found["lanes"] = _lanes(str(found["lanes"]))
    changes = Changes.given(found.pop("set", {}), found.pop("search", {}), found.pop("space", None))
    given_too = {"networks": None, "precision": found.get("precision"), "decay": found.get("decay", False)}
    _check_precedence(argparse.Namespace(changes=changes, **given_too))
    options = replace(usual, **found, changes=changes, networks=None, script="", arguments=())
    _check(options)
    return options


def _kept(arguments: Sequence[str], named: Collection[str]) -> tuple[str, ...]:
    """Return the arguments to keep in the sweep's file: no places, no changes, and `--data` with an absolute path.

    Values of `--data` that are in `named`, or are no existing path, stay as they are.
    """
    data = Parser(add_help=False)
    data.add_argument("--data")
    _add_changes(data)
    given, others = data.parse_known_args(list(without_places(arguments)))
    if given.data is None:
        return tuple(others)
    path = os.path.abspath(os.path.expanduser(given.data))
    is_path = given.data and given.data not in named and os.path.exists(path)
    return *others, "--data", path if is_path else given.data


def _add_presets(parser: argparse.ArgumentParser, presets: Mapping[str, Preset]) -> None:
    group = parser.add_argument_group("presets")
    group.add_argument(
        "--preset",
        choices=list(presets),
        default=next(iter(presets)),
        help="; ".join(f"{name}: {preset.source}" for name, preset in presets.items()),
    )
    group.add_argument("--full", action="store_true", help="take the preset's published budget, and ignore --budget")


def _add_search(
    parser: argparse.ArgumentParser, name: str, trials: int, budget: int | Passes, data: str | None
) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--name",
        help="name of the sweep; the same name again continues it; other presets, --full, --smoke, --decay, "
        "--no-pruning, --allow-copies, --precision, --sampler, --warm-start, --set, --search and --space change the "
        f"default (default: {name})",
    )
    group.add_argument(
        "--trials", type=whole_number, default=trials, help="number of all trials; a larger number adds trials"
    )
    group.add_argument(
        "--budget",
        type=whole_number,
        default=budget if isinstance(budget, int) else None,
        help="critic updates of a trial that is not stopped early"
        + ("" if isinstance(budget, int) else f" (default: {budget.described})"),
    )
    group.add_argument(
        "--decay", action="store_true", help="let both learning rates fall linearly to 0 over the budget"
    )
    group.add_argument(
        "--no-pruning", dest="pruning", action="store_false", help="train every trial for the whole budget"
    )
    group.add_argument(
        "--allow-copies",
        action="store_true",
        help="keep trials whose samples copy training samples; they fail otherwise",
    )
    group.add_argument(
        "--confirm",
        metavar="LEADERSxSEEDS",
        help="then train the best trials again with fresh seeds, such as 3x3, and score them on the test split",
    )
    group.add_argument(
        "--warm-start",
        metavar="NAME",
        action="append",
        default=[],
        help="try the three best settings of this earlier sweep first, moved into the ranges; once for each sweep",
    )
    group.add_argument(
        "--extends",
        metavar="SWEEP:TRIAL",
        help="instead of a search, train this trial on to a larger --budget; `sweeps extend` sets this and a name",
    )
    group.add_argument(
        "--hours",
        type=number,
        help="begin no trial after so many hours of this command, such as 2 or .5; running trials stop at their next "
        "report; --confirm gets a third of the time; the same command again continues",
    )
    group.add_argument("--seed", type=whole_number, default=0, help="seed of the search, from which trials get theirs")
    group.add_argument(
        "--objective",
        help="metric to minimise, such as fid, kid or sliced_wasserstein (default: the preset's, or the data's)",
    )
    group.add_argument(
        "--features",
        metavar="NAME",
        help="network on whose features fid and kid are measured: inception, or one that the script registers "
        "(default: the digit classifier on MNIST, else none)",
    )
    group.add_argument("--networks", choices=sorted(PAIRS), help="generator and critic (default: the preset's, or mlp)")
    if data is not None:
        group.add_argument("--data", help=data)
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="measure training for some seconds, print the time and storage that the sweep will take, and end",
    )
    group.add_argument("--smoke", action="store_true", help="try all steps in under a minute; the scores mean nothing")


def _add_space(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("space", "the names are at the end of this help")
    _add_changes(group)
    means = "; ".join(f"{name}: {meaning}" for name, meaning in SAMPLERS.items())
    group.add_argument(
        "--sampler", choices=list(SAMPLERS), default=TPE, help=f"what chooses points after the presets; {means}"
    )


def _add_changes(group: argparse._ActionsContainer) -> None:
    for option, said in (
        (SET, f"values that all trials share: {EXAMPLES[SET]} batch_size=128"),
        (SEARCH, f"ranges and lists of values: {EXAMPLES[SEARCH]} batch_size=32,64; :log or :linear is the scale"),
    ):
        group.add_argument(option, nargs="+", action="extend", metavar="NAME=VALUE", help=said)
    group.add_argument("--space", metavar="FILE", help="TOML file with the tables [set] and [search]")


def _table(presets: Mapping[str, Preset]) -> str:
    """Return the table of all names of `--set` and `--search`, with their values in the default preset."""
    preset = next(iter(presets.values()), None)
    space = preset.space if preset else None
    lines = []
    for name in KNOWN:
        usual: Any = None
        if space is not None:
            hidden = {each for other in space.ranges for each in parameters_of(other)}
            usual = space.ranges.get(name, space.fixed.get(name))
            neutral = PARAMETERS[name].neutral if name in PARAMETERS else None
            usual = neutral if usual is None and name not in hidden else usual
        lines.append((name, meaning_of(name), "-" if usual is None else text_of(usual)))
    given = preset.structure if preset else {}
    for name in SHARED:
        usual = given.get(name, DEFAULT_NETWORKS if name == NETWORKS else getattr(Structure, name, None))
        about = f"one of {', '.join(sorted(PAIRS))}" if name == NETWORKS else STRUCTURAL[name].meaning
        if name in STRUCTURAL and isinstance(usual, str):
            about += f", {STRUCTURAL[name].values.must}"
        lines.append((f"{name} *" if name in OF_SWEEP else name, about, text_of(usual)))
    lines.append(("critic.NAME", "option of the critic, such as critic.widths=256-256", "-"))
    lines.append(("generator.NAME", "option of the generator, such as generator.widths=256-256", "-"))
    wide = max(len(name) for name, *_ in lines)
    text = "\n".join(f"  {name:{wide}}  {about} (default: {usual})" for name, about, usual in lines)
    return f"names of {SET} and {SEARCH}; all trials share those with a star, which only {SET} takes:\n\n{text}"


def _check_precedence(given: argparse.Namespace) -> None:
    """Raise `UserError` if an option and `--set` both give a value."""
    changed = {**dict.fromkeys(given.changes.fixed, SET), **dict.fromkeys(given.changes.searched, SEARCH)}
    for option, name in (("--networks", NETWORKS), ("--precision", "precision")):
        if getattr(given, name) is not None and name in changed:
            raise UserError(
                f"{name} must be given once; given by {option} and by {changed[name]}: leave one of them out"
            )
    if given.decay and "decay_updates" in changed:
        raise UserError("decay_updates must be given once; given by --decay and by name: leave one of them out")


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("resources")
    group.add_argument(
        "--cpus-per-trial",
        type=number,
        help="CPU cores, and so threads, of a process (default: 1; on GPUs an even share of a node's, for scoring)",
    )
    group.add_argument(
        "--gpus-per-trial",
        type=number,
        help="GPUs of a trial: a share of one, such as 0.25, or several, such as 2, over which each batch is divided "
        "(default: 1 where there are GPUs, else 0)",
    )
    group.add_argument("--max-concurrent", type=whole_number, default=0, help="processes at a time; 0: as many as fit")
    group.add_argument(
        "--precision",
        choices=list(PRECISIONS),
        help="precision of products in training; "
        + "; ".join(f"{name}: {meaning}" for name, meaning in PRECISIONS.items())
        + " (default: float32)",
    )
    group.add_argument(
        "--no-capture",
        dest="execution",
        action="store_const",
        const=EAGER,
        default=CAPTURED,
        help="do not record updates on a GPU as CUDA graphs; slower, for networks that cannot be recorded",
    )
    group.add_argument(
        "--lanes",
        default="auto",
        help="trials that a process trains side by side; auto: the best number for the GPU, from a short measurement; "
        "1 on a CPU",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output", "by default a live view on a terminal, and lines of text elsewhere")
    group.add_argument(
        "--quiet", action="store_true", help="print only errors and, at the end, the path of the best checkpoint"
    )
    group.add_argument("--json", action="store_true", help="print each event as a line of JSON on stdout")
    add_debug(group)


def _lanes(text: str) -> int | None:
    """Parse the number of lanes. Return None for "auto"."""
    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > DIGITS or int(text) < 1:
        raise UserError(f"--lanes must be auto or a whole number >= 1; given {text!r}: give --lanes 8, for example")
    return int(text)


def _check(options: Options) -> None:
    if options.features is not None:
        check_features(options.features)
    if options.cpus_per_trial is not None and not LEAST_CPUS <= options.cpus_per_trial < math.inf:
        raise UserError(
            f"--cpus-per-trial must be a finite number >= {LEAST_CPUS}; given {options.cpus_per_trial}: "
            "give --cpus-per-trial 1, for example"
        )
    if options.hours is not None and not (isinstance(options.hours, int | float) and 0 < options.hours < math.inf):
        raise UserError(
            f"--hours must be a finite number > 0; given {options.hours}: give --hours 2, for example, or leave it out"
        )
    gpus = options.gpus_per_trial
    if gpus is not None and gpus >= 2 and (options.lanes or 1) > 1:
        raise UserError(
            f"--lanes must be 1 where a trial takes several GPUs; given --lanes {options.lanes} and --gpus-per-trial "
            f"{gpus:g}: give --lanes 1, or --gpus-per-trial 1"
        )
    if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
        raise UserError(
            f"--gpus-per-trial must be 0 to 1, or a whole number of GPUs; given {gpus}: "
            "give --gpus-per-trial 2, for example, or a fraction such as 0.25"
        )
    if (
        options.confirm is not None
        and min(options.confirm.leaders, options.trials) * options.confirm.seeds > MOST_CONFIRMS
    ):
        raise UserError(
            f"--confirm must ask for at most {MOST_CONFIRMS:,} trials; given {options.confirm} of {options.trials:,} "
            "trials: give --confirm 3x3, for example"
        )
    if options.execution not in EXECUTIONS:
        raise UserError(
            f"execution must be one of {', '.join(EXECUTIONS)}; given {options.execution!r}: "
            f"leave it out for {CAPTURED}"
        )
    if options.quiet and options.json:
        raise UserError(
            "--quiet and --json say what stdout holds, and only one can be; given both: leave one of them out"
        )
    if options.max_concurrent < 0:
        raise UserError(
            f"--max-concurrent must be a whole number >= 0; given {options.max_concurrent}: "
            "give --max-concurrent 0 for as many as fit"
        )
