"""The scripts of `cluster/mlflow` in a folder of someone else's. PostgreSQL's programs are stand-ins."""

from __future__ import annotations

import hashlib
import os
import pty
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster.trap import Trap, trap
from tests.sweeps.processes import ROOT

SCRIPTS = ROOT / "cluster" / "mlflow"
MODULES = ("csv", "email", "json", "mlflow", "typing")
# Starts MLflow as the script does, but neither needs a server nor stays.
PYTHON = f"""#!/bin/sh
case "$*" in
    *clean_up.py*) exec {sys.executable} -m mlflow --version ;;
    *account.py*) exit 0 ;;
    *query.py*) echo "${{ANSWER:-100000}}"; exit 0 ;;
    "-m mlflow "*) exec {sys.executable} -m mlflow --version ;;
esac
exec {sys.executable} "$@"
"""
STUB = """#!/bin/sh
exit 0
"""
NOBODY = 65534
ROLES = ("mlflow_auth", "sweeps", "mlflow")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with modules that would run in the place of Python's and MLflow's own."""
    here = tmp_path / "planted"
    here.mkdir()
    for name in MODULES:
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    return here


@pytest.fixture
def run(tmp_path: Path, planted: Path) -> Run:
    """Runs a script on a folder as `setup` leaves it, from the planted folder."""
    folder, programs = tmp_path / "server", tmp_path / "programs"
    for each in (folder / "artifacts", programs):
        each.mkdir(parents=True)
    (folder / "server.env").write_text("MLFLOW_AUTH_ADMIN_PASSWORD=secret-secret\nDATABASE_SERVER=127.0.0.1:1\n")
    (folder / "settings.env").write_text((SCRIPTS / "settings.env").read_text().replace("@FOLDER@", str(folder)))
    stand_ins = {"psql": STUB, "pg_dump": STUB, "pg_restore": STUB, "python": PYTHON}
    for name, text in stand_ins.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": str(programs / "python"), "HOME": str(tmp_path)}

    def ran(name: str, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [SCRIPTS / name, folder, *arguments]
        return subprocess.run(
            command, cwd=planted, env={**env, "PGUSER": "me", **more}, capture_output=True, text=True, timeout=120
        )

    return ran


def test_nothing_in_the_current_folder_runs(run: Run, planted: Path, tmp_path: Path) -> None:
    """It would have the admin's password in its environment."""
    said = run("setup")
    assert said.returncode == 2, said.stderr
    assert "error: " in said.stderr  # after Python has looked for the packages
    said = run("backup", tmp_path / "backup")
    assert said.returncode == 0, said.stderr
    assert f"mlflow {version('mlflow')}\n" in (tmp_path / "backup" / "versions").read_text()
    for name in ("clean-up", "serve"):
        said = run(name)
        assert (said.returncode, version("mlflow") in said.stdout) == (0, True), said.stderr
    assert sorted(path.name for path in planted.iterdir()) == sorted(f"{name}.py" for name in MODULES)


def test_an_older_python_is_refused(run: Run, tmp_path: Path) -> None:
    """It would import from the current folder all the same."""
    false = shutil.which("false")
    assert false is not None
    said = run("backup", tmp_path / "backup", PYTHON=false)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert "PYTHON must be Python 3.11 or newer" in said.stderr


# A user's own links and terminal are nobody else's; only root becomes another user.
ATTACKS = ("setting", "variable", "server", *(("link", "terminal") if os.geteuid() == 0 else ()))


