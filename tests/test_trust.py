"""Every promise of docs/trust.md is kept by a test that names it, and every test keeps one that is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def promises() -> list[str]:
    return re.findall(r"^\| ([RNBDS]\d+) \|", (ROOT / "docs" / "trust.md").read_text(), flags=re.MULTILINE)


def kept() -> set[str]:
    """Identifiers that stand behind "Keeps" in the docstring of a test."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for sentence in re.findall(r"Keeps ([^.]+)\.", ast.get_docstring(node) or ""):
                    found.update(re.findall(r"\b[RNBDS]\d+\b", sentence))
    return found


def test_no_promise_has_two_lines() -> None:
    assert len(promises()) == len(set(promises()))


def test_every_promise_is_kept_by_a_test_and_every_test_keeps_a_promise() -> None:
    assert set(promises()) == kept()
