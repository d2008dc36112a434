"""Expressions of a config that is to run: whether they can be read, and whether what they name is there."""

import ast
import builtins
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from monai.bundle import ReferenceResolver

from .findings import nearest
from .merged import Merged
from .signatures import accepted, components_of, locate, there

__all__ = ["expression_faults", "imported_names", "is_import", "parsed"]

_STANDING_IN = "__reference"
_GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}


def is_import(text: str) -> bool:
    """Whether an expression imports a module, as MONAI allows it.

    Args:
        text: an expression, ``$`` included.
    """
    return text[1:].lstrip().startswith(("import ", "from "))


def parsed(text: str) -> ast.Expression:
    """The syntax of an expression, with one name in place of its references.

    Args:
        text: an expression, ``$`` included.

    Raises:
        SyntaxError: it is none.
    """
    code = ReferenceResolver.id_matcher.sub(_STANDING_IN, text[1:].replace("#", "::"))
    return ast.parse(code.strip(), mode="eval")


def imported_names(merged: Merged) -> dict[str, Any]:
    """Modules and names that the expressions of a config can use, None for what cannot be imported.

    Args:
        merged: the config.
    """
    known = {name: there(path) for name, path in _GLOBALS.items()}
    for _, text in merged.nodes():
        if isinstance(text, str) and text.startswith("$") and is_import(text):
            known.update(_imported(text))
    return known | {_STANDING_IN: None}


def expression_faults(text: str, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Reasons and remedies.

    Args:
        text: an expression, ``$`` included.
        known: modules and names that it can use.
    """
    if is_import(text):
        missing = [name for name, value in _imported(text).items() if value is None]
        yield from ((f"{text[1:]} fails: there is no {name}", "install or mend it.") for name in missing)
        return
    try:
        nodes = list(ast.walk(parsed(text)))
    except SyntaxError as error:
        yield f"is no expression ({error.msg})", "mend it."
        return
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    free = {name: thing for name, thing in known.items() if name not in bound}
    for name in dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name)):
        if name not in bound:
            yield from _unknown_name(name, known)
    for chain in _chains(nodes):
        yield from _unknown_attribute(chain, free)
    for call in [node for node in nodes if isinstance(node, ast.Call)]:
        yield from _unknown_keywords(call, free)


def _unknown_name(name: str, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if name in known or hasattr(builtins, name):
        return
    remedy = nearest(name, [*known, *dir(builtins)])
    if not remedy and there(name) is not None:
        remedy = f'add "$import {name}" to imports.'
    yield f"{name} is not known in expressions", remedy or "mend it."


def _chains(nodes: list[ast.AST]) -> list[list[str]]:
    """Names with all that is taken from them by dots, the longest of each."""
    inner = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    outer = [node for node in nodes if isinstance(node, ast.Attribute) and node not in inner]
    return [chain for node in outer if (chain := _chain(node))]


def _chain(node: ast.expr) -> list[str]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _unknown_attribute(chain: list[str], known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    thing, path = known.get(chain[0]), chain[0]
    for name in chain[1:]:
        if not isinstance(thing, ModuleType):
            return
        if not hasattr(thing, name) and there(f"{thing.__name__}.{name}") is None:
            remedy = nearest(name, components_of(thing), form=f"{path}.{{}}")
            yield f"there is no {path}.{name}", remedy or f"look into {path}."
            return
        thing, path = getattr(thing, name, there(f"{thing.__name__}.{name}")), f"{path}.{name}"


def _unknown_keywords(call: ast.Call, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    chain = _chain(call.func)
    root = known.get(chain[0]) if chain else None
    if not isinstance(root, ModuleType):
        return
    component = locate(".".join([root.__name__, *chain[1:]]))[0]
    takes = accepted(component) if component is not None else None
    if takes is None or takes.is_open:
        return
    for name in [keyword.arg for keyword in call.keywords if keyword.arg]:
        if name not in takes.names:
            listed = f"it takes {', '.join(sorted(takes.names))}."
            yield f"{chain[-1]} takes no {name}", nearest(name, takes.names) or listed


def _imported(text: str) -> dict[str, Any]:
    """What an import statement of a config makes known: its first name alone, as MONAI takes it."""
    try:
        (statement,) = ast.parse(text[1:].strip()).body
    except (SyntaxError, ValueError):
        return {text[1:]: None}
    if isinstance(statement, ast.ImportFrom):
        first = statement.names[0]
        return {first.asname or first.name: there(f"{statement.module}.{first.name}")}
    if isinstance(statement, ast.Import):
        first = statement.names[0]
        return {first.asname or first.name: there(first.name)}
    return {}
