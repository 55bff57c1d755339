"""The description of a sweep's MLflow run. The winner comes first, as MLflow's page shows only the beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from sweeps.engine.storage.spool import Param
from sweeps.engine.tracking.note import params_text, score_text

PICTURE, SMALL = "best.png", "best-small.png"
NO_WINNER = "No trial has completed yet."


@dataclass(frozen=True)
class Winner:
    """The best trial.

    Attributes:
        trial: Label of the trial.
        value: Its score.
        params: Its hyper-parameters.
        searched: Names of the hyper-parameters to show.
        checkpoint: Path of its best checkpoint, or empty.
        model_uri: URI of its MLflow model, if it has one.
        has_picture: Whether the sweep's run has a picture of its samples.
    """

    trial: str
    value: float
    params: Mapping[str, Param]
    searched: Sequence[str]
    checkpoint: str
    model_uri: str | None
    has_picture: bool


@dataclass(frozen=True)
class Place:
    """The sweep's run that the description belongs to.

    Attributes:
        experiment_id: Id of the sweep's experiment.
        run_id: Id of the sweep's run.
        view: The part from `#` on of the URL that shows the trials.
    """

    experiment_id: str
    run_id: str
    view: str

    def artifact(self, path: str) -> str:
        page = f"#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{quote(path)}"
        return f"{page}?workflowType=machine_learning"


def parent_text(
    winner: Winner | None, objective: str, floor: float, confirmed: str, place: Place, published: Sequence[str]
) -> str:
    """Return the description in Markdown.

    MLflow shows only about 100 pixels of it at first, so the winner's lines stand beside its picture.

    Args:
        winner: The best trial, if one has completed.
        objective: Name of the objective metric.
        floor: Score of real samples against real samples; NaN if there is none.
        confirmed: A line of HTML that says how sure the winner is, or empty.
        place: The sweep's run.
        published: Paths of artifacts to link to.
    """
    links = [_link(place.view, "all trials, best first"), *(_link(place.artifact(path), path) for path in published)]
    if winner is None:
        return f"{NO_WINNER}<br>{' · '.join(links)}"
    lines = [f"<b>Best: trial {winner.trial}</b>, {score_text(objective, winner.value, floor)}", confirmed]
    lines += [params_text(winner.params, winner.searched), " · ".join(links)]
    cells = [f"<td>{'<br>'.join(line for line in lines if line)}</td>"]
    if winner.has_picture:
        picture = f'<img src="get-artifact?path={SMALL}&run_uuid={place.run_id}">'
        cells.append(f"<td>{_link(place.artifact(PICTURE), picture)}</td>")
    said = [f"<table><tr>{''.join(cells)}</tr></table>"]
    said += [f"Checkpoint: `{winner.checkpoint}`"] if winner.checkpoint else []
    said += [_snippet(winner.model_uri)] if winner.model_uri else []
    return "\n\n".join(said)


def _link(address: str, shown: str) -> str:
    return f'<a href="{address}">{shown}</a>'


def _snippet(model_uri: str) -> str:
    return f"""```python
import mlflow
from wgan_core.data.folder import Folder
from wgan_core.sampling.generator import read_generator

generator = read_generator(Folder.at(mlflow.artifacts.download_artifacts("{model_uri}")))
```"""
