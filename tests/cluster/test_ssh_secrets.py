"""After all that was run on the hosts: who has seen a password of the tracking server's."""

from __future__ import annotations

import pytest

from tests.cluster.hosts import Lab
from tests.cluster.submitted import Secrets, Submitted

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]


def test_no_password_is_in_a_command_line_a_log_or_what_was_printed(
    lab: Lab, undisturbed: Submitted, server: Secrets
) -> None:
    """Command lines were watched since the server started; the server's own folder holds them, and nobody else's."""
    texts = {path: path.read_text(errors="replace") for path in lab.folder.glob("said-*") if path.is_file()}
    for host in lab.hosts:
        logs = [path for path in host.file("/tmp/ray-sweeper/ray").glob("session*/logs/**/*") if path.is_file()]
        assert logs
        texts |= {path: path.read_text(errors="replace") for path in logs}
    assert server.found_in((lab.hosts[0].home / "tracking-server" / "server.env").read_text())
    assert server.seen == set()
    assert {path: found for path, text in texts.items() if (found := server.found_in(text))} == {}
