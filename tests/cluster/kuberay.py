"""The fields that the KubeRay templates may use, by hand from the types of KubeRay and Kubernetes.

`ray.io/v1` of KubeRay 1.5.1 (its Go types in ray-operator/apis/ray/v1; `authOptions` came with that version), the pod
template and NetworkPolicy of Kubernetes 1.28. A field that is not here would be dropped, or refused, by a cluster.

A type stands for a value; a dict for an object with these fields and no others, where `None` as key allows any; a list
for a list of what is in it. Fields that end in ! must be given.
"""

from __future__ import annotations

from typing import Any

VERSION = "1.5.1"
STRINGS = {None: str}
TEMPLATE = {
    "metadata": {"labels": STRINGS, "annotations": STRINGS},
    "spec!": {
        "serviceAccountName": str,
        "automountServiceAccountToken": bool,
        "terminationGracePeriodSeconds": int,
        "nodeSelector": STRINGS,
        "tolerations": [{"key": str, "operator": str, "value": str, "effect": str}],
        "containers!": [
            {
                "name!": str,
                "image!": str,
                "env": [{"name!": str, "value": str}],
                "envFrom": [{"secretRef": {"name!": str, "optional": bool}}],
                "lifecycle": {"preStop": {"exec": {"command": [str]}}},
                "resources": {"requests": STRINGS, "limits": STRINGS},
            }
        ],
    },
}
CLUSTER = {
    "rayVersion": str,
    "authOptions": {"mode": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {"version": str, "idleTimeoutSeconds": int, "upscalingMode": str},
    "headGroupSpec!": {"serviceType": str, "rayStartParams!": STRINGS, "template!": TEMPLATE},
    "workerGroupSpecs": [
        {
            "groupName!": str,
            "replicas": int,
            "minReplicas!": int,
            "maxReplicas!": int,
            "rayStartParams!": STRINGS,
            "template!": TEMPLATE,
        }
    ],
}
JOB = {
    "entrypoint": str,
    "backoffLimit": int,
    "activeDeadlineSeconds": int,
    "runtimeEnvYAML": str,
    "submissionMode": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "rayClusterSpec": CLUSTER,
}
POLICY = {
    "podSelector!": {"matchLabels": STRINGS},
    "policyTypes": [str],
    "ingress": [
        {"from": [{"podSelector": {"matchLabels": STRINGS}, "namespaceSelector": {"matchLabels": STRINGS}}]},
    ],
}
KINDS = {
    ("ray.io/v1", "RayCluster"): CLUSTER,
    ("ray.io/v1", "RayJob"): JOB,
    ("networking.k8s.io/v1", "NetworkPolicy"): POLICY,
}


def wrong(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document's fields, by their paths."""
    kind = (document.get("apiVersion", ""), document.get("kind", ""))
    if kind not in KINDS:
        return [f"{kind} is not known"]
    shape = {"apiVersion!": str, "kind!": str, "metadata!": {"name!": str}, "spec!": KINDS[kind]}
    return list(_wrong(document, shape, ""))


def _wrong(value: Any, shape: Any, path: str) -> list[str]:
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [each for index, item in enumerate(value) for each in _wrong(item, shape[0], f"{path}[{index}]")]
    if not isinstance(shape, dict):
        return [] if type(value) is shape else [f"{path} is no {shape.__name__}"]
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    fields = {str(key).removesuffix("!"): below for key, below in shape.items()}
    found = [f"{path}.{key[:-1]} is missing" for key in shape if key and key.endswith("!") and key[:-1] not in value]
    for key, item in value.items():
        if None not in shape and key not in fields:
            found.append(f"{path}.{key} is not a field")
        else:
            found += _wrong(item, shape.get(None) or fields[key], f"{path}.{key}")
    return found
