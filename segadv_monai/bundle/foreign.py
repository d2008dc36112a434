"""The content of a foreign config: read within limits, and judged key by key. Nothing of it runs."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from .expressions import judge_expression
from .names import Opinion, judge_name, reads_as_danger, worst

__all__ = ["judge_content", "parse"]

_MAX_DEPTH = 50
_MAX_ENTRIES = 200_000
_MAX_YAML = 500_000  # it is read a hundred times slower than JSON
_SEPARATOR = re.compile(r"::|#")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", flags=re.IGNORECASE)
_PATH = re.compile(r"/|~\w*/|[a-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", flags=re.IGNORECASE)
_FILE = re.compile(r"(.*\.(?:json|yaml|yml))(?:(?:::|#).*)?", flags=re.IGNORECASE | re.DOTALL)
_MACRO = re.compile(r"(?:::|#)*\w+(?:(?:::|#)\w+)*", flags=re.ASCII)
# Arguments of MONAI's parts that are names of classes, looked up and called by MONAI.
_CLASS_NAMES = frozenset({"reader", "writer", "merger_cls"})
# What `monai.bundle run --args_file` takes from a file.
_ARGUMENTS_OF_A_RUN = frozenset(
    {"args_file", "config_file", "logging_file", "meta_file", "properties_path", "tracking", "workflow_name"}
)


def parse(text: str, *, is_yaml: bool = False) -> Any:
    """The plain values of a JSON or YAML text.

    Args:
        text: the content of a file.
        is_yaml: or else JSON.

    Raises:
        ValueError: it is invalid, nested too deep, too long, has a key twice or asks for Python objects.
    """
    try:
        if not is_yaml:
            return json.loads(text, object_pairs_hook=_once)
        if len(text) > _MAX_YAML:
            raise ValueError(f"has {len(text)} characters of YAML, {_MAX_YAML} are read")
        loader = _OnceLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    except yaml.YAMLError as error:
        raise ValueError(f"is no plain YAML: {getattr(error, 'problem', error)}") from error


def judge_content(content: Any, *, is_metadata: bool = False) -> Iterator[tuple[str, Opinion, str]]:
    """Key, opinion and text of every entry of a config that is not safe.

    Args:
        content: what ``parse`` gave.
        is_metadata: addresses are descriptions there.

    Raises:
        ValueError: it is nested too deep or has too many entries.
    """
    entries = itertools.count()
    for place, value in _walk(content, (), entries):
        opinions = [*_judge_entry(place, value)]
        if isinstance(value, str) and not is_metadata and not opinions:
            opinions = [_judge_place(value)]
        verdict = worst(opinion.verdict for opinion in opinions)
        if verdict != "safe":
            opinions.sort(key=lambda opinion: opinion.verdict != verdict)
            reason = "; ".join(opinion.reason for opinion in opinions if opinion.reason)
            yield "#".join(place), Opinion(verdict, reason), value if isinstance(value, str) else repr(value)


def _walk(
    value: Any, place: tuple[str, ...], entries: Iterator[int]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every entry and the keys that lead to it; ``a::b`` of an overlay counts as two."""
    if len(place) > _MAX_DEPTH or next(entries) > _MAX_ENTRIES:
        raise ValueError(f"has more than {_MAX_DEPTH} levels or {_MAX_ENTRIES} entries")
    yield place, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, (*place, *_SEPARATOR.split(str(key).lstrip("+"))), entries)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _walk(child, (*place, str(i)), entries)


def _judge_entry(place: tuple[str, ...], value: Any) -> Iterator[Opinion]:
    of_key = _judge_key(place, value)
    if of_key.verdict != "safe":
        yield of_key
    if not isinstance(value, str):
        return
    if value.startswith("$"):
        yield from judge_expression(value, place=place)
    elif value.startswith("%"):
        yield _judge_macro(value[1:], place)
    elif reads_as_danger(value) and of_key.verdict == "safe":
        yield Opinion("needs review", "reads as the name of something that runs code or opens files")


def _judge_place(text: str) -> Opinion:
    if _ADDRESS.match(text):
        return Opinion("needs review", "is an address")
    if _PATH.match(text):
        return Opinion("needs review", "is a path that leads out of the bundle")
    return Opinion("safe")


def _judge_key(place: tuple[str, ...], value: Any) -> Opinion:
    """What the key alone says of its value."""
    key = place[-1] if place else ""
    if key == "_target_":
        return _judge_target(value)
    if key in _CLASS_NAMES:
        return _judge_class_names(value)
    if (key.startswith("pretrained") or key == "download") and value:
        return Opinion("needs review", "may fetch a file from the network, or read any")
    if len(place) == 1 and key in _ARGUMENTS_OF_A_RUN:
        return Opinion("needs review", "chooses what a run loads, if it is started with this file")
    return _judge_switch(key, value)


def _judge_switch(key: str, value: Any) -> Opinion:
    if key == "_debug_" or (key == "_mode_" and value not in ("default", "callable")):
        return Opinion("refused", "starts a debugger, or is worked out only when it runs")
    if key == "_mode_" and value == "callable":
        return Opinion("needs review", "hands on something that others call")
    if (key == "allow_pickle" and value is not False) or (key == "weights_only" and value is not True):
        return Opinion("refused", "lets a pickle run code")
    if key == "allow_pt" and value not in (False, None, "@allow_pt"):
        return Opinion("needs review", "lets weights come from a pickle")
    return Opinion("safe")


def _judge_target(value: Any) -> Opinion:
    if not isinstance(value, str) or value[:1] in ("$", "@", "%"):
        return Opinion("refused", "what is called is worked out only when it runs")
    return judge_name(value)


def _judge_class_names(value: Any) -> Opinion:
    """A name that MONAI looks up; a class or a component is judged where it is made."""
    if isinstance(value, list):
        opinions = [_judge_class_names(entry) for entry in value]
        verdict = worst(opinion.verdict for opinion in opinions)
        return next((opinion for opinion in opinions if opinion.verdict == verdict), Opinion("safe"))
    if value is None or (isinstance(value, dict) and "_target_" in value):
        return Opinion("safe")
    if not isinstance(value, str) or value[:1] in ("$", "@", "%"):
        return Opinion("needs review", "names a class only when it runs")
    return judge_name(value)


def _judge_macro(text: str, place: tuple[str, ...]) -> Opinion:
    if _MACRO.fullmatch(text):
        # MONAI puts the keys above in the place of a relative macro.
        is_hidden = text[:1] in ("#", ":") and not all(re.fullmatch(r"\w*", key) for key in place)
        return Opinion("refused", "hides what it takes in") if is_hidden else Opinion("safe")
    found = _FILE.fullmatch(text)
    if not found:
        return Opinion("needs review", "is a macro of an unusual form")
    if _ADDRESS.match(found[1]) or _PATH.match(found[1]):
        return Opinion("refused", "takes in a file outside of the bundle")
    return Opinion("needs review", "takes in a file of the working directory, whatever that is")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, if no key of it comes twice: of two values one would hide from a reader."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"has the key {key} twice")
        content[key] = value
    return content


class _OnceLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        _once([(repr(key), None) for key in keys if key != "<<"])
        return super().construct_mapping(node, deep=deep)
