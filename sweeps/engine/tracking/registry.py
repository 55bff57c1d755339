"""Promotion of a sweep's generator to a version of an MLflow registered model, under an alias.

    checkpoint -> model of the trial's run (LoggedModel) -> version of the registered model <- alias

Each step first looks for the result of an earlier attempt and reuses it, so a promotion can be repeated at any time. An
alias moves to another version, but no version is deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from sweeps.engine.plan.plan import Plan, is_name
from sweeps.engine.plan.uri import shown
from sweeps.engine.tracking.package import write_package
from sweeps.engine.tracking.store import Point, StoredSweep, pages, said_in_one_line
from sweeps.engine.tracking.texts import as_text, trial_name
from wgan_core.errors import UserError, printable
from wgan_core.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

_LONGEST_PROTOCOL = 2_000
# Tags that together identify a checkpoint.
_IDENTITY = ("sweep.id", "trial.number", "best.critic_updates", "generator.sha256")


@dataclass(frozen=True)
class Candidate:
    """A checkpoint to promote.

    Attributes:
        checkpoint: The checkpoint.
        described: Its trial, as `Results.as_json` describes it.
        versions: Versions of the software that trained it.
    """

    checkpoint: Checkpoint
    described: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        version: Number of the version that the alias now names.
        before: Number of the version that the alias named before, if any.
        is_new: Whether the promotion created the version.
    """

    version: str
    before: str | None
    is_new: bool


def check_names(model: str, alias: str) -> None:
    """Raise `UserError` for names that MLflow refuses, or that must be quoted in its URLs."""
    reserved = alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias)
    if reserved or not re.fullmatch(r"[\w-]{1,255}", alias):
        raise UserError(
            "--as must be 1 to 255 letters, digits, '_' and '-', and not latest or v1, v2, ..., which MLflow keeps for "
            f"itself; given {alias!r}: give --as champion, for example"
        )
    if not is_name(model):
        raise UserError(
            "--model must be 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit; given "
            f"{model!r}: give --model mnist, for example"
        )


def promote(stored: StoredSweep, candidate: Candidate, name: str, alias: str) -> Promotion:
    """Register the checkpoint as a version of a model, unless it already is one, and set the alias to that version.

    Args:
        stored: The sweep in its MLflow store.
        candidate: The checkpoint.
        name: Name of the registered model, which is created if it is missing.
        alias: Alias for the version.

    Raises:
        UserError: The trial has no run in this store, or MLflow raises an error.
    """
    with said_in_one_line(stored.uri):
        run_id, tags = _run_id(stored, candidate.described["trial"]), _tags(stored.plan, candidate)
        aliases = _aliases(stored, name)
        model, versions = _logged_model(stored, candidate, run_id, tags), _versions(stored, name)
        same = (each for each in versions if _is_same(each.tags, tags) and _is_of(stored, each, model))
        found = next(same, None)
        version = found or _new_version(stored, name, run_id, tags, model)
        number = str(version.version)
        if found is None and not _is_of(stored, version, model):
            raise UserError(
                f"a new version on {shown(stored.uri)} must have the files of its model, at "
                f"{shown(model.artifact_location)}; version {printable(number)} of {name} has others: give another "
                "--tracking-uri"
            )
        if not version.description:  # The version is new, or an earlier attempt was interrupted.
            said = _description(stored.plan, candidate, f"models:/{name}/{number}")
            stored.client.update_model_version(name, number, said)
        before = aliases.get(alias)
        if before != number:
            stored.client.set_registered_model_alias(name, alias, number)
        return Promotion(number, before, found is None)


def usage(checkpoint: Checkpoint, uri: str) -> str:
    """Return Python code that loads the model at the URI `models:/...` and draws 64 samples."""
    structure = checkpoint.structure
    z = f'rng.standard_normal((64, {structure.z_length}), dtype="{structure.dtype}")'
    inputs = z
    if structure.classes:
        inputs = f'{{"z": {z}, "labels": rng.integers({structure.classes}, size=64)}}'
    elif structure.conditions is not None:
        means = ", ".join(column.typical for column in structure.conditions.columns)
        inputs = f'{{"z": {z}, "conditions": np.array([[{means}]] * 64, dtype="float64")}}'
    shape = ", ".join(map(str, (64, *structure.sample_shape)))
    return (
        "import mlflow, numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        f'generator = mlflow.pyfunc.load_model("{uri}")\n'
        f"samples = generator.predict({inputs})  # ({shape})"
    )


def _description(plan: Plan, candidate: Candidate, uri: str) -> str:
    """Return the description in Markdown of the model version at a URI."""
    described, checkpoint = candidate.described, candidate.checkpoint
    error = f" ± {described['error']:.2g}" if "error" in described else ""
    settings = ", ".join(f"{key} {value:.4g}" for key, value in checkpoint.trial.hyper.as_json().items())
    return (
        f"**{described['objective']} {described['value']:.4g}**{error} on held-out data of {as_text(plan.data)} "
        f"(real against real: {described['floor']:.4g})\n\n"
        f"Trial {described['trial']} of the sweep {plan.name}, after {checkpoint.critic_updates} critic "
        f"updates: {settings}\n\n{_confirmed(described)}"
        f"```python\n{usage(checkpoint, uri)}\n```"
    )


