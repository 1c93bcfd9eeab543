"""What a cluster is given: by its own schema, by its own shell, and by our own command line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tune_sr import search
from tune_sr.deploy.__main__ import main
from tune_sr.deploy.targets import TARGETS
from tune_sr.study.space_file import load_space

ToySpace = Callable[..., Path]
Deployed = Callable[..., str]

NEEDED: dict[str, tuple[str, ...]] = {
    "rayjob": ("--image", "registry/tune_sr:1", "--claim", "runs"),
    "cluster": ("--hosts", "gpu0", "gpu1", "gpu2", "--user", "me"),
    "slurm": (),
}
EVERY_KIND = pytest.mark.parametrize("kind", TARGETS)


@pytest.fixture
def deployed(capsys: pytest.CaptureFixture[str], toy_space: ToySpace, tmp_path: Path) -> Deployed:
    """`deployed("slurm", "--gpus", "4", words=["--trials", "9"])`: the file that is printed."""
    space = toy_space("night")

    def ask(kind: str, *flags: object, words: list[str] | None = None) -> str:
        storage = () if "--storage" in flags else ("--storage", tmp_path / "my runs")
        argv = [kind, "--space", space, *NEEDED[kind], *storage, *flags, "--", *(words or [])]
        capsys.readouterr()
        code = main([str(word) for word in argv])
        told = capsys.readouterr()
        assert (code, told.err) == (0, "")
        return told.out

    return ask


def command_in(text: str) -> list[str]:
    """The search that a file starts, in words, from its module on."""
    script = text
    if not text.startswith("#!"):
        (script,) = (each for each in scripts_of(text) if "exec python -m tune_sr.search" in each)
    if "printf %s" in script:  # what the shell that is given this command reads
        script = shlex.split(script)[shlex.split(script).index("%s") + 1]
    line = next(line for line in script.splitlines() if "exec python -m tune_sr.search" in line)
    return shlex.split(line)[4:-1]


# --- whatever the cluster ---------------------------------------------------------------------


@EVERY_KIND
def test_the_command_is_one_that_the_search_takes(kind: str, deployed: Deployed) -> None:
    odd = "study.experiment=two 'words'"
    words = ["--trials", "9", "--set", odd, "--tracking-uri", "http://ml:5000"]
    said = search.parse_arguments(command_in(deployed(kind, "--gpus", 0, words=words)))
    assert (said.name, said.storage.name, said.trials) == ("night", "my runs", 9)
    assert said.overrides == [odd]
    assert said.tracking_uri == "http://ml:5000"
    assert said.address == ("$address" if kind == "slurm" else "auto")
    assert not said.gpus_per_trial


@EVERY_KIND
def test_a_trial_takes_a_gpu_where_there_are_some_and_nobody_says_otherwise(
    kind: str, deployed: Deployed
) -> None:
    asked = search.parse_arguments(command_in(deployed(kind, "--gpus", 4)))
    assert asked.gpus_per_trial == 1
    if kind != "rayjob":
        tried = deployed(kind, "--gpus", 4, words=["--gpus-per-trial", "auto"])
        assert search.parse_arguments(command_in(tried)).gpus_per_trial == "auto"
    quarter = deployed(kind, "--gpus", 4, words=["--gpus-per-trial", "0.25"])
    assert search.parse_arguments(command_in(quarter)).gpus_per_trial == 0.25


@EVERY_KIND
def test_every_shell_line_is_bash(kind: str, deployed: Deployed) -> None:
    for script in scripts_of(deployed(kind, "--env", "A=it's $HOME")):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def scripts_of(text: str) -> list[str]:
    if text.startswith("#!"):
        return [text]
    scripts = []
    for document in yaml.safe_load_all(text):
        scripts += [document["data"]["study.sh"]] if document.get("kind") == "ConfigMap" else []
        scripts += [each for key in document if key.endswith("_commands") for each in document[key]]
    assert scripts
    return scripts


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (["slurm", "--image", "x"], r"--image: not of slurm, which takes --workers, --cpus"),
        (["rayjob", "--image", "x"], r"rayjob needs --claim; it takes --image, --claim"),
        (["cluster"], "cluster needs --hosts"),
        (["slurm", "--storage", "runs"], "--storage runs: not absolute"),
        (["slurm", "--name", "a b"], "--name a b: study.name: .*letters, digits"),
        (["slurm", "--workers", "0"], "--workers: a whole number from 1 on; got '0'"),
        (["slurm", "--time", "soon"], "--time: takes D-HH:MM:SS; got 'soon'"),
        (["slurm", "--env", "1=2"], "--env: takes NAME=VALUE; got '1=2'"),
        (["slurm", "--output", "{taken}"], "--output .*: file exists"),
        (["slurm", "--output", "{absent}/x"], "--output .*: no such file"),
        (["slurm", "--", "--trials", "0"], "--trials 0: study.trials: .*greater than"),
        (["slurm", "--", "--resume"], "--resume: a deployment sees to this itself"),
        (["slurm", "--", "--storage", "x"], "--storage: say it before the --"),
        (["slurm", "--", "--space", "x"], "--space: say it before the --"),
        (["slurm", "--", "--space=x"], "--space: say it before the --"),
        (["slurm", "--", "--sp", "x"], "unrecognized arguments: --sp x"),
        (["slurm", "--", "--name="], "--name: say it before the --"),
        (["slurm", "--", "--address="], "--address: a deployment sees to this itself"),
        (
            ["slurm", "--", "--set", "a=\x1b[2J"],
            r"-- a=\\x1b\[2J: holds the control character U\+001B",
        ),
        (["slurm", "--storage", "/a\nb"], r"--storage: holds the control character U\+000A"),
        (["slurm", "--bin", "/a\x1bb"], r"--bin: holds the control character U\+001B"),
        (["slurm", "--env", "A=b\u2028c"], r"--env: holds the control character U\+2028"),
        (["cluster", "--hosts", "a", "-oProxyCommand=x"], "the following|expected|unrecognized"),
        (["cluster", "--hosts", "a;b"], "--hosts: takes names or IP addresses; got 'a;b'"),
        (
            ["cluster", "--hosts", "a", "--user=-oProxyCommand=x"],
            "--user: takes the name of a user",
        ),
        (["cluster", "--hosts", "a", "--image", "x;touch y"], r"--image: takes \[REGISTRY/\]NAME"),
        (
            ["cluster", "--storage", "/a:b", "--hosts", "a", "--image", "x"],
            "no folder with a colon",
        ),
        (["slurm", "--", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["slurm", "--", "--set", "fun=1"], "--set fun=1: fun: unknown key"),
        (["slurm", "--", "--cpus-per-trial", "9"], "--cpus-per-trial 9: a node has 8; no trial"),
        (["slurm", "--", "--gpus-per-trial", "2"], "--gpus-per-trial 2: a node has 1; no trial"),
        (["rayjob", "--image", "x", "--claim", "y", "--name", "n" * 48], "at most 47 characters"),
        (["slurm", "--gpus", "0", "--", "--gpus-per-trial", "auto"], "auto: a node has 0; leave"),
        (
            ["rayjob", "--image", "x", "--claim", "y", "--", "--gpus-per-trial", "auto"],
            "--gpus-per-trial auto: tries one trial where the driver runs, on the head, which has",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    argv: list[str],
    rule: str,
    toy_space: ToySpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken").write_text("mine")
    places = {"taken": tmp_path / "taken", "absent": tmp_path / "absent"}
    kind, *rest = [word.format(**places) for word in argv]
    storage = [] if "--storage" in rest[:1] else ["--storage", "/shared/runs"]
    space = toy_space()
    before = sorted(tmp_path.rglob("*"))
    try:
        code = main([kind, "--space", str(space), *storage, *rest])
    except SystemExit as left:
        code = int(left.code or 0)
    told = capsys.readouterr()
    assert (code, told.out, told.err.count("\n")) == (2, "", 1), told
    assert re.search(rule, told.err), told.err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_space_may_refer_to_what_only_the_nodes_have_in_their_environment(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = toy_space()
    space.write_text(space.read_text().replace(str(tmp_path / "runs"), '"${TUNE_SR_ELSEWHERE}/r"'))
    argv = ["slurm", "--space", str(space), "--storage", "/shared", "--output"]
    assert main([*argv, str(tmp_path / "one")]) == 2
    assert "${TUNE_SR_ELSEWHERE} is not set" in capsys.readouterr().err
    assert main([*argv, str(tmp_path / "two"), "--env", "TUNE_SR_ELSEWHERE=/data, here"]) == 0
    assert "export TUNE_SR_ELSEWHERE='/data, here'\n" in (tmp_path / "two").read_text()
    assert "TUNE_SR_ELSEWHERE" not in os.environ


# --- Ray's launcher ---------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--image", "registry/x:1", "--gpus", 8, "--env", "A=b c")])
def test_rays_launcher_takes_the_cluster(deployed: Deployed, flags: tuple[object, ...]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    given = yaml.safe_load(deployed("cluster", *flags))
    config = prepare_config(given)
    validate_config(config)  # against ray-schema.json
    assert config["provider"]["worker_ips"] == ["gpu1", "gpu2"]
    assert config["max_workers"] == 2
    assert ("--num-gpus=8" in config["worker_start_ray_commands"][1]) == bool(flags)
    assert config["docker"] == given.get("docker", {})


def test_the_head_is_given_the_space_and_the_script(deployed: Deployed, tmp_path: Path) -> None:
    from ray.autoscaler._private.command_runner import _with_interactive

    home = tmp_path / "home"
    home.mkdir()
    for command in yaml.safe_load(deployed("cluster"))["head_setup_commands"]:
        shell = " ".join(word for word in _with_interactive(command) if word != "-i")
        done = subprocess.run(
            shell, shell=True, env={**os.environ, "HOME": str(home)}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
    folder = home / "tune_sr-night"
    assert (folder / "space.yaml").read_text() == (tmp_path / "night.yaml").read_text()
    assert "~/tune_sr-night/space.yaml" in (folder / "study.sh").read_text()


@pytest.mark.parametrize("end", ["END_OF_SPACE", "END_OF_SCRIPT", "EOF", "'"])
def test_no_line_of_a_space_ends_it_and_is_run(
    end: str, toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quoted word of YAML may go on at the beginning of a line, and hold any line at all."""
    from ray.autoscaler._private.command_runner import _with_interactive

    home = tmp_path / "home"
    home.mkdir()
    space = toy_space("night")
    odd = f'study:\n  experiment: "a\n{end}\ntouch ran; exit #\n   \n\n  b"\n'
    shell_words = "# it's $HOME `id` $(touch ran) %s \\n é\n"
    space.write_text(space.read_text().replace("study:\n", odd) + shell_words)
    argv = ["cluster", "--space", space, "--storage", tmp_path / "runs", *NEEDED["cluster"]]
    assert main([str(word) for word in argv]) == 0
    for command in yaml.safe_load(capsys.readouterr().out)["head_setup_commands"]:
        shell = " ".join(word for word in _with_interactive(command) if word != "-i")
        environment = {**os.environ, "HOME": str(home)}
        done = subprocess.run(shell, shell=True, env=environment, cwd=home, capture_output=True)
        assert done.returncode == 0, done.stderr
    folder = home / "tune_sr-night"
    assert sorted(path.name for path in home.iterdir()) == ["tune_sr-night"]
    assert sorted(path.name for path in folder.iterdir()) == ["space.yaml", "study.sh"]
    assert (folder / "space.yaml").read_text() == space.read_text()


