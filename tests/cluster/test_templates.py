"""The templates of clusters: refused while a field is not filled in, valid once all are, and closed to the world."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.util import prepare_config, validate_config

from sweeps.cli import main
from sweeps.engine.cluster.file import MARK
from sweeps.engine.cluster.growth import growth
from sweeps.engine.cluster.launcher import connections_folder
from sweeps.engine.cluster.placement import placement
from tests.cluster.kuberay import VERSION, wrong
from tests.sweeps.processes import wait_for

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
NOBODY = 65534
STUDIES = "postgresql+psycopg://sweeps@db.example.org/sweeps?require_auth=scram-sha-256&sslmode=verify-full"
# What a person may fill in, in the order of the file.
FILLED: Mapping[str, tuple[str, ...]] = {
    "ssh": ("10.0.0.1", "[10.0.0.2, 10.0.0.3]", "me", "~/.ssh/id_ed25519", "/mnt/sweeps"),
    "aws": (
        "8",
        "eu-central-1",
        "ami-0123456789abcdef0",
        "sg-0123456789abcdef0",
        "bucket",
        "https://mlflow.example.org",
        STUDIES,
    ),
    "gcp": (
        "8",
        "project",
        "europe-west4",
        "europe-west4-a",
        "projects/p/global/images/family/f",
        "projects/project/regions/europe-west4/subnetworks/wgan-sweeps",
        "worker@project.iam.gserviceaccount.com",
        "bucket",
        "https://mlflow.example.org",
        STUDIES,
    ),
    "kuberay-cluster": ("registry/image:1", "8", "8", '{gpu: "true"}', "kuberay-system"),
    "kuberay-job": ("python -m sweeps.mnist", "registry/image:1", "8", "8", '{gpu: "true"}', "kuberay-system"),
}
LAUNCHED = ("ssh", "aws", "gcp")
KUBERAY = ("kuberay-cluster", "kuberay-job")


def text_of(template: str) -> str:
    return (CLUSTER / f"{template}.yaml").read_text(encoding="utf-8")


def marked_lines(text: str) -> list[int]:
    """Numbers of the lines with a field to fill in, from 1; a comment names the mark too."""
    return [n for n, line in enumerate(text.splitlines(), 1) if MARK in line and not line.lstrip().startswith("#")]


def filled(template: str, but: int | None = None, own: Sequence[str] = ()) -> str:
    """A template with its fields filled in, all but one if so asked; with values of one's own instead of `FILLED`."""
    lines, values = text_of(template).splitlines(), own or FILLED[template]
    marked = marked_lines(text_of(template))
    assert len(marked) == len(values)
    for index, (number, value) in enumerate(zip(marked, values, strict=True)):
        if index != but:
            lines[number - 1] = lines[number - 1].replace(MARK, value, 1)
    return "\n".join(lines) + "\n"


