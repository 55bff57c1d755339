"""`sweeps check-cluster`: check a cluster's configuration file before any machine starts."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.cluster.file import check_cluster_file


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="file of the cluster, such as cluster.yaml")


def run(given: argparse.Namespace) -> None:
    check_cluster_file(Path(given.file))
    print(f"{given.file} is filled in, and what it copies is there")