def test_what_may_be_secret_is_for_its_owner_alone(
    deployed: Deployed, toy_space: ToySpace, tmp_path: Path
) -> None:
    space, output = toy_space("night"), tmp_path / "deployed"
    argv = ["slurm", "--space", space, "--storage", "/runs", "--env", "MLFLOW_TRACKING_PASSWORD=x"]
    assert main([str(word) for word in [*argv, "--output", output]]) == 0
    assert output.stat().st_mode & 0o777 == 0o600
    home = tmp_path / "home"
    (home / "tune_sr-night").mkdir(parents=True)
    for name in ("space.yaml", "study.sh"):
        (home / "tune_sr-night" / name).touch(0o644)  # of an earlier version
    for command in yaml.safe_load(deployed("cluster", "--env", "A=b"))["head_setup_commands"]:
        subprocess.run(["bash", "-c", command], env={"HOME": str(home)}, check=True)
    for name in ("space.yaml", "study.sh"):
        assert (home / "tune_sr-night" / name).stat().st_mode & 0o777 == 0o600


def test_docker_is_given_the_storage_as_one_word(deployed: Deployed, tmp_path: Path) -> None:
    odd = tmp_path / "my $(touch ran) 'runs'"
    config = yaml.safe_load(deployed("cluster", "--storage", odd, "--image", "x:1"))
    (option,) = config["docker"]["run_options"]
    given = subprocess.run(
        ["bash", "-c", f"printf '%s|' {option}"], capture_output=True, text=True, cwd=tmp_path
    ).stdout  # as Ray joins it into a line of a shell
    assert given == f"--volume={odd}:{odd}|"
    assert not (tmp_path / "ran").exists()


