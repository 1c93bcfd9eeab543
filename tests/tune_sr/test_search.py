from __future__ import annotations

import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from events import driver_started, study_started

from trainables.errors import EnvironmentFault
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from tune_sr import search, train
from tune_sr.ledger.ledger import Ledger
from tune_sr.storage.lock import DriverLock
from tune_sr.study.space_file import load_study, to_resolved

ROOT = Path(__file__).parents[2]
ToySpace = Callable[..., Path]
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """`refused("--space", file)`: the one line with which it is refused; nothing was written."""

    def ask(*words: Any, command: Callable[[list[str]], int] = search.main) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        try:
            code = command([str(word) for word in words])
        except SystemExit as left:  # argparse leaves by itself
            code = int(left.code or 0)
        told = capsys.readouterr()
        assert code == 2, told
        assert told.out == "" and told.err.count("\n") == 1, told
        assert sorted(tmp_path.rglob("*")) == before
        return told.err.strip()

    return ask


def line_of(path: Path, word: str) -> int:
    """The line of a file on which a word stands first."""
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if word in line)


SMALL = {"name": "vdsr", "features": 8, "blocks": 6}


@pytest.mark.parametrize(
    ("changes", "word", "path", "rule"),
    [
        ({"fixed": {"learner": 1}}, "learner", "learner", "unknown key; .*has seed, method"),
        ({"fixed": {"optimiser": {"lr_": 1.0}}}, "lr_", "optimiser.lr_", "did you mean lr"),
        ({"fixed": {"batch": {"images": "two"}}}, "two", "batch.images", "integer"),
        ({"fixed": {"data": {"images": "photos"}}}, "photos", "data", "data-free"),
        ({"search": {"method.w_R": {"uniform": [3.0, 3.0]}}}, "w_R", "method.w_R", "empty"),
        ({"search": {"optimiser.lr": {"loguniform": [0, 1]}}}, "lr:", "optimiser.lr", "above 0"),
        ({"search": {"method.w_Q": {"uniform": [0, 1]}}}, "w_Q", "method.w_Q", "unknown key"),
        ({"first": [{"method.w_R": 1.0}]}, "first", "method.P", "missing"),
        ({"study": {"searcher": "sobol"}}, "sobol", "study.searcher", "known: tpe, gp,"),
        (
            {"study": {"prior": {"confidence": "sure"}}},
            "sure",
            "study.prior.confidence",
            "'medium'",
        ),
        ({"study": {"scheduler": "bohb"}}, "bohb", "study.scheduler.name", "known: asha, hyperb"),
        ({"study": {"trials": 0}}, "trials", "study.trials", "greater than or equal to 1"),
        (
            {"study": {"scheduler": {"name": "asha", "grace_period": 2}}},
            "grace_period",
            "study.scheduler.grace_period",
            "2 reports .*at least 3 reports",
        ),
        (
            {"fixed": {"student": {**SMALL, "scales": [2, 3]}}},
            "student",
            "teacher.scales",
            r"\[2\] differ from student.scales \[2, 3\]",
        ),
    ],
)
def test_a_mistake_in_a_space_is_told_with_its_line_and_path(
    toy_space: ToySpace,
    refused: Refused,
    changes: dict[str, Any],
    word: str,
    path: str,
    rule: str,
) -> None:
    space = toy_space(**changes)
    told = refused("--space", space)
    place = re.search(rf"{re.escape(str(space))}:(\d+): {re.escape(path)}: .*{rule}", told)
    assert place, told
    if path not in ("teacher.scales", "method.P"):  # which are about two places, or none
        assert int(place[1]) == line_of(space, word)


# --- images and weights -------------------------------------------------------------------------


def with_images(toy_space: ToySpace, folder: Path, crop: int | None = None) -> Path:
    return toy_space(fixed={"heldout": {"images": str(folder), "crop": crop}})


def test_images_that_cannot_be_used_are_named(
    toy_space: ToySpace, toy_folder: Path, tmp_path: Path, refused: Refused
) -> None:
    assert "absent" in refused("--space", with_images(toy_space, tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("--space", with_images(toy_space, tmp_path / "empty"))
    (tmp_path / "cut").mkdir()
    whole = (toy_folder / "images" / "a.png").read_bytes()
    (tmp_path / "cut" / "half.png").write_bytes(whole[: len(whole) // 2])
    assert "half.png" in refused("--space", with_images(toy_space, tmp_path / "cut"))
    told = refused("--space", with_images(toy_space, toy_folder / "images", crop=48))
    assert "a.png is 32x32" in told and "crop 48" in told


def with_weights(toy_space: ToySpace, path: Path) -> Path:
    teacher = {**SMALL, "scales": [2], "weights": str(path)}
    return toy_space(fixed={"teacher": teacher})


def test_weights_that_do_not_fit_are_refused_by_what_is_missing(
    toy_space: ToySpace, tmp_path: Path, refused: Refused
) -> None:
    other = tmp_path / "deeper.safetensors"
    save_network(other, build_network({**SMALL, "blocks": 7, "scales": [2]}))
    space = with_weights(toy_space, other)
    told = refused("--space", space)
    assert f"{space}:{line_of(space, 'weights')}: teacher.weights: " in told
    assert "unexpected body.6.conv.weight" in told or "residual_layer.6" in told, told

    wider = tmp_path / "wider.safetensors"
    save_network(wider, build_network({**SMALL, "features": 9, "scales": [2]}))
    assert "where (8, 1, 3, 3) is needed" in refused("--space", with_weights(toy_space, wider))
    absent = refused("--space", with_weights(toy_space, tmp_path / "absent.pth"))
    assert "no such file" in absent


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(__file__).with_name("evil"),)


def test_a_pickle_is_refused_and_never_run(
    toy_space: ToySpace, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    assert "evil.pth: not a file of plain tensors" in refused(
        "--space", with_weights(toy_space, tmp_path / "evil.pth")
    )
    assert not Path(__file__).with_name("evil").exists()


# --- the command line ---------------------------------------------------------------------------


def test_flags_that_make_no_sense(toy_space: ToySpace, tmp_path: Path, refused: Refused) -> None:
    space = toy_space()
    assert "no such file" in refused("--space", tmp_path / "absent.yaml")
    assert "--space FILE" in refused("--trials", 3)
    assert "unrecognized arguments: --nodes 1" in refused("--space", space, "--nodes", 1)
    assert "invalid int value: 'many'" in refused("--space", space, "--trials", "many")
    told = refused("--space", space, "--gpus-per-trial", "half")
    assert "--gpus-per-trial: takes a number, or auto; got 'half'" in told
    assert "--trials 0" in refused("--space", space, "--trials", 0)
    assert "--concurrent 0" in refused("--space", space, "--concurrent", 0)
    assert "--hours -1" in refused("--space", space, "--hours", -1)
    for kind in ("cpus", "gpus"):
        told = refused("--space", space, f"--{kind}-per-trial", 4096)
        assert f"--{kind}-per-trial 4096: this machine has" in told
        assert f"{kind[0].upper()}PUs; no trial could start" in told
    assert "a part of one GPU" in refused("--space", space, "--gpus-per-trial", 1.5)
    assert "say --gpus-per-trial as well" in refused("--space", space, "--gpu-hours", 5)
    assert "takes PATH=VALUE" in refused("--space", space, "--set", "budget.steps")
    assert "--set budget.stepz=3: budget.stepz: unknown key" in refused(
        "--space", space, "--set", "budget.stepz=3"
    )
    assert "database or behind a server" in refused("--space", space, "--tracking-uri", "./mlruns")
    assert "no study to resume" in refused("--resume", "--name", "x", "--storage", tmp_path)


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "http://head:8265", ":6379"])
def test_an_address_that_no_driver_can_join(
    address: str, toy_space: ToySpace, refused: Refused
) -> None:
    told = refused("--space", toy_space(), "--address", address)
    assert f"--address {address}: HOST:PORT of a cluster's head" in told


@pytest.mark.parametrize("command", [["--dry-run"], ["--quiet"]])
def test_an_address_where_nothing_answers(
    command: list[str], toy_space: ToySpace, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # the suite's may be running
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody else's; closed again when it is asked
    told = refused("--space", toy_space(), "--address", f"127.0.0.1:{port}", *command)
    assert f"--address 127.0.0.1:{port}: no cluster answers there" in told


def test_in_a_job_a_study_does_not_go_with_its_folder(
    toy_space: ToySpace, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    space = toy_space(study={"storage": "runs"})
    for told in (
        refused("--space", space),
        refused("--space", space, "--resume"),
        refused("--space", toy_space(), "--storage", "runs"),
        refused("--resume", "--name", "toy"),
    ):
        assert "--storage runs: not absolute; a job's own folder goes with it" in told


def test_a_storage_below_home_is_there_however_it_is_said(
    toy_space: ToySpace, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rule = f"{tmp_path}/here/toy: no study to resume here"
    assert rule in refused("--space", toy_space(study={"storage": "~/here"}), "--resume")
    assert rule in refused("--resume", "--name", "toy", "--storage", "~/here")


def begun(space: Path, storage: Path, name: str = "toy", lacking: Sequence[str] = ()) -> Path:
    """The folder of a study that a driver has begun; an older one, that had no keys `lacking`."""
    loaded, settings = load_study(space)
    settings = settings.with_overrides({"name": name, "storage": str(storage)}, loaded)
    folder = storage / name
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.jsonl")
    marks = {"bicubic": {"psnr_y_db": 30.0, "ssim": 0.9}, "teacher": None}
    resolved = to_resolved(loaded, settings)
    for key in lacking:
        del resolved["study"][key]
    ledger.append(study_started(resolved, name=name, identity="1", marks=marks))
    ledger.append(driver_started(study=resolved["study"]))
    return folder


def test_a_name_in_use_has_two_ways_out(toy_space: ToySpace, refused: Refused) -> None:
    space = toy_space()
    begun(space, space.parent / "runs")
    told = refused("--space", space)
    assert "--resume" in told and "--name" in told


def test_a_changed_space_is_refused_with_the_difference(
    toy_space: ToySpace, refused: Refused
) -> None:
    begun(toy_space(), toy_space().parent / "runs")
    changed = toy_space(search={"method.w_R": {"uniform": [0.0, 4.0]}})
    told = refused("--space", changed, "--resume")
    assert "search.method.w_R.uniform was [0.0, 3.0] and is [0.0, 4.0]" in told
    told = refused("--space", toy_space(), "--resume", "--set", "batch.images=3")
    assert "fixed.batch.images was 2 and is 3" in told
    assert "study.seed was 0 and is 5" in refused("--resume", "--name", "toy", "--seed", 5,
                                                 "--storage", changed.parent / "runs")  # fmt: skip


def test_a_study_is_not_shortened(toy_space: ToySpace, refused: Refused) -> None:
    space = toy_space()
    begun(space, space.parent / "runs")
    assert "has 6 already" in refused("--space", space, "--resume", "--trials", 5)


def test_a_study_from_before_gpus_were_counted_is_resumed(
    toy_space: ToySpace, refused: Refused
) -> None:
    space = toy_space()
    begun(space, space.parent / "runs", lacking=("gpu_hours", "gpus_per_trial"))
    more = ["--gpu-hours", 1, "--gpus-per-trial", 4096]
    assert "4096: this machine has" in refused("--space", space, "--resume", *more)


def test_a_second_driver_is_refused_by_host_and_pid_of_the_first(
    toy_space: ToySpace, refused: Refused
) -> None:
    space = toy_space()
    folder = begun(space, space.parent / "runs")
    with DriverLock(folder / "driver.lock"):
        assert "another driver works on this study (pid " in refused("--space", space, "--resume")


def test_how_to_go_on_is_told_at_the_start_since_not_every_end_can_tell_it(
    toy_space: ToySpace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends this process when its GCS or raylet dies."""

    def lost(*_: Any, on_locked: Callable[[], None], **__: Any) -> None:
        on_locked()
        raise EnvironmentFault("trial 0000 could not begin")

    monkeypatch.setattr("tune_sr.driver.run_study.run_study", lost)
    space = toy_space()
    assert search.main(["--space", str(space)]) == 1
    told = capsys.readouterr()
    storage = space.parent / "runs"
    command = f"to go on: {search.PROG} --resume --name toy --storage {storage}"
    assert command in told.out.splitlines()[1]
    assert told.err == f"{search.PROG}: the study stopped: trial 0000 could not begin; {command}\n"


def test_dry_run_shows_the_plan_and_leaves_nothing(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = toy_space()
    before = sorted(tmp_path.rglob("*"))
    assert search.main(["--space", str(space), "--dry-run", "--trials", "5"]) == 0
    told = capsys.readouterr()
    assert "trials: 5" in told.out and told.err == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("module", ["search", "train"])
def test_help_and_refusals_import_nothing_heavy(module: str, tmp_path: Path) -> None:
    code = (
        f"import sys; from tune_sr.{module} import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'skimage', 'matplotlib', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    def loaded(*words: Any) -> str:
        command = [sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert loaded("--help") == "[]"
    assert loaded("--nonsense") == "[]"
    (tmp_path / "torn.yaml").write_text("fixed: [")
    for name in ("absent.yaml", "torn.yaml"):
        assert loaded("--space", tmp_path / name) == "[]"


# --- train --------------------------------------------------------------------------------------


def test_train_makes_a_student_and_will_not_overwrite_it(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    words = ["--space", str(toy_space()), "--output", str(tmp_path / "out"), "--quiet"]
    words += ["--set", "threads=1"]
    assert train.main(words) == 0
    assert "over bicubic" in capsys.readouterr().out
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {
        "student.safetensors",
        "config.yaml",
        "panel.png",
        "reports.jsonl",
        "checkpoints",
    }
    told = refused(*words, command=train.main)
    assert "--resume" in told and "--output" in told
    told = refused(*words, "--resume", "--set", "optimiser.lr=0.5", command=train.main)
    assert "was begun with optimiser.lr 0.01, and now it is 0.5" in told
    reports = (tmp_path / "out" / "reports.jsonl").read_bytes()
    assert train.main([*words, "--resume"]) == 0  # nothing left to do: the same student again
    assert (tmp_path / "out" / "reports.jsonl").read_bytes() == reports


def test_train_takes_a_best_configuration_and_a_point(
    toy_space: ToySpace, tmp_path: Path, refused: Refused
) -> None:
    space = toy_space()
    words = ["--space", str(space), "--set", "threads=1", "--quiet", "--output"]
    assert train.main([*words, str(tmp_path / "a"), "--seed", "3"]) == 0
    best = tmp_path / "a" / "config.yaml"
    assert train.main([*words[:2], *words[4:], str(tmp_path / "b"), "--point", str(best)]) == 0
    assert best.read_text() == (tmp_path / "b" / "config.yaml").read_text()
    point = tmp_path / "point.yaml"
    for said, rule in (
        ("{method.w_R: 0.5, method.P: 3, optimiser.lr: 0.01}", "method.P: 3 is not one of 1, 2"),
        ("{method.w_R: 0.5, method.P: 1}", "optimiser.lr: missing"),
        ("{method.w_R: 0.5, method.P: 1, optimiser.lr: 0.01, ema: 1}", "ema: is not searched"),
    ):
        point.write_text(said)
        told = refused(*words, tmp_path / "c", "--point", point, command=train.main)
        assert f"{point}: {rule}" in told
