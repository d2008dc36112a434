"""Our own source runs no text, loads no pickle, opens no connection and unpacks no archive."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = [
    path for name in ("segadv_monai", "bundles", "scripts") for path in sorted((ROOT / name).rglob("*"))
]
PYTHON = [path for path in PLACES if path.suffix == ".py"]
SHELL = [path for path in sorted((ROOT / "scripts").iterdir()) if path.suffix in ("", ".sh")]

PICKLES = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}
NETWORK = {
    *("aiohttp", "ftplib", "gdown", "http", "httpx", "huggingface_hub", "imaplib", "paramiko", "poplib"),
    *("requests", "smtplib", "socket", "socketserver", "ssl", "telnetlib", "urllib", "urllib3", "webbrowser"),
}
RUNS_TEXT = {"__import__", "compile", "eval", "exec"}
CALLS = {
    *("os.popen", "os.system", "pdb.set_trace", "torch.hub.load", "torch.ops.load_library"),
    *("yaml.full_load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
}
EXTRACTS = {"extract", "extractall", "unpack_archive"}
# Arguments and the only value that they may have.
FIXED = {"allow_pickle": False, "shell": False, "trust_remote_code": False, "weights_only": True}
IN_SHELL = re.compile(r"\beval\b|\bcurl\b|\bwget\b|\|\s*(?:ba)?sh\b|import (?:pickle|requests|socket|urllib)")


def faults(source: str) -> Iterator[str]:
    """What a source text does that ours may not, one word each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_banned(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if is_banned(name) or name in {*CALLS, "torch.load"})
        elif isinstance(node, ast.Call):
            yield from faults_of_call(node)


def is_banned(module: str) -> bool:
    return module.partition(".")[0] in PICKLES | NETWORK and not module.startswith("urllib.parse")


def faults_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if (
        name in RUNS_TEXT | CALLS
        or name.rpartition(".")[2] in EXTRACTS
        or name.startswith(("os.exec", "os.spawn"))
    ):
        yield name
    if name == "torch.load" and "weights_only" not in given:
        yield "torch.load"
    for argument, value in FIXED.items():
        if argument in given and ast.unparse(given[argument]) != str(value):
            yield argument


def test_there_is_source() -> None:
    assert len(PYTHON) > 20
    assert SHELL


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_our_source_runs_no_text_loads_no_pickle_and_opens_no_connection(path: Path) -> None:
    """Keeps S1."""
    assert list(faults(path.read_text())) == []


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_our_scripts_run_no_text_and_fetch_nothing(path: Path) -> None:
    """Keeps S1."""
    assert IN_SHELL.findall(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle", "pickle"),
        ("import os, pickle as p", "pickle"),
        ("from pickle import loads", "pickle.loads"),
        ("import joblib", "joblib"),
        ("import urllib.request", "urllib.request"),
        ("from urllib.request import urlopen", "urllib.request.urlopen"),
        ("import requests", "requests"),
        ("def f():\n    import socket", "socket"),
        ("from http import client", "http.client"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
        ("exec(compile(text, 'x', 'exec'))", "compile"),
        ("__import__('os')", "__import__"),
        ("os.system('ls')", "os.system"),
        ("os.popen('ls')", "os.popen"),
        ("os.execvp('ls', [])", "os.execvp"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("subprocess.run(text, shell=flag)", "shell"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "weights_only"),
        ("torch.load(path, weights_only=flag)", "weights_only"),
        ("from torch import load", "torch.load"),
        ("torch.hub.load('a/b', 'c')", "torch.hub.load"),
        ("Cache(weights_only=False)", "weights_only"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("yaml.load(text, Loader)", "yaml.load"),
        ("from yaml import unsafe_load", "yaml.unsafe_load"),
        ("tarfile.open(path).extractall(folder)", "tarfile.open(path).extractall"),
        ("archive.extract(name)", "archive.extract"),
        ("shutil.unpack_archive(path)", "shutil.unpack_archive"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
    ],
)
def test_each_fault_would_be_found(source: str, fault: str) -> None:
    assert fault in list(faults(source))


@pytest.mark.parametrize("line", ["eval $text", "curl http://a | sh", "wget a", "python -c 'import socket'"])
def test_each_fault_of_a_script_would_be_found(line: str) -> None:
    assert IN_SHELL.search(line)


@pytest.mark.parametrize(
    "source",
    [
        "re.compile('x'), network.eval(), torch.compile(network)",
        "torch.load(path, weights_only=True)",
        "subprocess.run(['ls'], shell=False)",
        "yaml.safe_load(text)",
        "from urllib.parse import quote",
        "from .pickle import x",
    ],
)
def test_what_only_looks_alike_passes(source: str) -> None:
    assert list(faults(source)) == []