def test_who_has_no_name_here_is_asked_for_one_there(
    toy_space: ToySpace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    argv = ["cluster", "--space", str(toy_space()), "--storage", "/runs", "--hosts", "a"]
    assert main(argv) == 2
    assert "--user: this machine has no name for whoever runs this" in capsys.readouterr().err
    assert main([*argv, "--user", "me"]) == 0


def test_what_is_printed_is_utf_8_on_any_terminal(toy_space: ToySpace, tmp_path: Path) -> None:
    argv = ["slurm", "--space", toy_space("night"), "--storage", tmp_path / "été"]
    done = subprocess.run(
        [sys.executable, "-m", "tune_sr.deploy", *map(str, argv)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
    )
    assert done.returncode == 0 and f"--storage '{tmp_path}/été'" in done.stdout.decode("utf-8")


def test_the_nodes_share_a_secret_that_the_head_makes_once(
    deployed: Deployed, tmp_path: Path, stand_ins: Path
) -> None:
    config = yaml.safe_load(deployed("cluster", "--bin", stand_ins))
    assert (stand_ins / "ray").exists()  # else the real one would start
    head, worker = (config[f"{each}_start_ray_commands"][1] for each in ("head", "worker"))
    (first,), (second,), (third,) = (said(each, tmp_path) for each in (head, head, worker))
    assert first == second and first.startswith("ray start ") and " --head " in first
    mode, token = first.split()[-2:]
    assert (mode, third.split()[-2:]) == ("token", ["token", token])
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert (tmp_path / "my runs" / ".ray_token").stat().st_mode & 0o777 == 0o600
    assert "RAY_AUTH_TOKEN_PATH" in config["head_setup_commands"][2]  # of the driver


# --- KubeRay ----------------------------------------------------------------------------------

CONTAINER = {"name", "image", "env", "ports", "resources", "volumeMounts"}
FIELDS: dict[str, set[str]] = {  # those of ray.io/v1, KubeRay's docs/reference/api.md
    "spec": {
        "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate",
        "metadata", "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy",
        "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources",
        "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes", "suspend",
    },
    "rayClusterSpec": {
        "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations",
        "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion",
        "workerGroupSpecs", "authOptions",
    },
    "headGroupSpec": {
        "template", "headService", "enableIngress", "rayStartParams", "serviceType",
    },
    "workerGroupSpec": {
        "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds",
        "rayStartParams", "template", "scaleStrategy", "numOfHosts",
    },
}  # fmt: skip


def test_kuberay_takes_the_job(deployed: Deployed, tmp_path: Path) -> None:
    flags = ("--name", "Night_1.b", "--workers", 3, "--gpus", 2, "--env", 'A="b": c')
    study, job = yaml.safe_load_all(deployed("rayjob", *flags))
    assert (job["apiVersion"], job["kind"], study["kind"]) == ("ray.io/v1", "RayJob", "ConfigMap")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])  # DNS-1035
    cluster = job["spec"]["rayClusterSpec"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    for name, part in (("spec", job["spec"]), ("rayClusterSpec", cluster)):
        assert set(part) <= FIELDS[name]
    for name, part in (("headGroupSpec", head), ("workerGroupSpec", worker)):
        assert set(part) <= FIELDS[name]
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())
        check_pod(part["template"]["spec"], study["metadata"]["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", cluster["rayVersion"])
    assert worker["replicas"] == worker["minReplicas"] == worker["maxReplicas"] == 3
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert study["data"]["space.yaml"] == (tmp_path / "night.yaml").read_text()
    # KubeRay puts the entrypoint into a shell command as it is
    assert shlex.split(job["spec"]["entrypoint"]) == job["spec"]["entrypoint"].split()


def check_pod(pod: dict[str, Any], config_map: str) -> None:
    (container,) = pod["containers"]
    assert set(pod) == {"containers", "volumes"}
    assert set(container) <= CONTAINER
    assert {"name": "A", "value": '"b": c'} in container["env"]
    assert all(isinstance(each["value"], str) for each in container["env"])
    assert container["resources"]["requests"] == container["resources"]["limits"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == set(volumes)
    assert mounts["storage"].endswith("/my runs")
    assert volumes["storage"]["persistentVolumeClaim"] == {"claimName": "runs"}
    if "study" in volumes:
        assert volumes["study"]["configMap"] == {"name": config_map}


def test_a_cpu_cluster_asks_for_no_gpu(deployed: Deployed) -> None:
    assert "nvidia.com/gpu" not in deployed("rayjob", "--gpus", 0)
    assert "gpus-per-node" not in deployed("slurm", "--gpus", 0)


# --- scripts at work, with stand-ins for what they call ---------------------------------------

PYTHON = """#!/bin/bash
if [ "$1" = - ]; then cat > /dev/null; echo "waits for $4" >> "$LOG"; exit; fi
echo "python $*" >> "$LOG"
[ -z "$LASTS" ] && exit "$CODE"
trap 'sleep 0.3; exit 143' TERM
touch "$LOG.started"
while :; do sleep 0.05; done
"""
STAND_INS = {
    "python": PYTHON,
    "srun": '#!/bin/bash\necho "srun $*" >> "$LOG"\nexec sleep 30\n',
    "ray": '#!/bin/bash\necho "ray $* $RAY_AUTH_MODE $(cat "$RAY_AUTH_TOKEN_PATH")" >> "$LOG"\n',
    "scontrol": '#!/bin/bash\necho "scontrol $*" >> "$LOG"\n',
    "hostname": "#!/bin/bash\n[ $1 = --ip-address ] && echo 127.0.1.1 || echo fd00::2 10.1.2.3\n",
    "sleep": '#!/bin/bash\n[ "$1" = 5 ] && echo waits >> "$LOG" || exec /bin/sleep "$1"\n',
}


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def started(script: str, tmp_path: Path, **env: str) -> subprocess.Popen[bytes]:
    variables = {
        **os.environ, "LOG": str(tmp_path / "log"), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "8",
        "SLURMD_NODENAME": "n0", "CODE": "0", "LASTS": "",
    }  # fmt: skip
    (tmp_path / "log").write_text("")
    return subprocess.Popen(["bash", "-c", script], env={**variables, **env})


def said(script: str, tmp_path: Path, code: int = 0) -> list[str]:
    assert started(script, tmp_path, CODE=str(code)).wait(20) == code
    return (tmp_path / "log").read_text().splitlines()


def test_a_study_is_begun_and_then_gone_on_with(
    deployed: Deployed, tmp_path: Path, stand_ins: Path
) -> None:
    (script, *_) = scripts_of(deployed("rayjob"))
    (began,) = said(script, tmp_path)
    assert "--resume" not in began
    study = tmp_path / "my runs" / "night"
    study.mkdir(parents=True)
    (study / "ledger.jsonl").write_text('{"event": "study_st')  # a start that was cut short
    assert said(script, tmp_path) == [began]
    (study / "ledger.jsonl").write_text("{}\n")
    (study / "driver.lock").write_text("{}")
    *waits, went_on = said(script, tmp_path)
    assert went_on == f"{began} --resume"
    assert waits == ["waits"] * 12  # for a driver that was lost a moment ago
    os.utime(study / "driver.lock", (time.time() - 61,) * 2)
    assert said(script, tmp_path, code=3) == [went_on]


def test_slurm_starts_the_nodes_then_the_study(
    deployed: Deployed, tmp_path: Path, stand_ins: Path
) -> None:
    script = deployed("slurm", "--bin", stand_ins, "--workers", 3, "--gpus", 4)
    lines = said(script, tmp_path, code=1)
    called = sorted(line.split()[0] for line in lines)
    assert called == ["python", "srun", "srun", "waits", "waits"]
    head, others = sorted((line for line in lines if "srun" in line), key=len, reverse=True)
    assert "--nodelist=n0" in head and "--head" in head and "--num-gpus=4" in head
    assert " --port=20007 " in head
    assert "--nodes=2 --ntasks=2 --exclude=n0" in others and "=10.1.2.3:20007 " in others
    assert [line for line in lines if "waits" in line] == ["waits for 1", "waits for 3"]
    address = re.search(r"--address (\S+)", lines[-1])
    assert address and f"--address={address[1]} " in others
    header = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --nodes=3" in header and "#SBATCH --gpus-per-node=4" in header


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_slurm_saves_a_study_whose_time_is_up_and_queues_it_again(
    number: signal.Signals, deployed: Deployed, tmp_path: Path, stand_ins: Path
) -> None:
    script = deployed("slurm", "--bin", stand_ins)
    job = started(script, tmp_path, LASTS="yes")
    while not (tmp_path / "log.started").exists():
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(number)
    assert job.wait(20) == 143
    requeued = "scontrol requeue 7" in (tmp_path / "log").read_text()
    assert requeued == (number == signal.SIGUSR1)


def test_the_templates_are_part_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["package-data"]
    assert "deploy/templates/*" in listed["tune_sr"]


def test_the_space_that_is_deployed_is_the_one_that_was_checked(
    deployed: Deployed, tmp_path: Path
) -> None:
    study, _ = yaml.safe_load_all(deployed("rayjob"))
    (tmp_path / "there.yaml").write_text(study["data"]["space.yaml"])
    here, there = (load_space(tmp_path / f"{name}.yaml") for name in ("night", "there"))
    assert here.dimensions == there.dimensions
