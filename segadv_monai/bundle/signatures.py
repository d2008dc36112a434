"""What the targets of a config accept: whether they are there, their arguments, and plain kinds of values."""

import ast
import inspect
import pkgutil
import pydoc
import textwrap
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from monai.bundle import ComponentLocator

from .findings import closest, nearest

__all__ = ["Accepted", "accepted", "components_of", "locate", "there"]

_ROOTS = ("ignite", "monai", "segadv_monai", "torch")


@dataclass(frozen=True)
class Accepted:
    """Arguments of a class or function that a config can give by name.

    Args:
        names: of all of them.
        required: of those without a default value.
        unreachable: required, but only by position.
        is_open: other names are accepted too.
        hints: annotated kinds by name, where they can be resolved.
    """

    names: frozenset[str]
    required: tuple[str, ...]
    unreachable: tuple[str, ...]
    is_open: bool
    hints: dict[str, Any]


@cache
def locate(target: str) -> tuple[Any, str, str]:
    """The class or function of that name, or None with the reason and a remedy; what it lies in is imported.

    Args:
        target: a dotted path, or a name of MONAI's.
    """
    path = target if "." in target else _in_monai(target)
    try:
        component = pydoc.locate(path)
    except pydoc.ErrorDuringImport as error:
        return None, f"importing {path} fails ({error.value})", "mend or install it."
    if component is None:
        mended = _mended(path.split("."))
        return None, f"there is no {target}", f"did you mean {mended}?" if mended else _look(path)
    if isinstance(component, ModuleType) or not callable(component):
        kind = "a module" if isinstance(component, ModuleType) else f"a {type(component).__name__}"
        return None, f"{target} is {kind}", nearest(target.rpartition(".")[2], components_of(component))
    return component, "", ""


@cache
def there(path: str) -> Any:
    """The module, class, function or value of that path, or None; what it lies in is imported.

    Args:
        path: dotted.
    """
    try:
        return pydoc.locate(path)
    except pydoc.ErrorDuringImport:
        return None


def components_of(thing: Any) -> list[str]:
    """Public names in a module or class, submodules that are not imported yet included.

    Args:
        thing: a module or class.
    """
    names = [name for name in dir(thing) if not name.startswith("_")]
    return names + [module.name for module in pkgutil.iter_modules(getattr(thing, "__path__", ()))]


@cache
def accepted(component: Callable[..., Any]) -> Accepted | None:
    """Its arguments, or None of what has no signature.

    Args:
        component: a class or function.
    """
    try:
        parameters = inspect.signature(component).parameters.values()
    except (ValueError, TypeError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {p.name: p for p in parameters if p.kind in kinds}
    by_position = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    names: frozenset[str] | None = frozenset(named)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        passed_on = _names_along_init(component) if inspect.isclass(component) else None
        names = None if passed_on is None else frozenset(passed_on) | frozenset(named)
    return Accepted(
        names=frozenset(named) if names is None else names,
        required=tuple(name for name, p in named.items() if p.default is inspect.Parameter.empty),
        unreachable=tuple(p.name for p in by_position if p.default is inspect.Parameter.empty),
        is_open=names is None,
        hints=_hints(component),
    )


def _in_monai(name: str) -> str:
    module = _locator().get_component_module_name(name)
    first = module[0] if isinstance(module, list) else module
    return f"{first}.{name}" if first else name


@cache
def _locator() -> ComponentLocator:
    return ComponentLocator()


def _mended(parts: list[str]) -> str:
    """The path with its wrong parts replaced by the most similar ones, as long as there are any."""
    for depth in range(len(parts)):
        if there(".".join(parts[: depth + 1])):
            continue
        names = components_of(there(".".join(parts[:depth]))) if depth else _ROOTS
        guess = closest(parts[depth], names)
        return _mended([*parts[:depth], guess, *parts[depth + 1 :]]) if guess else ""
    return ".".join(parts)


def _look(path: str) -> str:
    module, _, name = path.rpartition(".")
    return f"look into {module}." if module and there(module) else f"look for where {name} is."


def _names_along_init(cls: type) -> set[str] | None:
    """What a class accepts that hands its open arguments to its parents; None if it does anything else."""
    names: set[str] = set()
    for owner in cls.__mro__:
        init = vars(owner).get("__init__")
        if init is None or owner is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} - {"self"}
        rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            return names
        mentioned = _mentioned_if_passed_on(init, rest)
        if mentioned is None:
            return None
        names |= mentioned
    return None


def _mentioned_if_passed_on(init: Callable[..., Any], rest: str) -> set[str] | None:
    """Names in a constructor whose open arguments go to ``super().__init__`` and nowhere else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None
    spreads = _calls_with(tree, rest)
    if len(spreads) != 1 or ast.unparse(spreads[0].func) != "super().__init__":
        return None
    fine = (ast.Attribute, ast.Subscript, ast.Compare, ast.keyword)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == rest]
    if not all(isinstance(parents[node], fine) for node in uses):
        return None
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {value for value in constants if isinstance(value, str) and value.isidentifier()}


def _calls_with(tree: ast.AST, rest: str) -> list[ast.Call]:
    def spreads(keywords: Iterable[ast.keyword]) -> bool:
        return any(
            word.arg is None and isinstance(word.value, ast.Name) and word.value.id == rest
            for word in keywords
        )

    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and spreads(node.keywords)]


def _hints(component: Callable[..., Any]) -> dict[str, Any]:
    function: Any = component.__init__ if inspect.isclass(component) else component
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