@pytest.mark.parametrize("attack", ATTACKS)
def test_root_obeys_nothing_in_the_services_folder(attack: str) -> None:
    """The scripts run as the folder's owner, so neither its links nor its settings have root's rights."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as above:
        top = Path(above)
        top.chmod(0o755)
        server, programs, private = top / "server", top / "programs", top / "private"
        for each in (server / "artifacts", programs):
            each.mkdir(parents=True)
        private.write_text("root's")
        private.chmod(0o600)
        for name in ("python", "psql", "pg_dump"):
            (programs / name).write_text(STUB)
            (programs / name).chmod(0o755)
        scripts = shutil.copytree(SCRIPTS, top / "scripts")
        (server / "server.env").write_text("DATABASE_SERVER=127.0.0.1:1\n")
        settings = (SCRIPTS / "settings.env").read_text().replace("@FOLDER@", str(server))
        ran = top / "ran"
        if attack == "setting":
            settings += f"x[$(id -u >{ran}; echo 0)]=1\n"
        elif attack == "server":
            (server / "server.env").write_text(f"DATABASE_SERVER=127.0.0.1:1|;1e id >{ran};#\n")
        elif attack == "terminal":
            (programs / "pg_dump").write_text(f"#!/bin/sh\n: </dev/tty && touch {ran}\nexit 1\n")
        elif attack == "variable":
            settings += "LD_PRELOAD=/tmp/evil.so\n"
        else:
            (server / "lock").symlink_to(private)
        (server / "settings.env").write_text(settings)
        for path in (server, *server.rglob("*")) if os.geteuid() == 0 else ():
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": str(programs / "python")}
        done = subprocess.run(
            [scripts / "backup", server, top / "copy"], env=env, cwd="/", capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        assert private.read_text() == "root's"
        assert private.stat().st_uid == os.geteuid()
        assert not ran.exists()
        assert (top / "copy").stat().st_uid == os.geteuid()


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a server's folder of another user, and with stand-ins for PostgreSQL's programs, to be found."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who alone becomes another user")
    with tempfile.TemporaryDirectory() as above:
        top = Path(above)
        top.chmod(0o755)
        shutil.copytree(SCRIPTS, top / "scripts")
        for each in (top / "server" / "artifacts", top / "programs"):
            each.mkdir(parents=True)
        (top / "server" / "server.env").write_text("DATABASE_SERVER=127.0.0.1:1\n")
        settings = (SCRIPTS / "settings.env").read_text().replace("@FOLDER@", str(top / "server"))
        (top / "server" / "settings.env").write_text(settings)
        for path in (top / "server", *(top / "server").rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        for name in ("python", "psql", "pg_dump"):
            (top / "programs" / name).write_text(STUB)
            (top / "programs" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{top / 'programs'}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHON", str(top / "programs" / "python"))
        yield top


@pytest.mark.parametrize("script", ["backup", "restore"])
@pytest.mark.parametrize("attack", ["folder", "link", "shared"])
def test_root_gives_no_folder_away_that_another_user_could_exchange(script: str, attack: str, foreign: Path) -> None:
    """Between a check and a change of the owner, a link to another folder could take its place."""
    place, kept = foreign / "place", foreign / "kept"
    (kept / "copy").mkdir(parents=True)
    if attack == "link":
        place.symlink_to(kept)
    else:
        place.mkdir()
        (place / "copy").mkdir()
        os.chown(place / "copy", NOBODY, NOBODY)
    (place / "copy" / "MANIFEST").touch()
    if attack == "shared":
        place.chmod(0o1777)
    else:
        os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    given = place / ("copy" if script == "restore" else "new")
    command = [foreign / "scripts" / script, foreign / "server", given]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert re.search("root must own the folders above|nobody but root may write to the folders above", done.stderr)
    assert "belongs to nobody" in done.stderr
    assert [each.name for each in place.iterdir()] == ["copy"]


def test_a_backup_below_a_folder_of_root_in_a_shared_one_is_made(foreign: Path) -> None:
    done = subprocess.run(
        [foreign / "scripts" / "backup", foreign / "server", "copy"],
        cwd=foreign,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["backup", str(foreign / "copy")]), done.stderr
    assert (foreign / "copy").stat().st_uid == 0


def test_the_owners_process_has_no_descriptor_of_roots_terminal(foreign: Path) -> None:
    """It could keep the terminal after its end, read what root types there, and type commands."""
    seen = foreign / "server" / "seen"
    (foreign / "programs" / "pg_dump").write_text(
        f"#!/bin/sh\nls -l /proc/$$/fd /proc/self/fd >{seen}\necho said\necho complained >&2\nexit 7\n"
    )
    ours, theirs = pty.openpty()
    command = [foreign / "scripts" / "backup", foreign / "server", foreign / "copy"]
    status = subprocess.run(command, cwd="/", stdin=theirs, stdout=theirs, stderr=theirs, timeout=60).returncode
    terminal = os.ttyname(theirs)
    os.write(theirs, b"end\n")
    said = b""
    while not said.endswith(b"end\r\n"):
        said += os.read(ours, 1000)
    for each in (ours, theirs):
        os.close(each)
    assert (status, set(said.split())) == (7, {b"said", b"complained", b"end"})
    assert "pipe:" in seen.read_text()
    assert terminal not in seen.read_text()


AS_ROOT = {
    "link": "the server's folder must be no link",
    "folder of another user above": "root must own the folders above",
    "shared folder above": "nobody but root may write to the folders above",
    "hard link": "must be regular files without links; pgpass is none",
    "pipe": "must be regular files without links; pgpass is none",
}
SETUPS = {
    "no attack": None,
    "another server": "setup must reach the server's own database",
    **(AS_ROOT if os.geteuid() == 0 else {}),
}


def laid_out(attack: str, server: Path, private: Path) -> Path:
    """Prepare the server's folder of another user for an attack. Return the folder to set up."""
    port = 6666 if attack == "another server" else 6432
    (server / "server.env").write_text(f"DATABASE_SERVER=127.0.0.1:{port}\n")
    if attack == "hard link":
        os.link(private / "file", server / "pgpass")
    elif attack == "pipe":
        os.mkfifo(server / "pgpass")
    else:
        (server / "pgpass").write_text("".join(f"127.0.0.1:6432:{role}:{role}:twelve-letters\n" for role in ROLES))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (server, server / "artifacts"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    if attack == "shared folder above":
        server.parent.chmod(0o1777)
    if attack == "link":
        server.with_name("link").symlink_to(private)
        return server.with_name("link")
    return server / "artifacts" / "below" if attack == "folder of another user above" else server


@pytest.mark.parametrize("attack", SETUPS)
def test_setup_gives_the_superusers_password_and_files_to_nobody(attack: str) -> None:
    """`setup` is the only script that stays root, in a folder that belongs to another user."""
    said = SETUPS[attack]
    with tempfile.TemporaryDirectory() as above:
        top = Path(above)
        server, programs, private, seen = top / "server", top / "programs", top / "private", top / "seen"
        for each in (server / "artifacts", programs, private):
            each.mkdir(parents=True)
        (private / "file").write_text("root's")
        # Asked with a role's password, neither must have the superuser's.
        for name in ("python", "psql"):
            (programs / name).write_text(
                f'#!/bin/sh\ncase "$*" in *passfile=*) env >>{seen}; echo "$@" >>{seen} ;; esac\n'
            )
        for each in programs.iterdir():
            each.chmod(0o755)
        target = laid_out(attack, server, private)
        before = private.stat()
        env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHON": str(programs / "python"),
            "PGHOST": "127.0.0.1",
            "PGPORT": "6432",
            "PGUSER": "postgres",
            "PGPASSWORD": "superusers-password",
        }
        done = subprocess.run([SCRIPTS / "setup", target], env=env, cwd="/", capture_output=True, text=True, timeout=60)
        assert done.returncode == (2 if said else 0), done.stderr
        assert (said or "") in done.stderr
        asked = seen.read_text() if seen.exists() else ""
        assert bool(asked) == (said is None)
        assert "superusers-password" not in asked
        assert (private / "file").read_text() == "root's"
        assert (private.stat().st_mode, private.stat().st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize("secret", ["x' SUPERUSER; --", "short", "twelve-letters\\! id"])
def test_a_password_is_checked_before_it_is_used(run: Run, tmp_path: Path, secret: str) -> None:
    """`setup` puts it into a superuser's statement, and the service could write the file."""
    (tmp_path / "server" / "pgpass").write_text(f"127.0.0.1:1:sweeps:sweeps:{secret}\n")
    said = run("account", "alice")
    assert said.returncode == 2
    assert "the password of 'sweeps'" in said.stderr
    assert not (tmp_path / "server" / "accounts").exists()


NEEDS_CLIENTS = pytest.mark.skipif(
    shutil.which("psql") is None or find_spec("psycopg") is None, reason="needs_server: PostgreSQL's clients"
)


@pytest.fixture
def down(tmp_path: Path) -> Iterator[tuple[Path, Trap]]:
    """A server's folder, and who listens at the port of its PostgreSQL, which is down."""
    folder = tmp_path / "server"
    (folder / "artifacts").mkdir(parents=True)
    with trap("postgres") as listener:
        at = f"127.0.0.1:{listener.port}"
        (folder / "server.env").write_text(f"MLFLOW_AUTH_ADMIN_PASSWORD=secret-secret\nDATABASE_SERVER={at}\n")
        (folder / "settings.env").write_text((SCRIPTS / "settings.env").read_text().replace("@FOLDER@", str(folder)))
        uri = f"postgresql+psycopg://mlflow_auth@{at}/mlflow_auth?passfile={folder}/pgpass"
        (folder / "basic_auth.ini").write_text((SCRIPTS / "basic_auth.ini").read_text().replace("@DATABASE@", uri))
        (folder / "pgpass").write_text("".join(f"{at}:{role}:{role}:secret-secret\n" for role in ROLES))
        (folder / "pgpass").chmod(0o600)
        yield folder, listener


@NEEDS_CLIENTS
@pytest.mark.parametrize("script", ["serve", "backup", "account", "clean-up", "restore"])
def test_no_password_goes_to_who_listens_in_the_place_of_postgresql(
    script: str, down: tuple[Path, Trap], tmp_path: Path
) -> None:
    """While it restarts, any user can take its port, and ask for the password in the clear."""
    folder, listener = down
    backup = tmp_path / "backup"
    arguments = {"account": ["alice"], "backup": [backup], "restore": [backup]}.get(script, [])
    if script == "restore":
        backed_up(backup)
    env = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "HOME": str(tmp_path)}
    done = subprocess.run([SCRIPTS / script, folder, *arguments], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert 'authentication method requirement "scram-sha-256" failed' in done.stderr
    assert len(listener.received) >= 1
    assert not [message for message in listener.received if b"secret" in message]


@NEEDS_CLIENTS
@pytest.mark.parametrize("name", ["psql", "pg_dump"])
def test_older_programs_of_postgresql_are_not_started_before_the_server_has_proved_itself(
    name: str, down: tuple[Path, Trap], tmp_path: Path
) -> None:
    """They would send a password in the clear."""
    folder, listener = down
    (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tmp_path / name).chmod(0o755)
    script = f". {SCRIPTS}/common.sh; folder={folder}; read_settings; on_database sweeps {name}"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, (tmp_path / "ran").exists()) == (2, False), done.stderr
    assert not [message for message in listener.received if b"secret" in message]


