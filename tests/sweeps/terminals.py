"""A terminal with a process on it, and what it shows in the end."""

from __future__ import annotations

import codecs
import os
import pty
import re
import subprocess
import termios
import time
from collections.abc import Callable

from tests.sweeps.processes import ROOT

WIDTH, HEIGHT = 100, 24
PAUSE_S = 0.01


class Terminal:
    """One of 100 columns and 24 lines, with a process on it; it knows the few sequences that move the cursor."""

    def __init__(self, command: list[str], **env: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (HEIGHT, WIDTH))
        os.set_blocking(self._ours, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._settings, self.text = termios.tcgetattr(theirs), ""
        around = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=around | env, cwd=ROOT
        )
        self._theirs = theirs

    def read_until(self, happened: Callable[[], bool], deadline_s: float = 60) -> None:
        ends = time.monotonic() + deadline_s
        while not happened():
            assert time.monotonic() < ends, self.text
            try:
                self.text += self._decoder.decode(os.read(self._ours, 65536))
            except BlockingIOError:
                time.sleep(PAUSE_S)

    def _read_for(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        self.read_until(lambda: time.monotonic() > ends)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait for the process; its exit status."""
        self.read_until(lambda: self.process.poll() is not None)
        read = None
        while read != self.text:  # what it wrote last may still be on its way
            read = self.text
            self._read_for(10 * PAUSE_S)
        assert termios.tcgetattr(self._theirs) == self._settings
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def shown(self) -> list[str]:
        """All lines there ever were, as they look in the end, down to that of the cursor."""
        page, line, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.text):
            if part == "\r":
                column = 0
            elif part == "\n":
                line += 1
                page += [""] * (line + 1 - len(page))
            elif part.startswith("\x1b["):
                count, kind = re.sub(r"\D", "", part), part[-1]
                if kind == "A":
                    line -= int(count or 1)
                elif kind == "K":
                    assert count == "2"
                    page[line] = ""
                else:
                    assert kind in "mhl", part
            else:
                for each in part:
                    if column == WIDTH:
                        line, column = line + 1, 0
                        page += [""] * (line + 1 - len(page))
                    page[line] = page[line][:column].ljust(column) + each + page[line][column + 1 :]
                    column += 1
        assert not any(page[line + 1 :]), page  # what was below is gone
        return [each.rstrip() for each in page[: line + 1]]
