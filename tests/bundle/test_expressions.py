"""Expressions of configs: judged by their syntax, as MONAI would see them, and never evaluated."""

import keyword

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ReferenceResolver

from segadv_monai.bundle.expressions import _with_references, judge_expression
from segadv_monai.bundle.names import worst

SAFE = [
    "$@bundle_root + '/models'",
    "$@network_def.to(@device)",
    "$@average.network",
    "$@network.parameters()",
    "$@train#trainer.run()",
    "$@a::b#c",
    "$@#sibling + @##above",
    "$ @a[0]['key'] * 2 ** 3",
    "$-@a // 2 % 7 - (1, [2, 3], {'a': None})[0]",
    "$@a[1:-1] + [0] * 8",
    "$@a == 1 < @b",
    "$len(@a) + max(1, round(@b))",
    "$torch.device('cpu')",
    "$torch.float16",
    "$torch.distributed.init_process_group(backend=@backend)",
    "$monai.handlers.from_engine(['pred', 'label'])",
    "$monai.utils.set_determinism(seed=1)",
    "$torch.nn.Linear(1, 2)",
    "$segadv_monai.bundle.resolve_device('cpu')",
    "$import torch",
    "$import numpy as np",
    "$None",
]
REVIEWED = [
    "$@a if @b else @c",
    "$@a and @b",
    "$not (yes or no)",
    "$lambda: 1",
    "$[i for i in @a]",
    "${i: 1 for i in @a}",
    "$f'{1}'",
    "$(a := 1)",
    "$[*@a]",
    "$dict(**@a)",
    "${1, 2}",
    "$@network.load_state_dict(@a)",
    "$@network.training",
    "$@a()",
    "$(lambda: 1)()",
    "$print",
    "$sorted(@a)",
    "$os.path.exists(@a)",
    "$dist.get_rank()",
    "$torch",
    "$torch.backends.cudnn",
    "$monai.transforms.LoadImage('ITKReader')",
    "$monai.transforms.Lambda(@f)",
    "$monai.transforms.LoadImage",
    "$monai.networks.nets.resnet18(True)",
    "$[ignite.metrics.Accuracy]",
    "$torch.distributed.init_process_group('gloo', 'tcp://evil:1')",
    "$torch.distributed.init_process_group(init_method=@a)",
    "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "$'os.system'",
    "$@a + '/../../b'",
    "$'a' * @n",
    "$@a * 1000000000",
    "$'%s' % @a",
    "$import os",
    "$import torch.distributed as dist",
    "$from monai.data import DataLoader",
    "$import glob\nimport os",
]
REFUSED = [
    "$eval('1')",
    "$exec",
    "$open('x')",
    "$compile",
    "$globals()",
    "$__import__('os')",
    "$__builtins__",
    "$@network.__class__",
    "$@network._modules",
    "$torch._C",
    "$torch.nn.modules.module.__builtins__",
    "$torch.load(@path, weights_only=True)",
    "$torch.hub",
    "$[torch.load][0]",
    "$dict(f=torch.load)",
    "$@a[torch.load(@b)]",
    "$lambda f=torch.load: f",
    "$f'{torch.load(1)}'",
    "$[0 for i in [torch.load]]",
    "$@a if torch.load(@b) else 1",
    "$'{0.__class__}'.format(@a)",
    "$'{a}'.format_map(@a)",
    "$str.format",
    "$str.mro()",
    "$(i for i in @a).gi_frame.f_back",
    "$getattr(@a, '__class__')",
    "$getattr(@a, @b)",
    "$getattr",
    "$setattr(@a, 'f_globals', 1)",
    "$os.system('x')",
    "$os.popen",
    "$subprocess.run('x')",
    "$sys.modules['os']",
    "$pickle.loads(@a)",
    "$type('x', (), {})",
    "$import subprocess",
    "$import os, subprocess",
    "$import os as o",
    "$import glob as torch",
    "$from os import system",
    "$from os import *",
    "$from . import net",
    "$from glob import glob as print",
    "$import torch\nprint(1)",
    "$1\n2",
    "$x = 1",
    "$",
    "$)",
    "$\x00",
    "$9 ** 9 ** 9",
    "$9 ** @n",
    "$1 << 99",
    "$(2 ** 9) ** 9",
    "$'a' * 999 * 999",
    "$[0] * 10 ** 9",
    "$[[0] * 999] * 999",
    "$'a' * (999 * 999)",
    "$" + "(" * 250 + ")" * 250,
    "$" + "+".join("1" * 100),
    "$" + " " * 10 + "1 +" * 1000 + "1",
    "$'" + "x" * 2000 + "'",
    "$\uff45val('1')",
    "$'\u202e'",
    "$__local_refs['a']",
    "$'@f{__import__(1)}'",
    "$@####a",
]


@pytest.mark.parametrize("text", SAFE)
def test_listed_syntax_and_names_are_safe(text: str) -> None:
    assert judge_expression(text, place=("a", "b")) == []


@pytest.mark.parametrize("text", REVIEWED)
def test_what_is_unknown_needs_a_review_with_reasons(text: str) -> None:
    """Keeps B3."""
    opinions = judge_expression(text)
    assert worst(opinion.verdict for opinion in opinions) == "needs review"
    assert all(opinion.reason for opinion in opinions)


@pytest.mark.parametrize("text", REFUSED)
def test_what_hides_or_does_harm_is_refused(text: str) -> None:
    """Keeps B1."""
    assert worst(opinion.verdict for opinion in judge_expression(text, place=("a", "b"))) == "refused"


@pytest.mark.parametrize("name", ["'x", "a b", "a'] or (", "\u00e9"])
def test_a_relative_reference_may_not_carry_a_key_that_is_no_name(name: str) -> None:
    assert judge_expression("$@#a", place=("fine", "x")) == []
    assert judge_expression("$@#a", place=(name, "x"))[0].verdict == "refused"


words = st.lists(
    st.sampled_from(
        ["@a", "@", "@f", "::", "#", "'", '"', "+", "(", ")", "{", "}", "x", "1", ".", " ", "[", "]"]
    ),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(words)
def test_the_text_that_is_judged_is_the_text_that_monai_evaluates(text: str) -> None:
    class Everything(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            return True

    if "@::" not in text.replace("#", "::"):
        evaluated = ReferenceResolver.update_refs_pattern("$" + text, Everything())
        assert "$" + _with_references(text, ()) == evaluated


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    for opinion in judge_expression("$" + text):
        assert opinion.verdict in ("needs review", "refused")


@settings(deadline=None)
@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name)))
def test_no_private_name_passes(name: str) -> None:
    for text in (f"$@a._{name}", f"$_{name}", f"$@a._{name}()", f"$torch._{name}"):
        assert worst(opinion.verdict for opinion in judge_expression(text)) == "refused"
