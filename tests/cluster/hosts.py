"""Hosts that are namespaces of this machine: each its own network, processes, files and SSH server.

All of it lives inside one process, the lab: when that ends, the kernel ends every process of every host and undoes
their mounts and networks. Nothing is named or mounted outside of it, and it dies with the process that made it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.sweeps.processes import Running

NEEDED = (
    "initdb",
    "ip",
    "nsenter",
    "psql",
    "rsync",
    "runuser",
    "setpriv",
    "ssh",
    "ssh-keygen",
    "sshd",
    "tmux",
    "unshare",
)
USER = "sweeper"
HOME = f"/home/{USER}"
# A folder that all hosts and the launcher see under this path: it plays NFS.
SHARED = "/srv/shared"
NETWORK = "10.77.0"
# The environment in which the tests run; each host has a copy of it that it may write to, under the same path and
# where the templates make theirs.
_PREFIX = str(Path(sys.prefix).resolve())

_LAB = f"""
mount --bind {{scratch}} /srv
mount --bind /srv/passwd /etc/passwd
mount --bind /srv/hosts /etc/hosts
mount --bind /srv/resolv.conf /etc/resolv.conf
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /media
mkdir /media/upper /media/work
mount -t overlay overlay -o lowerdir=/tmp,upperdir=/media/upper,workdir=/media/work /tmp
ip link set lo up
ip link add switch type bridge
ip link set switch up
ip address add {NETWORK}.1/24 dev switch
"""

_CABLE = """
ip netns add {name}
ip link add to-{name} type veth peer name eth0 netns {name}
ip link set to-{name} master switch up
ip -n {name} link set lo up
ip -n {name} address add {address}/24 dev eth0
ip -n {name} link set eth0 up
"""

_HOST = f"""
hostname {{name}}
cd /srv/{{name}}
mkdir -p upper work venv home/{USER}/wgan-cluster/venv
mount -t overlay overlay -o lowerdir={shlex.quote(_PREFIX)},upperdir=upper,workdir=work venv
mount --bind home /home
mount --bind venv {HOME}/wgan-cluster/venv
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd {shlex.quote(_PREFIX)}
mount --bind venv {shlex.quote(_PREFIX)}
exec "$(command -v sshd)" -D -e -f /srv/{{name}}/sshd_config
"""

_SSHD = f"""
HostKey /srv/{{name}}/host_key
AuthorizedKeysFile /srv/key.pub
AllowUsers {USER}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
"""


def missing() -> list[str]:
    """The commands without which there can be no hosts, and `root` for want of its rights."""
    database = ":".join(map(str, Path("/usr/lib/postgresql").glob("*/bin")))  # where Debian has what makes one
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:{database}"
    return [name for name in NEEDED if shutil.which(name, path=path) is None] + ["root"] * (os.geteuid() != 0)


class Host:
    """A machine that answers on SSH, as long as it has power and its link."""

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.lab, self.name, self.address = lab, name, address
        self._process: subprocess.Popen[bytes] | None = None
        folder = lab.folder / name
        folder.mkdir()
        # As `useradd` makes it: Debian's .bashrc goes no further where the shell is not interactive.
        shutil.copytree("/etc/skel", self.home)
        _new_key(folder / "host_key")
        (folder / "sshd_config").write_text(_SSHD.format(name=name))
        lab.inside("bash", "-e", "-c", _CABLE.format(name=name, address=address))

    @property
    def home(self) -> Path:
        """Its user's home folder, as this machine sees it."""
        return self.lab.folder / self.name / "home" / USER

    def start(self) -> None:
        """Power on; it answers when this returns."""
        command = ["ip", "netns", "exec", self.name]
        command += ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        command += ["bash", "-e", "-c", _HOST.format(name=self.name)]
        with (self.lab.folder / self.name / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.lab.enter(command), env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.mend_link()
        answers = f"until (: </dev/tcp/{self.address}/22) 2>/dev/null; do sleep .05; done"
        self.lab.inside("timeout", "20", "bash", "-c", answers)

    def ssh(self, command: str) -> Running:
        """Run a command on it over SSH, as the person at the launcher does; its failure is an error."""
        options = ["-i", "/srv/key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-q"]
        return self.lab.launch("ssh", *options, f"{USER}@{self.address}", command).succeeded()

    def processes(self) -> list[psutil.Process]:
        """What runs on it."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def running(self, *titles: str) -> list[psutil.Process]:
        """Its processes in whose command line one of these stands."""
        found = []
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                if any(title in " ".join(each.cmdline()) for title in titles):
                    found.append(each)
        return found

    def trains(self) -> bool:
        """Whether a trial is being trained on it now."""
        return bool(
            self.running("ImplicitFunc.train")
        )  # as Ray Tune calls it; one that waits for a trial lacks `.train`

    def file(self, path: str) -> Path:
        """One of its files or folders, as this machine sees it while the host has power."""
        return Path(f"/proc/{self._first().pid}/root{path}")

    @contextmanager
    def network(self) -> Iterator[None]:
        """Connections that this thread makes, or one that it starts, are made on the host."""
        with open("/proc/thread-self/ns/net") as own, open(f"/proc/{self._first().pid}/ns/net") as there:
            _enter_network(there.fileno())
            try:
                yield
            finally:
                _enter_network(own.fileno())

    def cut_link(self) -> None:
        """Its cable is pulled: it goes on running, and sees the shared folder as before."""
        self.lab.inside("ip", "link", "set", f"to-{self.name}", "down")

    def mend_link(self) -> None:
        self.lab.inside("ip", "link", "set", f"to-{self.name}", "up")

    def cut_power(self) -> None:
        """End all its processes at once, and let no other host hear of it."""
        assert self._process is not None
        self.cut_link()
        self._first().kill()
        self._process.wait()

    def wait(self) -> None:
        """Until it has no power any more."""
        if self._process is not None:
            self._process.wait()

    def _first(self) -> psutil.Process:
        assert self._process is not None
        (namespace,) = psutil.Process(self._process.pid).children()
        (first,) = namespace.children()
        return first


class Lab:
    """The network that hosts are in, and the launcher: a home folder in it, without an SSH server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.hosts: list[Host] = []
        self._launched: list[Running] = []
        # The database's own user goes through it.
        folder.chmod(0o755)
        for name in ("shared", "launcher/checkout"):
            (folder / name).mkdir(parents=True)
        _new_key(self.key)
        passwd = Path("/etc/passwd").read_text()
        # The first of its number, so that its home is this user's for whoever asks by number.
        (folder / "passwd").write_text(f"{USER}:*:0:0::{HOME}:/bin/bash\n{passwd}")
        (folder / "resolv.conf").touch()
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # bash reaps what is left to it as the first process.
        first = ["bash", "-c", "echo; sleep infinity & wait"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *namespaces, *first], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"\n"
        (self._first,) = psutil.Process(self._process.pid).children()
        self.inside("bash", "-e", "-c", _LAB.format(scratch=shlex.quote(str(folder))))

    def add(self, name: str) -> Host:
        """A host that is known to the others by name, and has power."""
        host = Host(self, name, f"{NETWORK}.{len(self.hosts) + 2}")
        self.hosts.append(host)
        with (self.folder / "hosts").open("a") as hosts:
            hosts.write(f"{host.address} {name}\n")
        host.start()
        return host

    def enter(self, command: Sequence[str], cwd: str = "/") -> list[str]:
        """The command that runs another one in the network, with the launcher's view of the files."""
        lab = f"--target={self._first.pid}"
        return ["nsenter", lab, "--mount", "--net", "--pid", f"--wdns={cwd}", "--", *command]

    def inside(self, *command: str) -> None:
        """Run a command in the network; its failure is an error."""
        subprocess.run(self.enter(command), env=environment(), stdin=subprocess.DEVNULL, check=True, timeout=60)

    def launch(self, *command: str | Path, **env: str) -> Running:
        """Start a command as the person at the launcher does, in the folder of the checkout there."""
        own = {"HOME": "/srv/launcher", "TMPDIR": "/srv/launcher/.cache/wgan-sweeps/ray", "TERM": "dumb"}
        running = Running(
            self.enter([str(part) for part in command], "/srv/launcher/checkout"),
            cwd=Path("/"),
            env=environment() | own | env,
            said=self.folder / f"said-{len(self._launched)}",
        )
        self._launched.append(running)
        return running

    def spaces(self) -> set[str]:
        """The namespaces of its processes that are not this process's own."""
        started = psutil.Process(self._process.pid).children(recursive=True)
        return set[str]().union(*(_spaces(each.pid) for each in started)) - _spaces(os.getpid())

    def close(self) -> None:
        """End every process in it, whereby all its mounts and networks go."""
        self._process.kill()
        self._process.wait()
        self._first.wait(timeout=30)
        for each in (*self.hosts, *self._launched):
            each.wait()


def inhabited() -> set[str]:
    """All namespaces in which a process of this machine is."""
    return set[str]().union(*(_spaces(pid) for pid in psutil.pids()))


def _spaces(pid: int) -> set[str]:
    with suppress(OSError):  # it has ended
        return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "net", "pid")}
    return set()


def _enter_network(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def environment() -> dict[str, str]:
    """This process's, with the folders of administrators' commands and without what is meant for other servers."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "WGAN_", "RAY_", "PIP_"))}
    return kept | {"PATH": f"{kept.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


@contextmanager
def laboratory() -> Iterator[Lab]:
    """A network without hosts yet; whatever was made in it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hosts-") as folder:
        lab = Lab(Path(folder).resolve())
        try:
            yield lab
        finally:
            lab.close()
