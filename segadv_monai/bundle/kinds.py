"""Whether a plain value of a config can be what an annotation asks for."""

import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["fits", "named"]

_NUMBERS = (bool, int, float)


def fits(value: Any, hint: Any, *, is_exact: bool) -> bool:
    """Whether the value is accepted, as far as that is certain; doubt counts as yes.

    Args:
        value: what JSON holds; references, expressions and components are accepted by everything.
        hint: an annotation.
        is_exact: the annotation is one of ours, checked and strict: a number is then no sequence, a
            fraction no integer, null only what is optional.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, member, is_exact=is_exact) for member in arguments)
    kind = origin or hint
    if _is_open(value, kind):
        return True
    if value is None or kind in (types.NoneType, typing.Literal):
        return value in arguments or (value is None if kind is types.NoneType else not is_exact)
    if kind in (*_NUMBERS, str):
        return _fits_plain(value, kind, is_exact=is_exact)
    if isinstance(value, list | str) and (issubclass(list, kind) or kind is tuple):
        return _fits_sequence(value, kind, arguments, is_exact=is_exact)
    return not is_exact or isinstance(value, kind)


def named(hint: Any) -> str:
    """The annotation as a reader of a config knows it.

    Args:
        hint: an annotation.
    """
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", inspect.formatannotation(hint))
    return re.sub(r"(Sequence|tuple|Iterable|Collection)\b", "list", text).replace("None", "null")


def _is_open(value: Any, kind: Any) -> bool:
    """Whether nothing can be said: of any kind, of a protocol, or of a value that is made at the run."""
    is_class = inspect.isclass(kind) and kind not in (Any, object)
    if kind is not typing.Literal and (not is_class or getattr(kind, "_is_protocol", False)):
        return True
    if isinstance(value, Mapping):
        return any(str(key).startswith("_") for key in value)
    return isinstance(value, str) and value.startswith(("@", "$", "%"))


def _fits_plain(value: Any, kind: type, *, is_exact: bool) -> bool:
    if isinstance(value, str) or kind is str:
        return isinstance(value, str) and kind is str
    if not isinstance(value, _NUMBERS):
        return False
    if isinstance(value, float):
        return kind is float or (kind is int and (not is_exact or value.is_integer()))
    if kind is bool:
        return value in (0, 1)
    return not is_exact or not isinstance(value, bool)


def _fits_sequence(value: Any, kind: type, arguments: tuple[Any, ...], *, is_exact: bool) -> bool:
    if isinstance(value, str):
        element = arguments[0] if arguments else Any
        return issubclass(str, kind) and fits(value, element, is_exact=is_exact)
    if len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return all(fits(entry, arguments[0], is_exact=is_exact) for entry in value)
    return True
