"""The documentation: its complete scripts run, its links lead somewhere, and it lists every public name.

A Python block of docs/extending.md is a complete script if its first line is a comment with a file name.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import torch

import sweeps
import wgan_core
from sweeps.commands.script import RUN_NAME
from wgan_core import OwnMetric, Structure
from wgan_core.metrics.register import FACTORIES
from wgan_core.networks.pairs import PAIRS, SHIPPED
from wgan_core.training.preflight import check_fit

ROOT = Path(__file__).resolve().parents[1]
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SCRIPTS = {name: text for text, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", EXTENDING, re.DOTALL)}
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\[[^][]*\]\(([^()\s]+)\)")
RUN = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    try:
        runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        print(f"{name}: {end.code}", flush=True)
"""
OUTSIDE = ("http://", "https://", "mailto:")


def test_each_python_block_is_a_script_with_a_name() -> None:
    assert len(SCRIPTS) == EXTENDING.count("```python\n")
    assert {"my_networks.py", "my_metric.py", "my_data.py", "my_images.py"} <= SCRIPTS.keys()


def test_the_scripts_of_the_documentation_show_their_help(tmp_path: Path) -> None:
    """One process runs all scripts, each as `python NAME --help` would, because importing torch takes seconds."""
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", RUN, *SCRIPTS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"^(\S+): (\S+)$", ran.stdout, re.MULTILINE) == [(name, "0") for name in SCRIPTS]


def test_networks_and_metrics_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    registered, metrics = 0, 0
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        with mock.patch.dict(PAIRS), mock.patch.dict(FACTORIES):
            found = runpy.run_path(str(tmp_path / name), run_name=RUN_NAME)
            for pair in PAIRS.keys() - SHIPPED:
                check_fit(Structure(pair, (1, 28, 28), latent_dim=8), lanes=2)
                check_fit(Structure(pair, (3, 32, 32), latent_dim=8, classes=2), lanes=1)
                registered += 1
        for metric in (each for each in found.values() if isinstance(each, OwnMetric)):
            real, fake = torch.zeros(4, 1, 28, 28), torch.ones(4, 1, 28, 28)
            assert metric.measure(real, real) < metric.measure(real, fake)
            metrics += 1
    assert (registered, metrics) == (1, 1)


def test_every_public_name_is_listed() -> None:
    listed = set(re.findall(r"`(\w+)`", EXTENDING.partition("## Public names")[2].partition("\n## ")[0]))
    assert {*sweeps.__all__, *wgan_core.__all__} <= listed


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return frozenset(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    wrong = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "code", text)):
        if link.startswith(OUTSIDE):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_links_with_errors_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n\n## A b c\n\n```\n# no heading\n```\n", encoding="utf-8")
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
    assert LINK.findall("![a](b.png) and [c](d.md#e)") == ["b.png", "d.md#e"]
