"""The command: verbs, usage errors, ways to start it."""

import pydoc
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

from segadv_monai.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [[], ["chekk"], ["check"], ["check", "nowhere"], ["check", "--schema"]])
def test_a_command_that_cannot_be_understood_gets_one_line_and_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Keeps B16."""
    try:
        code: object = main(words)
    except SystemExit as end:
        code = end.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_the_command_and_the_module_are_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert pydoc.locate(scripts["segadv_monai"].replace(":", ".")) is main
    monkeypatch.setattr(sys, "argv", ["segadv_monai", "check", "nowhere"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "segadv_monai" / "__main__.py"), run_name="__main__")
    line = "error: nowhere is not there: give folders of bundles, or config files.\n"
    assert capsys.readouterr().err == line
