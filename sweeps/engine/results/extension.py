"""Extension of a sweep: one of its trials is trained on, from its last checkpoint to a larger budget.

An extension is a sweep of its own with one trial. That trial has the settings and the seed of the trial that it
extends. It begins with copies of that trial's checkpoints, records and pictures. So it ends with the same bits as a
trial that had the larger budget from the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from sweeps.engine.plan.plan import Extension, Plan, differences, noted_as
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.storage.layout import CHECKPOINTS, LABEL, MOST_PICTURE, SAMPLES, trial_folder
from sweeps.engine.storage.spool import Spool, step_name
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.rows import Row
from wgan_core.config import Trial
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line, quoted
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint

# States of a trial that can be extended. A trial that failed would fail again.
_EXTENDED = ("COMPLETE", "PRUNED")
# Most records of a trial to copy. A sweep writes 81 for each trial; somebody else may have written more.
_MOST_RECORDS = 1_000


def extension_name(plan: Plan, label: str, budget: int) -> str:
    """Return the usual name of the sweep that trains a trial of this plan on."""
    sweep, trial = (plan.name, label) if plan.extends is None else (plan.extends.sweep, plan.extends.trial)
    return f"{sweep}-trial{trial}-{budget}"


@dataclass(frozen=True)
class Extended:
    """A trial to train on, and its last checkpoint."""

    results: Results
    row: Row
    checkpoint: Checkpoint

    @classmethod
    def read(cls, text: str, storage: str, study_storage: str | None) -> Extended:
        """Read the trial that a text SWEEP:TRIAL names.

        Raises:
            UserError: There is no such trial, it has not ended, or it has no checkpoint.
        """
        sweep, _, label = text.partition(":")
        if not LABEL.fullmatch(label):
            raise UserError(
                f"--extends must be a sweep and a trial; given {quoted(text)}: write --extends mnist:7, for example"
            )
        results = open_results(storage, sweep, study_storage)
        row = results.row(label)
        if row.state not in _EXTENDED:
            raise UserError(
                f"a trial must be complete or stopped early to be extended; trial {label} of {sweep!r} is {row.state}: "
                "extend another trial, or continue the sweep"
            )
        folder = trial_folder(results.folder, label) / CHECKPOINTS
        try:
            found = checkpoints.latest(folder)
        except OSError as error:
            raise UserError(f"a trial's checkpoints must be readable; {one_line(error)}: check --storage") from error
        if found is None or not found.scores:
            raise UserError(
                f"a trial must have a checkpoint of its last report to be extended; {folder} has none: extend another "
                "trial"
            )
        return cls(results, row, found)

    def plan(self, asked: Plan) -> Plan:
        """Return the plan of the extension, given the plan of a search with the same options.

        Raises:
            UserError: The options, the script or the data differ from those of the extended sweep.
        """
        source, step = self.results.plan_of(self.row), self.checkpoint.critic_updates
        decayed = self.checkpoint.trial.hyper.decay_updates
        if decayed and decayed < asked.budget:
            raise UserError(
                f"learning rates must be above 0 for the whole --budget; those of trial {self.row.label} fall to 0 at "
                f"critic update {decayed:,}: run a sweep with a larger budget, or extend a trial without --decay"
            )
        since = Extension(source.name, self.row.label, source.trial_seed(self.row.number), step)
        plan = replace(
            asked, space=replace(asked.space, presets=(dict(self.row.params),)), warm_start={}, extends=since
        )
        plan = noted_as(plan, source)
        # All that may differ. The test split has an entry of its own in the protocol of a confirmation.
        same = {name: getattr(plan, name) for name in ("id", "name", "trials", "budget", "seed", "pruning", "sampler")}
        before = replace(self.results.plan, **same, floors=plan.floors, extends=since, warm_start={})
        before = replace(before, space=replace(before.space, presets=plan.space.presets))
        if differing := differences(before, plan):
            raise UserError(
                f"an extension must have the options, script and data of its sweep; different from {source.name!r}: "
                f"{'; '.join(differing[:5])}: give the options of that sweep"
            )
        return plan

    def copy(self, folder: Folder) -> None:
        """Copy the trial into the folder of the extension, unless an earlier start has done so.

        The record of the last report comes last. If it is there, everything is.
        """
        source, target = trial_folder(self.results.folder, self.row.label), trial_folder(folder, "0")
        spool, step = Spool(target), self.checkpoint.critic_updates
        if spool.folder.exists(step_name(step)):
            return
        trial = Trial(0, self.checkpoint.trial.seed, self.checkpoint.trial.hyper)
        for name in {checkpoints.folder_name(each) for each in (self.row.best_step, step)}:
            found = checkpoints.read(source / CHECKPOINTS / name)
            checkpoints.write(target / CHECKPOINTS, replace(found, trial=trial))
        store = TrialStore(source, self.results.plan.objective)
        for record in islice(store.recorded_before(step + 1), _MOST_RECORDS):
            if self.results.plan.objective not in record.metrics:
                continue
            if record.image is not None:
                picture = (source / SAMPLES).read(record.image, MOST_PICTURE)
                (target / SAMPLES).write(record.image, picture)
            spool.write(record)