@NEEDS_CLIENTS
def test_setup_gives_the_superusers_password_to_no_other_listener(down: tuple[Path, Trap], tmp_path: Path) -> None:
    folder, listener = down
    (folder / "pgpass").unlink()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(listener.port),
        "PGUSER": "postgres",
        "PGPASSWORD": "superusers-secret",
    }
    done = subprocess.run([SCRIPTS / "setup", folder], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert not [message for message in listener.received if b"secret" in message]


CONTROLS = "\033]0;title\007\033[31m\r\x9b2J"


def backed_up(folder: Path, versions: str = "", stray: str | None = None) -> None:
    """Write a backup, whole but for a file that its MANIFEST may name."""
    (folder / "artifacts").mkdir(parents=True)
    for name, text in {**{f"{role}.dump": "" for role in ROLES}, "versions": versions}.items():
        (folder / name).write_text(text)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}\n"
        for path in folder.iterdir()
        if path.is_file()
    ]
    if stray is not None:
        lines.append(f"{'0' * 64}  ./{stray}\n")
    (folder / "MANIFEST").write_text("".join(lines))


def controls_in(text: str) -> set[str]:
    return {each for each in text if not each.isprintable() and each not in "\n\t"}


def test_a_backup_sends_no_control_characters_to_the_terminal(run: Run, tmp_path: Path) -> None:
    """It may come from another machine."""
    backed_up(tmp_path / "damaged", stray=CONTROLS.replace("\r", ""))
    said = run("restore", tmp_path / "damaged")
    assert (said.returncode, "must be whole" in said.stderr) == (2, True), said.stderr
    assert controls_in(said.stdout + said.stderr) == set()
    backed_up(tmp_path / "backup", versions=f"made {CONTROLS}now\tthen\n")
    said = run("restore", tmp_path / "backup", ANSWER="0")
    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("now\tthen\n")
    assert controls_in(said.stdout + said.stderr) == set()


