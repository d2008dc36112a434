"""Dotted names: what is listed, what is unknown, what no segmentation bundle needs."""

import inspect
import sys
from pathlib import Path

import pytest

import segadv_monai
from segadv_monai.bundle.names import is_listed, judge_name, reads_as_danger, worst

ROOMS = sorted(path.parent.name for path in Path(segadv_monai.__file__).parent.glob("*/__init__.py"))
SAFE = """
DiceLoss LoadImaged SupervisedTrainer UNet dict ignite.handlers.Checkpoint ignite.metrics.Accuracy
monai.data.DataLoader monai.handlers.from_engine monai.networks.nets.unet.UNet monai.utils.set_determinism
np.float32 segadv_monai.bundle.preflight segadv_monai.networks.SegAN torch.device torch.nn.Linear
torch.nn.functional.relu torch.nn.parallel.DistributedDataParallel torch.optim.Adam
torch.optim.lr_scheduler.CosineAnnealingLR
"""
REVIEWED = """
Lambda MLFlowHandler PersistentDataset PerceptualLoss cv2.imread evilpackage glob monai.data.NotYetWritten
monai.transforms monai.transforms.LambdaD monai.utils.StateCacherOfTheFuture os os.environ os.path.join print
scripts.net.Net segadv_monai.networks.NotThere torch.nn.Module.apply torch.utils.data.DataLoader
wandb.init ignite.handlers.WandBLogger ignite.metrics.FID TorchVisiond segadv_monai.bundle.judge
monai.data.create_cross_validation_datalist monai.transforms.RandCuCIM os.path
"""
REFUSED = """
__import__ antigravity builtins builtins.eval code.interact ctypes.CDLL download_url eval exec getattr
importlib.import_module load monai.bundle.ConfigParser monai.data.ForkingPickler
monai.data.utils.pickle.loads monai.utils.module.os.system monai.utils.run_cmd np.load numpy.load open
operator.attrgetter optional_import os._exit os.execv os.system posix.system run run_cmd
segadv_monai.bundle.device.os.system segadv_monai.data.atomic.os.replace shutil.rmtree
sys.modules torch.hub.load
torch.jit.load torch.load torch.nn.functional.importlib.import_module torch.nn.Module.__init__
torch.ops.load_library torch.serialization.load type .os.system os..system os.system\u200b o\u0455.system
"""


@pytest.mark.parametrize("name", SAFE.split())
def test_a_listed_name_is_safe(name: str) -> None:
    assert judge_name(name) == ("safe", "")


@pytest.mark.parametrize("name", REVIEWED.split())
def test_an_unknown_name_needs_a_review(name: str) -> None:
    opinion = judge_name(name)
    assert opinion.verdict == "needs review"
    assert opinion.reason


@pytest.mark.parametrize("name", REFUSED.split())
def test_a_dangerous_name_is_refused(name: str) -> None:
    opinion = judge_name(name)
    assert opinion.verdict == "refused"
    assert opinion.reason


@pytest.mark.parametrize("room", ROOMS)
def test_what_this_package_exports_is_safe_but_for_what_reads_or_runs_configs(room: str) -> None:
    __import__(f"segadv_monai.{room}")
    module = sys.modules[f"segadv_monai.{room}"]
    parts = [
        name
        for name in module.__all__
        if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name))
    ]
    names = [f"segadv_monai.{room}.{name}" for name in parts]
    verdicts = {judge_name(name).verdict for name in names if not is_for_configs(name)}
    assert verdicts <= {"bundle": {"needs review"}, "report": {"needs review"}, "cli": {"refused"}}.get(
        room, {"safe"}
    )
    assert {judge_name(name).verdict for name in names if is_for_configs(name)} <= {"safe"}


def is_for_configs(name: str) -> bool:
    return name.rpartition(".")[2] in ("Manifest", "begin", "numerics", "preflight", "resolve_device", "root")


def test_a_name_is_judged_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps B2."""
    (tmp_path / "evilpackage.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    for name in ("evilpackage", "evilpackage.Net", "monai.evilpackage.Net", "torch.nn.evilpackage"):
        assert judge_name(name).verdict == "needs review"
    assert set(sys.modules) == before


def test_the_worst_counts() -> None:
    assert worst([]) == "safe"
    assert worst(["safe", "refused", "needs review"]) == "refused"
    assert worst(["needs review", "safe"]) == "needs review"


@pytest.mark.parametrize(
    "text",
    [
        "os.system",
        "builtins.eval",
        "PIL.Image.os.system",
        "torch.utils.data.dataset.os.system",
        "yaml.unsafe_load",
    ],
)
def test_a_text_that_ends_in_something_dangerous_reads_so(text: str) -> None:
    assert reads_as_danger(text)


@pytest.mark.parametrize(
    "text", ["os", "test.json", "os.path.join", "a.nii.gz", "builtins.len", "1.5", "Dice.", ""]
)
def test_other_texts_do_not(text: str) -> None:
    assert not reads_as_danger(text)


def test_few_names_may_be_used_in_expressions() -> None:
    assert is_listed("monai.handlers.from_engine")
    assert is_listed("torch.nn.ReLU")
    assert not is_listed("monai.networks.nets.resnet18")
    assert not is_listed("ignite.metrics.Accuracy")
