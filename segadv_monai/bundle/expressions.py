"""What a ``$`` expression of a foreign config would do, from its syntax alone.

Judged is the text that MONAI would evaluate, after it has put references in their place: the quotation marks
that this brings along can turn a harmless string, ``'@f{...}'``, into one that runs code.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

from .names import Opinion, is_listed, judge_name, reads_as_danger

__all__ = ["judge_expression"]

_MAX_LENGTH = 2000
_MAX_DEPTH = 40
_MAX_REPEATS = 100_000
_MAX_POWER = 16
_REFERENCES = "__local_refs"  # MONAI's name for what the references stand for
_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
_RELATIVE = re.compile(r"[@%](?:::)+")
_PLAIN_SYNTAX = (
    *(
        ast.BinOp,
        ast.Compare,
        ast.Constant,
        ast.Dict,
        ast.FormattedValue,
        ast.List,
        ast.Slice,
        ast.Subscript,
        ast.Tuple,
    ),
    *(ast.UnaryOp, ast.cmpop, ast.expr_context, ast.operator, ast.unaryop),
)
_SYNTAX = {
    ast.BoolOp: "and/or",
    ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.IfExp: "a condition",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.ListComp: "a loop",
    ast.NamedExpr: "an assignment",
    ast.SetComp: "a loop",
    ast.Starred: "a star",
}
_METHODS = frozenset({"complete", "cpu", "cuda", "get", "items", "keys", "parameters", "run", "to", "values"})
_ATTRIBUTES = frozenset({"device", "dtype", "index", "ndim", "network", "shape", "type"})
# Ways from a value to the interpreter that need no leading underscore.
_HIDDEN = frozenset(
    {
        *("ag_frame", "co_code", "cr_code", "cr_frame", "f_back", "f_builtins", "f_code", "f_globals"),
        *("f_locals", "format", "format_map", "gi_code", "gi_frame", "mro", "tb_frame", "tb_next"),
    }
)
_BY_NAME = frozenset({"getattr", "hasattr", "setattr"})
_IMPORTS = {(name, name) for name in ("ignite", "monai", "numpy", "segadv_monai", "torch")} | {
    ("numpy", "np")
}


def judge_expression(text: str, *, place: Sequence[str] = ()) -> list[Opinion]:
    """Everything that keeps an expression from being safe; an empty list if nothing does.

    Args:
        text: the value in the config, with its ``$``.
        place: keys that lead to it, which MONAI puts in the place of relative references.
    """
    try:
        statements = _read(text.removeprefix("$").strip(), place)
    except ValueError as error:
        return [Opinion("refused", str(error))]
    if len(statements) == 1 and isinstance(statements[0], ast.Expr):
        return list(dict.fromkeys(_judge(statements[0].value)))
    if statements and all(isinstance(line, ast.Import | ast.ImportFrom) for line in statements):
        return [opinion for line in statements for opinion in _judge_import(line)]
    return [Opinion("refused", "is no single expression")]


def _read(code: str, place: Sequence[str]) -> list[ast.stmt]:
    if len(code) > _MAX_LENGTH:
        raise ValueError(f"is {len(code)} characters long: {_MAX_LENGTH} are read")
    if not code.isascii() or _REFERENCES in code:
        raise ValueError("hides a name: it is not ASCII, or uses a name of MONAI's own")
    try:
        tree = ast.parse(_with_references(code, place))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot be read ({type(error).__name__})") from error
    if _depth(tree) > _MAX_DEPTH:
        raise ValueError(f"is nested more than {_MAX_DEPTH} deep")
    return tree.body


def _with_references(code: str, place: Sequence[str]) -> str:
    """The text that MONAI evaluates, made by the same substitutions in the same order."""
    code = code.replace("#", "::")
    for prefix in sorted(set(_RELATIVE.findall(code)), reverse=True):
        above = prefix.count("::")
        if above > len(place) or not all(re.fullmatch(r"[\w:]+", key, flags=re.ASCII) for key in place):
            raise ValueError(
                f"has a relative reference, {prefix}, that leads out of the config or hides a text"
            )
        path = "".join(f"{key}::" for key in place[: len(place) - above])
        code = code.replace(prefix, prefix[0] + path)
    for reference in sorted(_REFERENCE.findall(code), key=len, reverse=True):
        code = code.replace(reference, f"{_REFERENCES}['{reference[1:]}']")
    return code


def _judge_import(line: ast.AST) -> Iterator[Opinion]:
    names = line.names if isinstance(line, ast.Import | ast.ImportFrom) else []
    for alias in names:
        full = f"{line.module or '.'}.{alias.name}" if isinstance(line, ast.ImportFrom) else alias.name
        bound = alias.asname or alias.name
        opinion = judge_name(full)
        if opinion.verdict == "refused":
            yield Opinion("refused", f"imports {full}, which {opinion.reason}")
        elif bound != full and full in ("os", "sys"):
            yield Opinion("refused", f"hides {full} behind the name {bound}")
        elif isinstance(line, ast.ImportFrom) or (full, bound) not in _IMPORTS:
            known = hasattr(builtins, bound) or bound in {name for _, name in _IMPORTS}
            shadow = f" in the place of {bound}" if known else ""
            yield Opinion("refused" if known else "needs review", f"imports {full}{shadow}")


def _judge(node: ast.AST) -> Iterator[Opinion]:
    chain = _dotted(node)
    if chain:
        yield from _judge_chain(chain)
        return
    if isinstance(node, ast.Call):
        yield from _judge_call(node)
        return
    if isinstance(node, ast.Subscript) and _is_reference(node):
        return
    yield from _judge_node(node)
    for child in ast.iter_child_nodes(node):
        yield from _judge(child)


def _judge_node(node: ast.AST) -> Iterator[Opinion]:
    if isinstance(node, ast.Attribute):
        yield from _judge_attribute(node.attr, _ATTRIBUTES)
    elif isinstance(node, ast.BinOp):
        yield from _judge_arithmetic(node)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and reads_as_danger(node.value):
            yield Opinion("needs review", f"has the text {node.value}, a name that runs code or opens files")
        elif isinstance(node.value, str) and ".." in node.value.split("/"):
            yield Opinion("needs review", "leads to a folder above")
    elif isinstance(node, ast.expr) and not isinstance(node, _PLAIN_SYNTAX):
        yield Opinion("needs review", f"has {_SYNTAX.get(type(node), type(node).__name__)}")


def _judge_chain(chain: str) -> Iterator[Opinion]:
    """A name, or attributes of a name: ``torch.cuda.is_available``."""
    parts = chain.split(".")
    hidden = [part for part in parts if part.startswith("_") or part in _HIDDEN]
    if hidden:
        yield Opinion("refused", f"reaches for {hidden[0]}, which hides what runs")
        return
    opinion = judge_name(chain)
    if opinion.verdict != "safe":
        yield Opinion(opinion.verdict, f"{chain} {opinion.reason}")
    elif "." in chain and not is_listed(chain.replace("np.", "numpy.", 1)):
        # Its arguments can be judged where they have names, in a component.
        yield Opinion("needs review", f"uses {chain} in an expression")


def _judge_attribute(name: str, listed: frozenset[str]) -> Iterator[Opinion]:
    if name.startswith("_") or name in _HIDDEN:
        yield Opinion("refused", f"reaches for {name}, which hides what runs")
    elif name not in listed:
        yield Opinion("needs review", f".{name} is not on the list")


def _judge_call(call: ast.Call) -> Iterator[Opinion]:
    function = call.func
    chain = _dotted(function)
    if chain in _BY_NAME:
        yield from _judge_by_name(call, chain)
    elif chain:
        yield from _judge_chain(chain)
        yield from _judge_arguments(call, chain)
    elif isinstance(function, ast.Attribute):
        yield from _judge_attribute(function.attr, _METHODS)
        yield from _judge(function.value)
    else:
        yield Opinion("needs review", "calls what an expression gives")
        yield from _judge(function)
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        yield from _judge(argument)


def _judge_by_name(call: ast.Call, chain: str) -> Iterator[Opinion]:
    """``getattr`` and its kin: readable if the name stands there."""
    name = call.args[1].value if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) else None
    if isinstance(name, str) and not name.startswith("_") and name not in _HIDDEN:
        yield Opinion("needs review", f"{chain} reads or sets {name}")
    else:
        yield Opinion("refused", f"{chain} hides what it reads or sets")


def _judge_arguments(call: ast.Call, chain: str) -> Iterator[Opinion]:
    given = {keyword.arg for keyword in call.keywords}
    if None in given:
        yield Opinion("needs review", "has a star")
    if chain == "torch.distributed.init_process_group" and (call.args or given - {"backend"}):
        yield Opinion("needs review", "says with whom the processes speak")


def _judge_arithmetic(node: ast.BinOp) -> Iterator[Opinion]:
    left, right = _number(node.left), _number(node.right)
    if isinstance(node.op, ast.Pow | ast.LShift):
        again = any(isinstance(part, ast.Pow | ast.LShift) for part in ast.walk(node.left))
        if right is None or right > _MAX_POWER or again:
            yield Opinion("refused", f"has a power or a shift that may exceed {_MAX_POWER}")
    elif isinstance(node.op, ast.Mult):
        repeats = max(_length(node.left) * (right or 0), _length(node.right) * (left or 0))
        if repeats > _MAX_REPEATS:
            yield Opinion("refused", f"repeats a text or a list more than {_MAX_REPEATS} times")
        elif _may_be_long(node.left, right) or _may_be_long(node.right, left):
            yield Opinion("needs review", "may repeat a text or a list many times")
    elif isinstance(node.op, ast.Mod) and _length(node.left):
        yield Opinion("needs review", "formats a text")


def _may_be_long(repeated: ast.expr, times: float | None) -> bool:
    """A text times something unknown, or something unknown many times."""
    if _length(repeated):
        return times is None
    return _number(repeated) is None and (times or 0) > _MAX_REPEATS


def _number(node: ast.AST) -> float | None:
    """The value, if it stands there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        if left is not None and right is not None:
            return _result(node.op, left, right)
    return None


def _result(operator: ast.operator, left: float, right: float) -> float | None:
    try:
        if isinstance(operator, ast.Add):
            return left + right
        if isinstance(operator, ast.Mult):
            return left * right
        if isinstance(operator, ast.Pow) and abs(left) < _MAX_REPEATS and 0 <= right <= _MAX_POWER:
            return float(left**right)
    except OverflowError:
        return None
    return None


def _length(node: ast.AST) -> float:
    """Characters or entries of what is a text or a list on sight; 0 of anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return max(1, len(node.value))
    if isinstance(node, ast.List | ast.Tuple):
        return sum(max(1, _length(entry)) for entry in node.elts) + 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return max(
            _length(node.left) * (_number(node.right) or 1), _length(node.right) * (_number(node.left) or 1)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _length(node.left) + _length(node.right)
    return 0


def _dotted(node: ast.AST) -> str:
    """``torch.cuda.is_available`` of names and attributes; empty for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_reference(node: ast.Subscript) -> bool:
    base, key = node.value, node.slice
    return isinstance(base, ast.Name) and base.id == _REFERENCES and isinstance(key, ast.Constant)


def _depth(tree: ast.AST) -> int:
    """Levels of a tree, counted without recursion."""
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth
