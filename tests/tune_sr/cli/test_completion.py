"""A shell completes commands, flags, words and files of every command as its parser has them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tune_sr.cli.completion import SHELLS, flags_of, script
from tune_sr.console import COMMANDS, _parsers, main


@cache
def made(shell: str) -> str:
    return script(shell, "tune-sr", {**_parsers(), "completion": None})


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of `words`; `default` and `dirnames` are its own words."""
    line = " ".join(f'"{word}"' for word in ("tune-sr", *words))
    program = f"""
compopt() {{ COMPREPLY+=("<$2>"); }}
{made("bash")}
COMP_WORDS=({line}); COMP_CWORD={len(words)}
_tune_sr
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-u", "-c", program], capture_output=True, text=True, cwd=folder, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_of_every_parser_is_there(shell: str) -> None:
    text = made(shell)
    for name, parser in _parsers().items():
        assert name in text
        for flag in flags_of(parser):
            for option in flag.names:
                shown = f"-l {option[2:]} " if shell == "fish" and option[:2] == "--" else option
                assert shown in text, (name, option)
            assert " ".join(flag.choices) in text


def test_bash_completes_commands_flags_words_and_files(tmp_path: Path) -> None:
    assert completed(tmp_path, "ex") == ["export"]
    assert completed(tmp_path, "") == [*COMMANDS, "completion"]
    assert completed(tmp_path, "search", "--conf") == ["--confirm"]
    assert completed(tmp_path, "export", "--format", "o") == ["onnx", "optuna-journal"]
    assert completed(tmp_path, "export", "x", "--scale", "") == ["2", "3", "4"]
    assert completed(tmp_path, "search", "--space", "") == ["<default>"], "a file"
    assert completed(tmp_path, "search", "--storage", "") == ["<dirnames>"], "a folder"
    assert completed(tmp_path, "search", "--trials", "") == [], "a number"
    assert completed(tmp_path, "search", "--resume", "--dr") == ["--dry-run"]
    assert completed(tmp_path, "search", "--name", "--dr") == ["--dry-run"]
    assert completed(tmp_path, "report", "") == ["<dirnames>"]
    assert completed(tmp_path, "upscale", "photo") == ["<default>"]
    assert completed(tmp_path, "deploy", "s") == ["slurm"]
    assert completed(tmp_path, "completion", "z") == ["zsh"]
    assert completed(tmp_path, "nothing", "") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_reads_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script is NOT read")
    (tmp_path / "script").write_text(made(shell))
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_every_command_is_reached_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: python -m tune_sr.{name}" in capsys.readouterr().out


def test_what_is_no_command_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serch"]) == main(["completion", "csh"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "tune-sr: serch: no command; there are search, train" in said.err
    assert main([]) == main(["--help"]) == main(["completion", "--help"]) == 0
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("complete -F _tune_sr tune-sr")