def test_the_owners_process_sends_no_control_characters_to_roots_terminal(foreign: Path) -> None:
    said = f"echo '{CONTROLS}é said\tall'\n"
    (foreign / "programs" / "pg_dump").write_text(f"#!/bin/sh\n{said}({said}) >&2\nexit 7\n")
    done = subprocess.run(
        [foreign / "scripts" / "backup", foreign / "server", foreign / "copy"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 7
    for stream in (done.stdout, done.stderr):
        assert stream.endswith("said\tall\n")
        assert controls_in(stream) == set()


@pytest.mark.parametrize("attack", ["no manifest", "link"])
def test_root_does_not_give_away_a_folder_that_is_no_backup(attack: str, foreign: Path) -> None:
    """Its name may be a slip of root's."""
    other = foreign / "other"
    other.mkdir()
    if attack == "link":
        (other / "MANIFEST").symlink_to(foreign / "scripts" / "restore")
    os.chown(other, 12345, 12345)
    before = other.stat()
    command = [foreign / "scripts" / "restore", foreign / "server", other]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert (done.returncode, "must have a MANIFEST" in done.stderr) == (2, True), done.stderr
    # A change of the owner there and back would show.
    assert other.stat().st_ctime_ns == before.st_ctime_ns


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_root_gives_a_backup_back_as_it_was(ends: str, foreign: Path) -> None:
    """Its owner, its group and its mode, though the owner of the server's folder changes what it can."""
    copy = foreign / "copy"
    backed_up(copy)
    for path in copy.rglob("*"):
        os.chown(path, NOBODY, NOBODY)
    os.chown(copy, 12345, 12346)
    copy.chmod(0o750)
    (foreign / "programs" / "sha256sum").write_text(
        f"#!/bin/sh\nchmod 777 {copy}; stat --format=%u {copy} >{foreign}/server/owner\nexit {int(ends == 'badly')}\n"
    )
    (foreign / "programs" / "pg_restore").write_text(STUB)
    (foreign / "programs" / "python").write_text('#!/bin/sh\ncase "$*" in *query.py*) echo 0 ;; esac\n')
    for path in (foreign / "programs").iterdir():
        path.chmod(0o755)
    command = [foreign / "scripts" / "restore", foreign / "server", copy]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == (0 if ends == "well" else 2), done.stderr
    assert (foreign / "server" / "owner").read_text() == f"{NOBODY}\n"
    found = copy.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12345, 12346, 0o750)
