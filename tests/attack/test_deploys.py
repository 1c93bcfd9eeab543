"""Attempts on what is deployed: no word of it becomes a command, another word, or another file."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from attempts import Attempt, Promise, Ran, done, refused, run_command, unique
from spaces import space_in

from tune_sr import search
from tune_sr.deploy.__main__ import main

NEEDED = {
    "rayjob": ["--image", "registry/x:1", "--claim", "runs"],
    "cluster": ["--hosts", "gpu0", "gpu1", "--user", "me"],
    "slurm": [],
}
ODD = {
    "a single quote": "it's", "a double quote": 'a"b', "both quotes": "'\"'", "a blank": "a b",
    "blanks around": " a ", "$()": "$(touch ran)", "a variable": "$HOME",
    "backticks": "`touch ran`",
    "a semicolon": "a;touch ran", "an ampersand": "a&touch ran", "a pipe": "a|touch ran",
    "a redirection": "a>ran", "a comment": "a #b", "a place": "@{script}", "a backslash": "a\\nb",
    "YAML": "{a: [b]}: - c", "a percent sign": "%s%d", "é": "é☃", "a tilde": "~root/*?",
}  # fmt: skip
"""What attack.md tried, and more: one of them each as storage, variable, folder, word."""
CONTROL = {
    "a newline": "a\nb",
    "ESC": "a\x1b[2J",
    "a NUL": "a\x00b",
    "DEL": "a\x7fb",
    "NEL": "a\x85b",
}
CONTROL |= {"a line separator": "a\u2028b", "a surrogate": "a\udce9b", "a return": "a\rb"}


def deploy(kind: str, *words: str, study: dict[str, Any] | None = None) -> Callable[[Path], Ran]:
    def act(folder: Path) -> Ran:
        storage = [] if "--storage" in words else ["--storage", "/runs"]
        given = [kind, "--space", space_in(folder, **(study or {})), *NEEDED[kind], *storage]
        filled = [word.replace("{folder}", str(folder)) for word in words]
        return run_command(main, *given, *filled)

    return act


def scripts(shown: str) -> list[str]:
    """Every text of a deployed file that a shell reads, as it would be handed to it."""
    if shown.startswith("#!"):
        return [shown]
    found = []
    for document in yaml.safe_load_all(shown):
        found += [document["data"]["study.sh"]] if document.get("kind") == "ConfigMap" else []
        found += [each for key in document if key.endswith("_commands") for each in document[key]]
    return found


def study_script(shown: str) -> str:
    """The script that begins the study, as its node has it."""
    (script,) = (each for each in scripts(shown) if "exec python -m tune_sr.search" in each)
    if "printf %s" in script:  # a command that writes it there
        words = shlex.split(script)
        return words[words.index("%s") + 1]
    return script


def searched(shown: str) -> list[str]:
    """The words after the module of the search that the file starts."""
    lines = study_script(shown).splitlines()
    (line,) = (line for line in lines if "exec python -m tune_sr.search" in line)
    return shlex.split(line)[4:-1]


def sound(*held: Callable[[str], object]) -> Promise:
    """Every script is one of bash, and these hold of the file; nothing was run."""

    def check(shown: str) -> bool:
        for script in scripts(shown):
            told = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
            assert told.returncode == 0, told.stderr
        return all(each(shown) for each in held)

    return done(check)


def storage_is(value: str) -> Callable[[str], object]:
    return lambda shown: str(search.parse_arguments(searched(shown)).storage) == value


def experiment_is(value: str) -> Callable[[str], object]:
    said = f"study.experiment={value}"
    return lambda shown: search.parse_arguments(searched(shown)).overrides == [said]


def exports(name: str, value: str) -> Callable[[str], object]:
    """Whether some script sets a variable to exactly that; of a RayJob, Kubernetes does."""

    def check(shown: str) -> bool:
        if "kind: RayJob" in shown:
            _, job = yaml.safe_load_all(shown)
            pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
            return {"name": name, "value": value} in pod["containers"][0]["env"]
        (line,) = (each for each in study_script(shown).split("\n") if f"export {name}=" in each)
        given = [line]
        if "worker_start_ray_commands" in shown:
            command = yaml.safe_load(shown)["worker_start_ray_commands"][1]
            given.append(command.partition("ulimit")[0])
        return all(_value(each, name) == value for each in given)

    return check


def _value(commands: str, name: str) -> str:
    shell = ["bash", "-c", f'{commands}\nprintf %s "${name}"']
    return subprocess.run(shell, capture_output=True, text=True, check=True).stdout


def writes_the_space(folder: Path) -> Ran:
    """Has a shell run what the head is told, in a home of its own."""
    home = folder / "home"
    home.mkdir()
    for end in ("END_OF_SPACE", "END_OF_SCRIPT", "'", "EOF", "$(touch ran)", "`touch ran`"):
        space = _with_experiment(space_in(folder), f"a\n{end}\ntouch ran; exit #\n  b")
        text = space.read_text()
        ran = run_command(
            main, "cluster", "--space", space, "--storage", "/runs", *NEEDED["cluster"]
        )
        assert ran.code == 0, ran.err
        for command in yaml.safe_load(ran.out)["head_setup_commands"]:
            environment = {**os.environ, "HOME": str(home)}
            subprocess.run(["bash", "-c", command], env=environment, cwd=home, check=True)
        assert [path.name for path in home.iterdir()] == ["tune_sr-toy"]
        assert (home / "tune_sr-toy" / "space.yaml").read_text() == text
    return Ran(0)


ATTEMPTS = unique(
    [
        *(
            Attempt(f"{kind}: {name} in {flag}", deploy(kind, *words), sound(*held))
            for kind in NEEDED
            for name, value in ODD.items()
            for flag, words, held in (
                ("--storage", ["--storage", f"/{value}"], [storage_is(f"/{value}")]),
                ("--env", ["--env", f"A={value}"], [exports("A", value)]),
                (
                    "a word behind --",
                    ["--", "--set", f"study.experiment={value}"],
                    [experiment_is(value)]
                    if not value.startswith(("{", "%", "@", "`", "'"))
                    else [],
                ),
            )
            if not (flag.startswith("a word") and value[0] in "{%@`'")  # no value of YAML
        ),
        *(
            Attempt(f"{kind}: {name} in --bin", deploy(kind, "--bin", f"/{value}"), sound())
            for kind in ("cluster", "slurm")
            for name, value in ODD.items()
        ),
        *(
            Attempt(f"{kind}: {name} in {flag}", deploy(kind, flag, value), refused(flag))
            for kind, flag in (("rayjob", "--image"), ("cluster", "--image"), ("cluster", "--user"))
            for name, value in ODD.items()
        ),
        *(
            Attempt(
                f"cluster: {name} in --hosts", deploy("cluster", "--hosts", "a", value), refused()
            )
            for name, value in ODD.items()
        ),
        *(
            Attempt(f"{kind}: {name} in {flag}", deploy(kind, *words), refused())
            for kind in ("slurm", "cluster")
            for name, value in CONTROL.items()
            for flag, words in (
                ("--storage", ["--storage", f"/{value}"]),
                ("--env", ["--env", f"A={value}"]),
                ("--name", ["--name", value]),
                ("a word behind --", ["--", "--set", f"study.experiment={value}"]),
            )
        ),
        *(
            Attempt(f"{kind}: {' '.join(words)!r} behind --", deploy(kind, "--", *words), refused())
            for kind in ("slurm",)
            for words in (
                ["--space", "x"],
                ["--space=x"],
                ["--sp", "x"],
                ["--spa=x"],
                ["--space", "."],
                ["--space="],
                ["--name", "x"],
                ["--name="],
                ["--nam", "x"],
                ["--storage", "x"],
                ["--resume"],
                ["--address", "x:1"],
                ["--address="],
                ["--dry-run"],
                ["x"],
                ["--", "--space", "x"],
                ["--trials", "0"],
                ["--set", "study=1"],
                ["--set", "x"],
            )
        ),
        Attempt("a space that ends itself", writes_the_space, done(), seconds=20),
        Attempt(
            "a user who is an option",
            deploy("cluster", "--user=-oProxyCommand=x"),
            refused("--user"),
        ),
        Attempt(
            "a host that is an option", deploy("cluster", "--hosts", "a", "--", "-oX"), refused()
        ),
        Attempt(
            "docker: a colon in --storage",
            deploy("cluster", "--storage", "/a:b", "--image", "x"),
            refused("colon"),
        ),
        Attempt(
            "a control character in the space",
            lambda folder: run_command(
                main,
                "slurm",
                "--space",
                _with_experiment(space_in(folder), "a\u2028 b"),
                "--storage",
                "/runs",
            ),
            refused("U+2028"),
        ),
        Attempt(
            "a storage that is not absolute", deploy("slurm", "--storage", "x"), refused("absolute")
        ),
        Attempt(
            "an output that is there",
            deploy("slurm", "--output", "{folder}/toy.yaml"),
            refused("file exists"),
        ),
        Attempt(
            "an output that is a folder", deploy("slurm", "--output", "{folder}"), refused("exists")
        ),
        Attempt("a variable without a name", deploy("slurm", "--env", "=x"), refused("NAME=VALUE")),
        Attempt(
            "a variable that is a command", deploy("slurm", "--env", "A;x=1"), refused("NAME=VALUE")
        ),
        Attempt(
            "a time that is a command", deploy("slurm", "--time", "1;x"), refused("D-HH:MM:SS")
        ),
        Attempt("a name too long for KubeRay", deploy("rayjob", "--name", "n" * 48), refused("47")),
    ]
)


def _with_experiment(space: Path, words: str) -> Path:
    """The space with these words in quotes, as they stand."""
    before = space.read_text()
    space.write_text(before.replace("study: {", f'study: {{experiment: "{words}", '))
    assert space.read_text() != before
    return space


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attempt.check(tmp_path)
    assert not list(tmp_path.rglob("ran"))
