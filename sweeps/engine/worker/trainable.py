"""Tune function trainable that trains a cohort of sweep trials, from the claim of each trial to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from sweeps.engine.cluster.drain import drain_here
from sweeps.engine.cluster.nodes import NodeMismatch, check_here
from sweeps.engine.cluster.notice import Notice
from sweeps.engine.worker.holder import Holder
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.rank_group import rank_group
from sweeps.engine.worker.resident import resident
from sweeps.engine.worker.runner import Leaving, Runner
from sweeps.engine.worker.scorer import Scorer
from wgan_core.data import Split
from wgan_core.errors import one_line
from wgan_core.metrics.evaluator import Evaluator


def train_cohort(
    config: Mapping[str, Any],
    job: Job,
    study: ActorHandle[Any],
    train: Split,
    evaluator: Evaluator,
    test: Evaluator | None,
) -> None:
    """Train the sweep trials that the study holds for this Tune trial, and the trials that take freed lanes.

    Args:
        config: Tune's config, which is not used.
        job: The plan, and how it is trained.
        study: The `Study` actor.
        train: The training split.
        evaluator: Scorer on the validation split.
        test: Scorer of the best checkpoint of each completed trial on the test split, or None.
    """
    holder = Holder(study, tune.get_context().get_trial_id())
    # Register first, so that the study knows which trials this node holds if the node is lost.
    claims = holder.began(ray.get_runtime_context().get_node_id())
    try:
        check_here(job.inventory)
        data = resident(train, job.plan.data_digest, job.configure())
        scorer = Scorer(job, data, evaluator, test)
        with rank_group(job, train, data.device, holder.note) as group, Notice() as notice:
            Runner(job, holder, data, scorer, group).run(claims, notice.given)
    except NodeMismatch as error:
        drain_here()  # otherwise this node would take and fail one trial after another
        holder.note(str(error), leaves=True)
        raise
    except Leaving:
        holder.note("its node is leaving the cluster", leaves=True)
        raise
    except Exception as error:
        holder.note(one_line(error))
        raise
