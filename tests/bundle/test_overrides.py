"""The command line of a run, read as MONAI reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from fire import Fire
from monai.bundle.scripts import run

from segadv_monai.bundle.overrides import read_command

LINES = [
    ["training", "--config_file", "a.json", "--epochs", "5"],
    ["training", "--config_file=a.json", "--epochs=5"],
    ["--run_id", "evaluating", "--config-file", "a.json", "--learning-rate", "1e-3"],
    ["--config_file", "['a.json','b.json']", "--window", "[48,48,48]", "--steps#1", "-5"],
    ["--config_file", "a.json", "--amp", "--device", "cpu"],
    ["--config_file", "a.json", "--noamp"],
    ["training", "prepare", "--config_file", "a.json", "--name", "no", "--text", "a b", "-x", "3"],
    ["--config_file", "a.json", "--settings", "{a: 1, b: [c]}", "--", "--verbose"],
    ["--logging_file", "False", "--meta_file", "m.json", "--config_file", "a.json", "--x::y", "'5'"],
]


@pytest.mark.parametrize("words", LINES)
def test_a_command_line_means_what_monai_takes_it_for(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "monai.bundle.scripts.create_workflow", lambda **kwargs: given.update(kwargs) or Stub()
    )
    Fire(run, command=words)
    capsys.readouterr()
    command = read_command(words)
    assert {**command.options, **command.overrides} == {k: v for k, v in given.items() if v is not None}
    assert list(command.config_files) == (["a.json", "b.json"] if "b.json" in str(words) else ["a.json"])
    assert command.findings == ()


class Stub:
    def run(self) -> None: ...

    def finalize(self) -> None: ...


def test_several_files_can_have_commas_between_them() -> None:
    assert read_command(["--config_file", "a.json,b.json"]).config_files == ("a.json", "b.json")


def test_a_stored_list_of_arguments_gives_way_to_the_command_line(tmp_path: Path) -> None:
    stored = tmp_path / "arguments.json"
    content = {"config_file": "a.json", "epochs": 1, "batch_size": 2, "settings": {"a": 1, "b": 2}}
    stored.write_text(json.dumps(content))
    command = read_command(["--args_file", str(stored), "--epochs", "5", "--settings", "{a: 3}"])
    assert command.config_files == ("a.json",)
    assert command.overrides == {"epochs": 5, "batch_size": 2, "settings": {"a": 3, "b": 2}}
    assert command.sources["epochs"] == "command line"
    assert command.sources["batch_size"] == str(stored)


def test_a_stored_null_is_a_setting_and_one_of_the_command_line_is_none(tmp_path: Path) -> None:
    stored = tmp_path / "arguments.json"
    stored.write_text(json.dumps({"config_file": "a.json", "critic": None, "+initialize": []}))
    command = read_command(["--args_file", str(stored), "--objective", "None"])
    assert command.overrides == {"critic": None}
    lines = [str(finding) for finding in command.findings]
    assert len(lines) == 2
    assert lines[0].startswith("command line: --objective: MONAI drops a None")
    assert lines[1].startswith(f"{stored}: --+initialize: as a setting + replaces")


def test_a_stored_list_that_is_not_there_is_found() -> None:
    (found,) = read_command(["--args_file", "nowhere.json"]).findings
    assert str(found) == "nowhere.json: cannot be read (No such file or directory), look at the path."
