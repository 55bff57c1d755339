"""The MLflow view that a sweep's link opens: the ten best trials with their scores, curves and samples.

MLflow keeps a page's columns, order and charts in a tag of the experiment. A URL that names the tag opens the page in
that state. The format of the tag is undocumented; this module writes that of MLflow 3.17, and a browser test checks it.
If the tag cannot be written or understood, the plain URL still filters and sorts.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.settings import is_setting
from sweeps.engine.plan.space import KNOWN, Space, is_log
from sweeps.engine.tracking.texts import LOG10, best_key, log_key

VIEW_TAG = "mlflow.sharedViewState."

# MLflow's own sections, which the view folds up. MLflow puts its automatic charts into the section of their name.
_FOLDED = ("best", "eval", "train", "samples", "film", "Model metrics", "System metrics")
# Pixels. Two charts side by side stay legible on a screen 1,280 pixels wide; both rows fit into 900 pixels of height.
_CHART_HEIGHT, _SAMPLES_HEIGHT, _TRAINING_HEIGHT = 240, 280, 300
_NAME_WIDTH, _WHEN_WIDTH, _SCORE_WIDTH, _COLUMN_WIDTH = 165, 120, 130, 84
_SCORES, _SAMPLES, _TRAINING = "ten best trials", "their samples", "their training"


def searched(space: Space) -> list[str]:
    """Return the hyper-parameters that a sweep searches, by their MLflow names."""
    # MLflow has beta2 itself, as it is what people know.
    names = {"beta2" if name == "one_minus_beta2" else name for name in space.ranges}
    return [*(name for name in KNOWN if name in names), *filter(is_setting, space.ranges)]


def plain_link(base: str, experiment_id: str, sweep_id: str, objective: str) -> str:
    """Return the URL of a sweep's trials, best first, on MLflow's default page: collapsed charts and no columns."""
    query = {
        "workflowType": "machine_learning",  # Otherwise MLflow opens its page for language models.
        "compareRunsMode": "CHART",
        "searchFilter": _filter(sweep_id),
        "orderByKey": _metric(best_key(objective)),
        "orderByAsc": "true",
    }
    return _link(base, experiment_id, query)


def view_link(base: str, experiment_id: str, sweep_id: str) -> str:
    """Return the URL of the view. It must not filter or sort by itself, or MLflow would ignore the view."""
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART", "viewStateShareKey": sweep_id}
    return _link(base, experiment_id, query)


def view(plan: Plan, images: Sequence[str], scores: Sequence[str] = ()) -> str:
    """Return the value of the experiment tag that holds the view. Its name is `VIEW_TAG` followed by the sweep's id.

    Args:
        plan: The sweep's plan.
        images: Keys of the images to show.
        scores: Metrics that get columns beside the objective's columns.
    """
    objective, params = plan.objective, searched(plan.space)
    state = {
        "searchFilter": _filter(plan.id),
        "orderByKey": _metric(best_key(objective)),
        "orderByAsc": True,
        **_columns(objective, params, scores),
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": _charts(objective, plan.floor > 0, [_axis(plan.space, name) for name in params], images),
        "compareRunSections": _sections(),
        "isAccordionReordered": True,  # Otherwise MLflow sorts the sections by name.
    }
    packed = base64.b64encode(zlib.compress(_json(state).encode(), 9)).decode()
    now_ms = time.time_ns() // 1_000_000
    return _json({"name": plan.name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{packed}"})


def _columns(objective: str, params: Sequence[str], scores: Sequence[str]) -> dict[str, Any]:
    """Return the table's columns: scores first, then the searched hyper-parameters."""
    metrics = [_metric(key) for key in (best_key(objective), *scores, objective)]
    columns = [*metrics, *(f"params.`{name}`" for name in params), "tags.`trial.state`"]
    name, when = "attributes.`Run Name`", "runDateAndNestInfo"
    widths = {**dict.fromkeys(columns, _COLUMN_WIDTH), **dict.fromkeys(metrics, _SCORE_WIDTH)}
    return {
        "selectedColumns": columns,
        "columnOrder": [name, when, *columns],
        "columnWidths": {name: _NAME_WIDTH, when: _WHEN_WIDTH, **widths},
    }


def _axis(space: Space, name: str) -> str:
    """Return the param of a parallel axis. A run has the logarithm of a value above 0 only."""
    bounds = space.ranges.get(name)
    return f"{name}{LOG10}" if is_log(name) and (bounds is None or bounds.low > 0) else name


def _charts(objective: str, has_floor: bool, axes: Sequence[str], images: Sequence[str]) -> list[dict[str, Any]]:
    # The runs have the metric `log_key` only if the floor is positive.
    score = log_key(objective) if has_floor else best_key(objective)
    parallel = {"selectedParams": axes, "selectedMetrics": [score], "showAllRuns": True}
    return [
        _line(_SCORES, objective, "log" if has_floor else "linear"),
        _card(_SCORES, "PARALLEL", "parallel", parallel),
        *(_card(_SAMPLES, "IMAGE", key, {"imageKeys": [key], "step": 0, "showRunParams": False}) for key in images),
        _line(_TRAINING, "train/wasserstein_estimate", "linear"),
        _line(_TRAINING, "train/gradient_norm", "linear"),
    ]


def _sections() -> list[dict[str, Any]]:
    ours = [
        {"name": _SCORES, "columns": 2, "cardHeight": _CHART_HEIGHT},
        {"name": _SAMPLES, "columns": 1, "cardHeight": _SAMPLES_HEIGHT},
        {"name": _TRAINING, "columns": 2, "cardHeight": _TRAINING_HEIGHT},
    ]
    shown = [{"uuid": each["name"], "display": True, "isReordered": True, **each} for each in ours]
    return [*shown, *({"uuid": name, "name": name, "display": False, "isReordered": False} for name in _FOLDED)]


def _line(section: str, metric: str, scale: str) -> dict[str, Any]:
    of_line = {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": scale,
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
    return _card(section, "LINE", metric, of_line)


def _card(section: str, kind: str, uuid: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    common = {"type": kind, "uuid": uuid, "metricSectionId": section, "runsCountToCompare": 10}
    return {**common, "deleted": False, "isGenerated": False, **fields}


def _filter(sweep_id: str) -> str:
    return f"tags.`sweep.id`='{sweep_id}' AND tags.`sweep.role`='trial'"


def _metric(key: str) -> str:
    return f"metrics.`{key}`"


def _link(base: str, experiment_id: str, query: Mapping[str, str]) -> str:
    return f"{base}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote, safe='')}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
