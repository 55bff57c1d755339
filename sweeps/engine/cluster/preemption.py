"""A cloud's notice that it is about to take a machine back, as the machine itself can read it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass

POLL_S = 2.0
ANSWER_S = 5.0


@dataclass(frozen=True)
class Cloud:
    """Where a cloud's machine asks about itself. deadline_s: how long it has from the notice, in seconds."""

    metadata: str
    path: str
    headers: tuple[tuple[str, str], ...]
    # Where a token is to be fetched first, and the header that carries it.
    token_path: str
    token_header: str
    # What is answered when there is a notice; empty: anything but that there is nothing at that path.
    says: str
    deadline_s: float


CLOUDS = {
    # Amazon EC2 User Guide, "Spot Instance interruption notices" and "Use the IMDS".
    "aws": Cloud(
        metadata="http://169.254.169.254",
        path="/latest/meta-data/spot/instance-action",
        headers=(),
        token_path="/latest/api/token",
        token_header="X-aws-ec2-metadata-token",
        says="",
        deadline_s=120.0,
    ),
    # Google Cloud, Compute Engine documentation, "Preemption process" of Spot VMs.
    "gcp": Cloud(
        metadata="http://metadata.google.internal",
        path="/computeMetadata/v1/instance/preempted",
        headers=(("Metadata-Flavor", "Google"),),
        token_path="",
        token_header="",
        says="TRUE",
        deadline_s=30.0,
    ),
}


def wait_for_notice(cloud: Cloud, metadata: str | None = None) -> None:
    """Return once the cloud has said that it takes this machine back; `metadata`: another address of its server."""
    while not _is_announced(cloud, metadata or cloud.metadata):
        time.sleep(POLL_S)


def _is_announced(cloud: Cloud, metadata: str) -> bool:
    headers = dict(cloud.headers)
    try:
        if cloud.token_path:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            headers[cloud.token_header] = _ask(metadata + cloud.token_path, "PUT", lifetime)
        answer = _ask(metadata + cloud.path, "GET", headers)
    except OSError:  # nothing at that path, which is the usual case; or no answer this time
        return False
    return not cloud.says or answer.strip().upper() == cloud.says


def _ask(url: str, method: str, headers: dict[str, str]) -> str:
    asked = urllib.request.Request(url, method=method, headers=headers)
    # Never through a proxy: what answers there is not this machine's own server.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=ANSWER_S) as answer:
        return answer.read().decode()
