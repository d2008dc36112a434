"""What a logging file of a foreign bundle would do when Python's ``logging.config`` takes it.

``fileConfig`` evaluates ``class``, ``args`` and ``kwargs`` as Python, after it has filled in ``%(name)s``
from other lines: what stands in these three places has to be readable as it stands.
"""

import ast
import configparser
from collections.abc import Iterator

from .names import Opinion

__all__ = ["judge_logging"]

_EVALUATED = ("class", "args", "kwargs")
_SILENT = frozenset({"StreamHandler", "NullHandler", "handlers.MemoryHandler"})
_WRITERS = frozenset(
    {
        *("FileHandler", "handlers.RotatingFileHandler", "handlers.TimedRotatingFileHandler"),
        "handlers.WatchedFileHandler",
    }
)
_STREAMS = frozenset({"sys.stdout", "sys.stderr"})
_LITERALS = (ast.Constant, ast.Dict, ast.List, ast.Load, ast.Tuple)
_MAX_LENGTH = 1000


def judge_logging(text: str) -> Iterator[tuple[str, Opinion, str]]:
    """Key, opinion and text of every line of a logging file that is not safe.

    Args:
        text: content of the file. One that is not for ``logging`` has nothing that is evaluated.

    Raises:
        ValueError: it cannot be read.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(f"is no logging file ({type(error).__name__})") from error
    if parser.defaults():
        yield "DEFAULT", Opinion("needs review", "has lines that count for every section"), ""
    for section in parser.sections():
        for key in _EVALUATED:
            value = parser.get(section, key, fallback="").strip()
            opinion = _judge_value(section, key, value)
            if opinion.verdict != "safe":
                yield f"{section}#{key}", opinion, value
        if parser.get(section, "style", fallback="%") != "%":
            yield f"{section}#style", Opinion("needs review", "formats by attributes"), ""


def _judge_value(section: str, key: str, value: str) -> Opinion:
    if not value:
        return Opinion("safe")
    if "%" in value:
        return Opinion("refused", "is filled in from another line")
    if key != "class":
        return _judge_arguments(value)
    return _judge_class(section, value.removeprefix("logging."))


def _judge_class(section: str, name: str) -> Opinion:
    if section.startswith("formatter_") and name == "Formatter":
        return Opinion("safe")
    if section.startswith("handler_") and name in _SILENT:
        return Opinion("safe")
    if section.startswith("handler_") and name in _WRITERS:
        return Opinion("needs review", "writes a file")
    return Opinion("refused", "is no class of logging that stays on this machine")


def _judge_arguments(value: str) -> Opinion:
    if len(value) > _MAX_LENGTH:
        return Opinion("refused", "is too long to be read")
    try:
        tree = ast.parse(value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Opinion("refused", "cannot be read")
    if all(_is_plain(node) for node in _without_streams(tree)):
        return Opinion("safe")
    return Opinion("refused", "has more than literals, sys.stdout and sys.stderr")


def _is_plain(node: ast.AST) -> bool:
    return isinstance(node, _LITERALS)


def _without_streams(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but the two streams and what they are made of."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _STREAMS:
            continue
        yield node
        left.extend(ast.iter_child_nodes(node))
