"""MLflow's server behind a secret key.

`mlflow server --app-name sweeps` serves the application that `protected_app` returns. pyproject.toml names that
function as an entry point in MLflow's group `mlflow.app`.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from sweeps.engine.plan.sqlite_file import limit_all

APP = "sweeps"
"""Name of the entry point."""

KEY, NAME, ROOT = "SWEEPS_SERVER_KEY", "SWEEPS_SERVER_NAME", "SWEEPS_SERVER_ROOT"
"""Environment variables: the server's key; the host name in the link; the folder that holds all artifacts.

If the variable `ROOT` is empty, artifacts may lie in any folder.
"""

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_OPEN_THE_LINK = "open the link that `sweeps serve-ui` printed"
_NO_KEY = f"a request must carry this server's key; this one does not: {_OPEN_THE_LINK}, from the terminal\n"
_FOREIGN = f"a request must come from this server's own pages; this one comes from another site's: {_OPEN_THE_LINK}\n"
_NOT_SERVED = "MLflow's assistant must be off, as it runs commands on this machine: start `mlflow server` for it\n"
# MLflow has no setting that turns its assistant off, so `Protected` blocks this path.
_ASSISTANT = "/ajax-api/3.0/mlflow/assistant"
_COOKIE = "sweeps"
# A database may come from a stranger, so its notes and HTML artifacts must not load anything from another server.
# MLflow's pages need inline scripts and styles, and show HTML artifacts in a frame with a blob: address.
_POLICY = "; ".join(
    (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "frame-src 'self' data: blob:",
        "form-action 'self'",
        "object-src 'none'",
        "base-uri 'self'",
    )
)


def protected_app() -> Application:
    """Return MLflow's application, protected by the key in the environment variable `KEY`."""
    key, name, root = os.environ.pop(KEY), os.environ.pop(NAME), os.environ.pop(ROOT)
    from mlflow.server.fastapi_app import app

    limit_all()
    _keep_artifacts_below(root)
    return Protected(app, key, name)


def proof_of(key: str) -> str:
    """Return the server's answer at /health, which proves that the server has the key without showing the key."""
    return hmac.digest(key.encode(), b"health", "sha256").hex()


class Protected:
    """An ASGI application that passes on only requests that carry the key.

    A browser opens the link `/?key=...` and gets a cookie. A program sends `Authorization: Bearer`. Only /health
    answers without the key.

    The link and the cookie are valid only at the host `name`. Browsers send a host's cookies to all its ports, and
    another user may listen on another port of 127.0.0.1. Nobody else knows `name`, so nobody else gets the cookie.
    """

    def __init__(self, app: Application, key: str, name: str) -> None:
        self._app, self._key, self._name, self._proof = app, key, name, proof_of(key)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = _with_policies(send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        # The port is not compared, as the request may come through a tunnel from another port.
        is_at_name = headers.get("host", "").partition(":")[0] == self._name
        path = scope["path"]
        if path == "/health":
            await _answer(scope, send, 200, self._proof)
        elif path == "/" and is_at_name and self._has_link(scope):
            given = f"{_COOKIE}={self._key}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(scope, send, 303, "", {"location": "/", "set-cookie": given})
        elif not (self._has_token(headers) or (is_at_name and self._has_cookie(headers))):
            await _answer(scope, send, 401, _NO_KEY, {"www-authenticate": "Bearer"})
        elif _is_foreign(scope, headers):
            await _answer(scope, send, 403, _FOREIGN)
        elif re.sub("/+", "/", path).startswith(_ASSISTANT):
            await _answer(scope, send, 404, _NOT_SERVED)
        else:
            await self._app(scope, receive, send)

    def _has_link(self, scope: Message) -> bool:
        return any(map(self._is_key, parse_qs(scope["query_string"].decode("latin-1")).get("key", [])))

    def _has_token(self, headers: dict[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_key(token.strip())

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        pairs = [pair.strip().partition("=") for pair in headers.get("cookie", "").split(";")]
        return any(name == _COOKIE and self._is_key(value) for name, _, value in pairs)

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._key.encode())


def _with_policies(send: Send) -> Send:
    """Wrap `send` to add two headers to each response: load nothing from other servers, and send no Referer."""

    async def sent(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"referrer-policy"]
            # MLflow's own content policy stays: a browser applies all policies that it gets.
            policies = [(b"referrer-policy", b"no-referrer"), (b"content-security-policy", _POLICY.encode())]
            message = {**message, "headers": [*kept, *policies]}
        await send(message)

    return sent


def _is_foreign(scope: Message, headers: dict[str, str]) -> bool:
    """Return whether a page of another server sent the request.

    A page on another port of the same host is foreign too, although browsers call it the same site and send the cookie.
    Any page may link to this server's first page, which is the same for everyone.
    """
    opens_page = scope["path"] == "/" and scope.get("method") == "GET" and headers.get("sec-fetch-dest") == "document"
    is_own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    if "origin" in headers:  # A page in a sandbox sends "null".
        is_own = is_own and headers["origin"].partition("://")[2] == headers.get("host")
    return not (is_own or opens_page)


async def _answer(scope: Message, send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    """Answer a request, or refuse a WebSocket, with plain text."""
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http.response"
    usual = {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in {**usual, **(headers or {})}.items()]
    await send({"type": f"{kind}.start", "status": status, "headers": encoded})
    await send({"type": f"{kind}.body", "body": text.encode()})


def _keep_artifacts_below(root: str) -> None:
    """Let MLflow read and write artifacts only below the folder `root`, or in any local folder if `root` is empty.

    A stranger's database may place its artifacts in the home folder of the person who looks at it, or in a bucket. It
    may also place them on a web server, to which MLflow would send credentials.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    class Files(LocalArtifactRepository):
        """Local artifacts that are read, but not deleted. MLflow's own deletion would follow links."""

        def get_local_path(self, artifact_path: str) -> str:
            found = super().get_local_path(artifact_path)
            path = Path(found)
            inside = path.rglob("*") if path.is_dir() else [path]
            if not all(each.is_file() or each.is_dir() for each in inside):  # a pipe would be waited for
                raise MlflowException.invalid_parameter_value(f"artifacts must be regular files; {path} is none")
            return found

        def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
            self.get_local_path(artifact_path)
            found: str = super().download_artifacts(artifact_path, dst_path)  # type: ignore[no-untyped-call]
            return found

        def delete_artifacts(self, artifact_path: str | None = None) -> None:
            raise MlflowException.invalid_parameter_value(
                "artifacts are not deleted here: delete them in the folder, or start `mlflow server`"
            )

    def files(artifact_uri: str, *rest: Any, **settings: Any) -> Any:
        found = Files(artifact_uri, *rest, **settings)
        if root and not Path(found.artifact_dir).resolve().is_relative_to(root):
            raise MlflowException.invalid_parameter_value(
                f"artifacts must be below {root}, the database's folder; these are at {found.artifact_dir}: start "
                "`mlflow server` to see them, if you trust the database"
            )
        return found

    repositories: dict[str, Any] = get_registered_artifact_repositories()
    for scheme in repositories.keys() - {"runs", "models"}:  # These two schemes only refer to others.
        del repositories[scheme]
    repositories.update(dict.fromkeys(("", "file"), files))
