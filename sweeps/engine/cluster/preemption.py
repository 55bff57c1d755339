"""A cloud's notice, on its metadata server, that it is about to take this machine back."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException

POLL_S = 2.0
ANSWER_S = 5.0
MOST_BYTES = 10_000


@dataclass(frozen=True)
class Cloud:
    """A cloud's metadata server.

    Attributes:
        metadata: URL of the server.
        path: Path of the notice.
        headers: Headers of the request.
        token_path: Path to request a token from first; empty if none is needed.
        token_header: Header that carries the token.
        says: Answer, in upper case, that means a notice. If it is empty, any answer but an HTTP error is a notice.
        deadline_s: Time from the notice until the machine stops, in seconds.
    """

    metadata: str
    path: str
    headers: tuple[tuple[str, str], ...]
    token_path: str
    token_header: str
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
    """Wait until the cloud announces that it takes this machine back. `metadata` replaces the server's usual URL."""
    while not _is_announced(cloud, metadata or cloud.metadata):
        time.sleep(POLL_S)


def _is_announced(cloud: Cloud, metadata: str) -> bool:
    headers = dict(cloud.headers)
    try:
        if cloud.token_path:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            headers[cloud.token_header] = _ask(metadata + cloud.token_path, "PUT", lifetime)
        answer = _ask(metadata + cloud.path, "GET", headers)
    # Usually the path does not exist, as there is no notice. Or the server gave no answer this time, or not in HTTP.
    except (OSError, HTTPException, ValueError):
        return False
    return not cloud.says or answer.strip().upper() == cloud.says


def _ask(url: str, method: str, headers: dict[str, str]) -> str:
    asked = urllib.request.Request(url, method=method, headers=headers)
    # Use no proxy: it would reach a server that knows nothing of this machine.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=ANSWER_S) as answer:
        return answer.read(MOST_BYTES).decode()
