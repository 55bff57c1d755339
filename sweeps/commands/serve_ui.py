"""`sweeps serve-ui`: start MLflow's web server on the sweeps of a storage."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from sweeps.engine.plan.arguments import add_storage, add_tracking_uri, storage_of, study_storage_of, whole_number
from sweeps.engine.plan.uri import database, is_http, shown
from sweeps.engine.results.results import known_sweeps, open_plan, study_url, tracking_uri_of
from sweeps.engine.tracking import PORT, StoredSweep, choose_port, open_stored, program_beside, serve, with_key
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, one_line, shortened


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="name of the sweep (default: all sweeps of the storage)")
    parser.add_argument("--port", type=whole_number, help=f"local port (default: the first free one from {PORT} on)")
    add_storage(parser)
    add_tracking_uri(parser)


def run(given: argparse.Namespace) -> None:
    records = _records(given)
    stores = {record.uri for record in records if not is_http(record.uri)}
    if len(stores) > 1:
        raise UserError(
            "one server shows one store; these sweeps are in several, "
            f"{', '.join(sorted(map(shown, stores)))}: name one sweep, or give --tracking-uri"
        )
    away = [record for record in records if is_http(record.uri)]
    for record in away:
        print(_line(record, record.link(shown(record.uri).rstrip("/"))), flush=True)
    for command in _dashboards(given, records):
        print(command, flush=True)
    if stores:
        (uri,) = stores
        port = choose_port(given.port)
        print(f"starting MLflow on {shown(uri)}, which takes 10 to 30 s", flush=True)
        serve(uri, port, lambda base, key: _show(base, key, [record for record in records if record not in away]))


def _records(given: argparse.Namespace) -> list[StoredSweep]:
    """Return the MLflow records of the sweeps, and print why any cannot be shown. Raise `UserError` if none can."""
    storage = storage_of(given.storage)
    names = known_sweeps(Folder.at(storage)) if given.name is None else [given.name]
    records, problems = [], []
    for name in names:
        try:
            folder, plan = open_plan(storage, name)
            records.append(open_stored(tracking_uri_of(folder, given.tracking_uri), plan))
        except Exception as error:  # A damaged sweep must not hide the others.
            said = shortened(str(error), MOST) if isinstance(error, UserError) else one_line(error)
            problems.append(f"{name} cannot be shown: {said}")
            if given.name is not None:
                raise
    if not records:
        raise UserError(problems[0] if problems else f"--storage must hold a sweep; {storage} has none: name another")
    print("".join(f"{problem}\n" for problem in problems), end="", flush=True)
    return records


def _show(base: str, key: str, records: Sequence[StoredSweep]) -> None:
    for record in records:
        print(_line(record, with_key(record.link(base), key)), flush=True)
    print("Ctrl-C ends the server", flush=True)


def _line(record: StoredSweep, link: str) -> str:
    return f"{record.plan.name}  {link}"


def _dashboards(given: argparse.Namespace, records: Sequence[StoredSweep]) -> list[str]:
    """Return the commands that show the studies in Optuna's dashboard; none if it is not installed."""
    program = program_beside("optuna-dashboard")
    found = []
    for record in records if program else []:
        try:
            folder, _ = open_plan(given.storage, record.plan.name)
            url = study_url(folder, study_storage_of(given.study_storage))
        except UserError:  # Its study cannot be shown, but its MLflow record can.
            continue
        file = database(url)
        if file is None or file.is_file():
            found.append(f"{record.plan.name}  in Optuna's dashboard: {shlex.join([str(program), shown(url)])}")
    return list(dict.fromkeys(found))