def parsed(template: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(filled(template))
    return found


@pytest.fixture
def checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str]]:
    """`sweeps check-cluster` of this text, where all is that it copies: status, and what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr("sweeps.engine.cluster.launcher.CONNECTIONS_BELOW", tmp_path)
    for name in ("XDG_CACHE_HOME", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("dist/wgan_sweeps-0.1.0-py3-none-any.whl", "requirements.txt", "cluster/requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch(mode=0o600)

    def ran(text: str) -> tuple[int, str]:
        Path("cluster.yaml").write_text(text, encoding="utf-8")
        status = main(["check-cluster", "cluster.yaml"])
        said = capsys.readouterr()
        return status, said.out + said.err

    return ran


@pytest.mark.parametrize("template", FILLED)
def test_every_field_that_is_not_filled_in_is_named_with_its_line(
    template: str, checked: Callable[[str], tuple[int, str]]
) -> None:
    """In one line; the other fields are not."""
    status, said = checked(text_of(template))
    assert status == 2
    assert len(said.splitlines()) == 1
    lines = marked_lines(text_of(template))
    assert [int(number) for number in re.findall(r"\(line (\d+)\)", said)] == lines
    for index, number in enumerate(lines):
        status, said = checked(filled(template, but=index))
        assert (status, re.findall(r"\(line (\d+)\)", said)) == (2, [str(number)])
    assert checked(filled(template)) == (0, "cluster.yaml is filled in, and what it copies is there\n")


def test_a_field_is_named_by_its_path(checked: Callable[[str], tuple[int, str]]) -> None:
    _, said = checked(text_of("ssh"))
    assert "it has provider.head_ip (line " in said
    assert ", setup_commands[0] (line " in said


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("dist/wgan_sweeps-0.1.0-py3-none-any.whl", "there is none in it: run make wheel"),
        ("dist", "run make wheel"),
        (".ray/auth_token", "run (umask 077; ray get-auth-token --generate)"),
        ("cluster/requirements.txt", "run this in the folder of the repository"),
    ],
)
def test_what_it_copies_must_be_there(missing: str, said: str, checked: Callable[[str], tuple[int, str]]) -> None:
    path = Path(missing)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    status, line = checked(filled("ssh"))
    assert (status, said in line) == (2, True), line


def test_a_password_in_it_is_refused_and_not_repeated(checked: Callable[[str], tuple[int, str]]) -> None:
    status, said = checked(filled("aws").replace("//sweeps@db", "//sweeps:hunter2@db"))
    assert status == 2
    assert "must hold no password; setup_commands[2] (line " in said
    assert "hunter2" not in said


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder to which every user may write, as /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def test_a_temporary_folder_of_all_users_is_refused_and_the_line_to_paste_helps(
    checked: Callable[[str], tuple[int, str]], common: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray takes the cluster's file from there, with commands to run, whoever wrote it."""
    monkeypatch.setenv("TMPDIR", str(common))
    status, said = checked(filled("ssh"))
    assert (status, said.count("\n"), f"{common} is none: " in said) == (2, 1, True), said
    found = re.search(r": in every terminal in which you use Ray, run export TMPDIR=(.*)\n$", said)
    assert found is not None
    (private,) = map(Path, shlex.split(found[1]))
    assert private == tmp_path / ".cache" / "wgan-sweeps" / "ray"
    assert private.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("TMPDIR", str(private))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert checked(filled("ssh"))[0] == 0
    assert os.path.dirname(_bootstrap_config(parsed("ssh"))["provider"]["_config_cache_path"]) == str(private)
    monkeypatch.setenv("RAY_TMPDIR", str(common))
    assert checked(filled("ssh"))[1].endswith(": unset RAY_TMPDIR\n")
    monkeypatch.setenv("TMPDIR", str(common))
    assert checked(filled("kuberay-cluster"))[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of another user")
def test_a_link_of_another_user_to_a_private_folder_is_refused(
    checked: Callable[[str], tuple[int, str]], common: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (common / "link").symlink_to(tmp_path)
    monkeypatch.setenv("TMPDIR", str(common / "link"))
    assert checked(filled("ssh"))[0] == 0
    os.chown(common / "link", NOBODY, NOBODY, follow_symlinks=False)
    assert f"{common / 'link'} is none: in every terminal in which you use Ray, run" in checked(filled("ssh"))[1]


def test_the_folder_of_ssh_connections_is_where_ray_has_it() -> None:
    runner = SSHCommandRunner("", "", None, {"ssh_user": "me"}, "wgan-sweeps", None, use_internal_ip=False)
    assert runner.ssh_control_path == str(connections_folder("wgan-sweeps"))


@pytest.mark.parametrize("planted", ["link", "mode", "file", *(["owner"] if os.geteuid() == 0 else [])])
@pytest.mark.parametrize("which", ["user", "cluster"])
def test_a_prepared_folder_of_ssh_connections_is_refused(
    planted: str, which: str, checked: Callable[[str], tuple[int, str]], common: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it would receive the token."""
    monkeypatch.setattr("sweeps.engine.cluster.launcher.CONNECTIONS_BELOW", common)
    assert checked(filled("ssh"))[0] == 0
    cluster = connections_folder("wgan-sweeps")
    assert [each.stat().st_mode & 0o777 for each in (cluster.parent, cluster)] == [0o700, 0o700]
    folder = cluster if which == "cluster" else cluster.parent
    if planted == "mode":
        folder.chmod(0o777)
    elif planted == "owner":
        os.chown(folder, NOBODY, NOBODY)
    else:
        folder.rename(common / "elsewhere")
        folder.symlink_to(common / "elsewhere") if planted == "link" else folder.touch()
    status, said = checked(filled("ssh"))
    assert (status, said.count("\n")) == (2, 1)
    assert said.endswith(f": {'sudo ' if planted == 'owner' else ''}rm -rf {folder}\n")


@pytest.mark.parametrize("text", ["", "- a", "a: [", "a: 1\n---\n- b", "a: " + "[" * 100_000])
def test_what_is_no_cluster_file(text: str, checked: Callable[[str], tuple[int, str]]) -> None:
    status, said = checked(text)
    assert (status, said.startswith("error: cluster.yaml must be ")) == (2, True)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check-cluster", str(tmp_path / "none.yaml")]) == 2
    assert "No such file or directory: make cluster.yaml FROM=ssh" in capsys.readouterr().err


@pytest.mark.parametrize("template", LAUNCHED)
def test_ray_accepts_it_once_filled_in_and_not_before(template: str) -> None:
    """By Ray's own schema, as `ray up` does before it starts a machine."""
    validate_config(prepare_config(parsed(template)))
    with pytest.raises((jsonschema.ValidationError, TypeError)):
        validate_config(prepare_config(yaml.safe_load(text_of(template))))


def test_every_machine_over_ssh_is_a_node() -> None:
    prepared = prepare_config(parsed("ssh"))
    (node_type,) = prepared["available_node_types"].values()
    assert (node_type["min_workers"], node_type["max_workers"]) == (2, 2)


@pytest.mark.parametrize("template", ["aws", "gcp"])
def test_clouds_pay_for_workers_only_while_trials_run(template: str) -> None:
    """Spot workers with GPUs, none to begin with, gone when idle; the head is on demand and trains nothing."""
    config = prepare_config(parsed(template))
    types = dict(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert not spot(head["node_config"])
    assert len(types) >= 2
    for node_type in types.values():
        assert node_type["resources"]["GPU"] >= 1
        assert node_type["min_workers"] == 0
        assert spot(node_type["node_config"])
    assert config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def spot(node_config: dict[str, Any]) -> bool:
    market = node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return market or node_config.get("scheduling", {}).get("provisioningModel") == "SPOT"


@pytest.mark.parametrize("template", LAUNCHED)
def test_closed_to_the_world(template: str) -> None:
    """Token authentication, the dashboard on loopback; networks are the person's own, as Ray would open SSH to all."""
    config = prepare_config(parsed(template))
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in filled(template)
    assert "RAY_AUTH_MODE=token" in " ".join(config["setup_commands"])
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for node_type in config["available_node_types"].values():
        if template == "aws":
            assert node_type["node_config"]["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
            assert node_type["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
        if template == "gcp":
            (interface,) = node_type["node_config"]["networkInterfaces"]
            assert interface["subnetwork"].endswith("/subnetworks/wgan-sweeps")


@pytest.mark.parametrize("template", LAUNCHED)
def test_head_and_workers_are_set_up_alike(template: str) -> None:
    """With the wheel and both lists of pins; no folder of the checkout lies where it would hide what is installed."""
    config = prepare_config(parsed(template))
    assert config["head_setup_commands"] == config["worker_setup_commands"] == config["setup_commands"]
    commands = " ".join(config["setup_commands"])
    for part in ("/requirements.txt", "/cluster-requirements.txt", "dist/*.whl"):
        assert part in commands
    mounts = config["file_mounts"]
    assert {mounts["~/wgan-cluster/dist"], mounts["~/wgan-cluster/requirements.txt"]} == {"dist", "requirements.txt"}
    assert not {"~/sweeps", "~/wgan_core"} & mounts.keys()


@pytest.mark.parametrize("template", LAUNCHED)
def test_its_commands_are_bash(template: str) -> None:
    config = parsed(template)
    for part in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[part]:
            subprocess.run(["bash", "-n", "-c", command], check=True, timeout=30)


@pytest.mark.parametrize("template", LAUNCHED)
def test_the_environment_of_a_node(template: str, tmp_path: Path) -> None:
    """Set up twice, a login shell has it once: where sweeps are kept, and that Ray asks for its token."""
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    commands = [command for command in parsed(template)["setup_commands"] if "wgan-cluster/environment" in command]
    for _ in range(2):
        for command in commands:
            subprocess.run(["bash", "-c", command], env=env, check=True, timeout=30)
    shown = subprocess.run(
        ["bash", "-c", ". ~/.bashrc; env"], env=env, check=True, timeout=30, capture_output=True, text=True
    )
    found = dict(line.split("=", 1) for line in shown.stdout.splitlines())
    wanted = {"ssh": "/mnt/sweeps", "aws": "s3://bucket/wgan-sweeps", "gcp": "gs://bucket/wgan-sweeps"}
    assert found["WGAN_STORAGE"] == wanted[template]
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["PATH"].split(":")[0] == f"{tmp_path}/wgan-cluster/venv/bin"
    assert found["PATH"].count("wgan-cluster") == 1
    if template != "ssh":
        assert found["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org"
        assert found["WGAN_STUDY_STORAGE"] == STUDIES


@pytest.mark.parametrize("template", LAUNCHED)
@pytest.mark.parametrize("planted", [None, "link", *(["owner"] if os.geteuid() == 0 else [])])
def test_ray_starts_on_no_node_where_another_user_prepared_the_folder_of_ssh_connections(
    template: str, planted: str | None, tmp_path: Path
) -> None:
    """The head sends its workers the token through it."""
    (tmp_path / "tmp").mkdir()
    (command,) = [each for each in parsed(template)["setup_commands"] if "RAY_TMPDIR" in each]
    command = command.replace("/tmp/", f"{tmp_path}/tmp/")  # not the machine's own
    (tmp_path / "wgan-cluster").mkdir()
    user = pwd.getpwuid(os.geteuid()).pw_name
    folder = tmp_path / "tmp" / f"ray_ssh_{hashlib.sha256(user.encode()).hexdigest()[:10]}"
    if planted is not None:
        folder.symlink_to(tmp_path) if planted == "link" else folder.mkdir()
    if planted == "owner":
        os.chown(folder, NOBODY, NOBODY)
    script = f"{command}; . ~/wgan-cluster/environment; echo $RAY_TMPDIR"
    ran = subprocess.run(
        ["bash", "-c", script],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    )
    own = tmp_path / "tmp" / f"ray-{user}"
    assert ran.stdout == f"{'/dev/null' if planted else own}\n"
    assert own.stat().st_mode & 0o777 == 0o700
    if planted is None:
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("template", ["aws", "gcp"])
def test_a_worker_waits_for_the_clouds_notice(template: str, tmp_path: Path) -> None:
    """As Ray runs commands: in the background, so that the connection ends, and once, however often Ray is started."""
    (tmp_path / "wgan-cluster").mkdir()
    stub = tmp_path / "sweeps"
    stub.write_text('#!/bin/sh\necho "$$ $*" >> ~/called\nexec sleep 60\n')
    stub.chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (command,) = [each for each in parsed(template)["worker_start_ray_commands"] if "drain" in each]
    called = tmp_path / "called"
    for _ in range(2):
        run = ["bash", "-c", f"export A=1 && ({command})"]
        subprocess.run(run, env=env, check=True, timeout=20, capture_output=True)
        wait_for(called.exists, "the command", 20)
    time.sleep(0.5)  # for a second one, if there were any
    (line,) = called.read_text().splitlines()
    process, _, said = line.partition(" ")
    os.kill(int(process), signal.SIGKILL)
    assert said == f"drain --on-notice {template}"


@pytest.mark.parametrize("template", KUBERAY)
def test_kuberay_knows_every_field(template: str) -> None:
    """And misses none that it needs; what is not filled in is of another type, or the mark."""
    documents = list(yaml.safe_load_all(filled(template)))
    assert [problem for document in documents for problem in wrong(document)] == []
    assert VERSION in text_of(template)
    unfilled = [problem for document in yaml.safe_load_all(text_of(template)) for problem in wrong(document)]
    assert any("maxReplicas is no int" in problem for problem in unfilled)


def test_the_check_of_kuberay_sees_what_it_should() -> None:
    documents = yaml.safe_load_all(filled("kuberay-cluster"))
    cluster = next(iter(documents))
    cluster["spec"]["workerGroupSpecs"][0]["maxReplica"] = cluster["spec"]["workerGroupSpecs"][0].pop("maxReplicas")
    cluster["spec"]["rayVersion"] = 2.6
    assert wrong(cluster) == [
        ".spec.rayVersion is no str",
        ".spec.workerGroupSpecs[0].maxReplicas is missing",
        ".spec.workerGroupSpecs[0].maxReplica is not a field",
    ]
    assert wrong({"apiVersion": "ray.io/v1alpha1", "kind": "RayCluster"})


@pytest.mark.parametrize("template", KUBERAY)
def test_kubernetes_is_closed_and_scales_to_nothing(template: str) -> None:
    """A token, connections from its own namespace and the operator's, secrets by reference, no worker that idles."""
    first, policy = yaml.safe_load_all(filled(template))
    spec = first["spec"].get("rayClusterSpec", first["spec"])
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    head, (worker,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert (head["serviceType"], head["rayStartParams"]["num-cpus"]) == ("ClusterIP", "0")
    assert (worker["replicas"], worker["minReplicas"], worker["maxReplicas"]) == (0, 0, 8)
    images = set()
    for template_ in (head["template"], worker["template"]):
        assert template_["metadata"]["labels"].items() >= policy["spec"]["podSelector"]["matchLabels"].items()
        (container,) = template_["spec"]["containers"]
        images.add(container["image"])
    assert len(images) == 1


@pytest.mark.parametrize("template", KUBERAY)
def test_kubernetes_gives_workers_no_rights_and_no_passwords_of_servers(template: str) -> None:
    """The operator lets the head's service account change the cluster, so no other pod may have the same one."""
    first, _ = yaml.safe_load_all(filled(template))
    spec = first["spec"].get("rayClusterSpec", first["spec"])
    head, worker = (group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))
    assert "serviceAccountName" not in head
    assert "serviceAccountName" not in worker
    assert worker["automountServiceAccountToken"] is False
    bucket = {"secretRef": {"name": "wgan-sweeps-bucket", "optional": True}}
    assert worker["containers"][0]["envFrom"] == [bucket]
    assert head["containers"][0]["envFrom"] == [{"secretRef": {"name": "wgan-sweeps"}}, bucket]


@pytest.mark.parametrize("template", KUBERAY)
def test_kubernetes_says_what_may_come(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sweep on the head reckons with is what a worker asks Kubernetes for, and as many as there may be."""
    first, _ = yaml.safe_load_all(filled(template))
    spec = first["spec"].get("rayClusterSpec", first["spec"])
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    (group,) = spec["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    variable = head["env"][0]
    monkeypatch.setenv(variable["name"], variable["value"])
    (kind,) = growth().kinds
    asked = worker["resources"]["requests"]
    assert kind.resources == {"CPU": float(asked["cpu"]), "GPU": float(asked["nvidia.com/gpu"])}
    assert kind.most == group["maxReplicas"]


@pytest.mark.parametrize("template", ["aws", "gcp"])
def test_a_cloud_says_what_may_come(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cluster's file, as `ray up` leaves it on the head: GPUs, though none is there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ray_bootstrap_config.yaml").write_text(filled(template), encoding="utf-8")
    found = placement(1.0, None, 0, [{"CPU": 0.0}], growth())
    assert found.gpus_per_trial == 1.0
    assert found.room([{"CPU": 0.0}]) == 8


def pins(path: Path) -> dict[str, str]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            found[canonicalize_name(name)] = version
    return found


def test_pins_of_a_node() -> None:
    """Every package once, Ray in the templates' version, and all that `ray[default]` asks for."""
    own, ours = pins(CLUSTER / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert not own.keys() & ours.keys()
    both = own | ours
    for line in metadata.requires("ray") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and requirement.marker.evaluate({"extra": "default"}):
            assert both[canonicalize_name(requirement.name)] in requirement.specifier
    assert {"psycopg-binary", "boto3", "google-api-python-client"} <= own.keys()
    for template in KUBERAY:
        assert f'rayVersion: "{ours["ray"]}"' in text_of(template)


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "cluster.yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def test_make_copies_a_template_and_lists_what_is_to_be_filled_in(tmp_path: Path) -> None:
    """Once: a file that is there is left as it is."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(CLUSTER, tmp_path / "cluster")
    ran = made(tmp_path, "FROM=ssh")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "cluster.yaml").read_text(encoding="utf-8") == text_of("ssh")
    listed = [int(line.split(":")[0]) for line in ran.stdout.splitlines() if line[0].isdecimal()]
    assert listed == marked_lines(text_of("ssh"))

    (tmp_path / "cluster.yaml").write_text("mine", encoding="utf-8")
    ran = made(tmp_path, "FROM=aws")
    assert ran.returncode != 0
    assert "error: cluster.yaml is there already" in ran.stderr
    assert (tmp_path / "cluster.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("given", [(), ("FROM=azure",)])
def test_make_names_the_templates(given: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(CLUSTER, tmp_path / "cluster")
    ran = made(tmp_path, *given)
    assert ran.returncode != 0
    assert f"one of {' '.join(sorted(FILLED))};" in ran.stderr
    assert not (tmp_path / "cluster.yaml").exists()


def test_git_leaves_the_copy_out() -> None:
    assert "/cluster.yaml" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
