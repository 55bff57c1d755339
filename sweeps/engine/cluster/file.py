"""Checks of a cluster's file, `cluster.yaml`, that find mistakes before machines start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from sweeps.engine.cluster.launcher import check_launcher
from wgan_core.errors import UserError, one_line
from wgan_core.rights import mode_lets_others_read

MARK = "FILL_IN"
# Match user:password@ in a URL, or a password in its query.
_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@|[?&]password=")


@dataclass(frozen=True)
class Field:
    """A value in the file: its path, such as `provider.worker_ips[0]`, its line number from 1, and its text."""

    path: str
    line: int
    text: str


def check_cluster_file(path: Path) -> None:
    """Check that `ray up` could use a cluster's file if it is started in the current folder.

    Raises:
        UserError: The file is missing, is no YAML mapping, has a field that is not filled in, or has a URL with a
            password. Or a file to copy is missing, others may read the token to copy, or others may write to a folder
            that `ray up` trusts.
    """
    fields = list(_fields(path))
    unfilled = [f"{field.path} (line {field.line})" for field in fields if MARK in field.text]
    if unfilled:
        raise UserError(f"{path} must have no {MARK} left; it has {', '.join(unfilled)}: fill them in")
    secret = next((field for field in fields if _PASSWORD.search(field.text)), None)
    if secret is not None:
        raise UserError(
            f"{path} must hold no password; {secret.path} (line {secret.line}) has a URL with one: "
            "leave it out, and give it as docs/cluster.md says"
        )
    for field in fields:
        if field.path.startswith("file_mounts.") and not _is_there(field.text):
            raise UserError(
                f"{path} must name files that are there; {field.path} (line {field.line}) names {field.text}, which is "
                f"not: {_maker(field.text)}"
            )
    open_token = next((field for field in fields if _is_open_token(field)), None)
    if open_token is not None:
        raise UserError(
            f"{path} must copy a token that you alone may read; {open_token.path} (line {open_token.line}) names "
            f"{open_token.text}, which others on this machine may read: "
            "delete it, and run (umask 077; ray get-auth-token --generate)"
        )
    if any(field.path.startswith("file_mounts.") and field.text == "dist" for field in fields) and not any(
        Path("dist").glob("*.whl")
    ):
        raise UserError(f"{path} copies the wheel from dist; there is none in it: run make wheel")
    for field in fields:
        if field.path == "cluster_name":  # Files for `kubectl apply` have none.
            check_launcher(field.text)


def _is_open_token(field: Field) -> bool:
    """Return whether a field names a token file that others may read. Its copy on a node would be readable too."""
    is_token = field.path.startswith("file_mounts.") and field.text.endswith("auth_token")
    return is_token and mode_lets_others_read(Path(field.text).expanduser().stat())


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (RuntimeError, ValueError):  # a home folder of nobody, or a path with NUL
        return False


def _maker(mounted: str) -> str:
    if mounted == "dist":
        return "run make wheel"
    if mounted.endswith("auth_token"):
        return "run (umask 077; ray get-auth-token --generate)"
    return "run this in the folder of the repository"


def _fields(path: Path) -> Iterator[Field]:
    """Yield the scalar values of all documents. Raise `UserError` if a document is not a YAML mapping."""
    try:
        documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except OSError as error:
        raise UserError(
            f"a cluster's file must be there to be read; {path}: {error.strerror}: make cluster.yaml FROM=ssh"
        ) from error
    except RecursionError:
        raise UserError(f"{path} must be YAML of a few levels; it is nested too deep: correct it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} must be YAML; {one_line(error)}: correct it") from error
    if not documents or not all(isinstance(document, yaml.MappingNode) for document in documents):
        raise UserError(f"{path} must be a YAML mapping, as those in cluster/ are: make cluster.yaml FROM=ssh")
    seen: set[int] = set()  # Report a node that aliases refer to only once.
    for document in documents:
        yield from _below(document, "", seen)


def _below(node: yaml.Node, path: str, seen: set[int]) -> Iterator[Field]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _below(value, f"{path}.{key.value}".removeprefix("."), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _below(value, f"{path}[{index}]", seen)
    else:
        yield Field(path, node.start_mark.line + 1, node.value)