def _confirmed(described: Mapping[str, Any]) -> str:
    """Return a paragraph with the test scores of a confirmed winner's runs; empty for an unconfirmed trial."""
    test = described.get("test")
    if test is None:
        return ""
    bounds = "" if test["low"] is None else f" (95 % interval {test['low']:.4g} to {test['high']:.4g})"
    return f"Trial {described['confirms']} again with fresh seeds: {test['mean']:.4g} on the test split{bounds}\n\n"


def _tags(plan: Plan, candidate: Candidate) -> dict[str, str]:
    described, checkpoint = candidate.described, candidate.checkpoint
    protocol = json.dumps(dict(plan.protocol), sort_keys=True)
    if len(protocol) > _LONGEST_PROTOCOL:  # The model's files hold the full protocol.
        protocol = f"sha256 {hashlib.sha256(protocol.encode()).hexdigest()}"
    weights = save({name: tensor[0].contiguous().cpu() for name, tensor in checkpoint.state.average.items()})
    return {
        "sweep.name": plan.name,
        "sweep.id": plan.id,
        "trial.number": described["trial"],
        "best.critic_updates": str(checkpoint.critic_updates),
        "best.checkpoint": described["checkpoint"],
        "objective": described["objective"],
        "score": repr(described["value"]),
        "floor": repr(described["floor"]),
        "data": plan.data,
        "data.digest": plan.data_digest,
        "protocol": protocol,
        "versions": json.dumps(dict(candidate.versions)),
        "generator.sha256": hashlib.sha256(weights).hexdigest(),
    }


def _is_same(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(tags.get(key) == wanted[key] for key in _IDENTITY)


def _is_of(stored: StoredSweep, version: ModelVersion, model: LoggedModel) -> bool:
    """Return whether a version has the model's files, and MLflow loads those files for it.

    A store records the place to load from apart from the source.
    """
    loaded = stored.client.get_model_version_download_uri(version.name, str(version.version))
    return str(version.source) == loaded == str(model.artifact_location)


def _run_id(stored: StoredSweep, label: str) -> str:
    """Return the id of a trial's run. Raise `UserError` if the store has none."""
    run = stored.trial_run(label)
    if run is None:
        raise UserError(
            f"trial {label} of {stored.plan.name!r} must have a run in MLflow; {shown(stored.uri)} has none: give the "
            "--tracking-uri that the sweep was run with, or continue the sweep, which uploads what waits in its folder"
        )
    return str(run.info.run_id)


def _aliases(stored: StoredSweep, name: str) -> dict[str, str]:
    """Return the registered model's version numbers by alias. Create the model if it is missing."""
    from mlflow.exceptions import MlflowException

    try:
        found = stored.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = stored.client.create_registered_model(name)
    return {alias: str(version) for alias, version in found.aliases.items()}


def _versions(stored: StoredSweep, name: str) -> Iterator[ModelVersion]:
    yield from pages(lambda token: stored.client.search_model_versions(f"name = '{name}'", page_token=token))


def _new_version(stored: StoredSweep, name: str, run_id: str, tags: dict[str, str], model: LoggedModel) -> ModelVersion:
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    client = stored.client
    # `models:/<id>` would not do as source: a database's client looks it up in the process's default store. A database
    # does not keep the model's id either, so a tag holds the model's URI.
    source, tags = model.artifact_location, {**tags, "model.uri": model.model_uri}
    version = client.create_model_version(
        name, source, run_id, tags=tags, model_id=model.model_id, await_creation_for=0
    )
    # The model's page reads its versions from this tag. A server sets the tag itself, a database's client does not.
    known = json.loads(client.get_logged_model(model.model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    said = {"name": name, "version": str(version.version)}
    if all({**each, "version": str(each["version"])} != said for each in known):
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([*known, said])})
    return version


def _logged_model(stored: StoredSweep, candidate: Candidate, run_id: str, tags: dict[str, str]) -> LoggedModel:
    """Find or create the model of the trial's run that holds this checkpoint.

    The model's files are always rewritten, and a model with foreign files is not used. Loading a model runs its code,
    and the store may come from a stranger.

    Raises:
        UserError: Even a new model has foreign files.
    """
    client, checkpoint, trial = stored.client, candidate.checkpoint, candidate.described["trial"]
    params = {key: str(value) for key, value in checkpoint.trial.hyper.as_json().items()}
    found = [each for each in stored.models(run_id) if _is_same(each.tags, tags)]
    with TemporaryDirectory() as folder:
        for place, each in enumerate([*found, None]):
            model = each or stored.create_model(run_id, f"promoted-{trial_name(trial)}", params, tags)
            package, protocol = Path(folder, str(place)), dict(stored.plan.protocol)
            write_package(package, checkpoint, dict(candidate.described), protocol, model.model_id, run_id)
            if not client.other_model_files(model.model_id, str(package)):
                break
        else:
            raise UserError(
                f"a new model on {shown(stored.uri)} must have no files; {model.model_id} has some that are not ours: "
                "give another --tracking-uri"
            )
        client.log_model_artifacts(model.model_id, str(package))
    if model.status == "READY":
        return model
    step = checkpoint.critic_updates
    return stored.finish_model(model.model_id, run_id, step, _score(stored, run_id, step))


def _score(stored: StoredSweep, run_id: str, step: int) -> Point | None:
    """Return the point of the run's curve that holds the score at `step`, so that the curve gets no second one."""
    objective = stored.plan.objective
    for point in stored.client.get_metric_history(run_id, objective):
        if point.step == step:
            return (objective, point.value, point.timestamp, step)
    return None
