"""What a dotted name of a foreign config would reach.

That is a listed part, something unknown, or something that no segmentation bundle needs. A name is looked up
among loaded modules of trusted packages, and judged by what it leads to: ``monai.utils.module.os.system``
begins like a part of MONAI and ends in the operating system.
"""

import builtins
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from monai.bundle import ComponentLocator

__all__ = ["Opinion", "Verdict", "is_listed", "judge_name", "reads_as_danger", "worst"]

Verdict = Literal["safe", "needs review", "refused"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_HARMLESS_BUILTINS = frozenset(_words("abs bool dict float int len list max min round str sum tuple"))
_READABLE_BUILTINS = _words(
    """all any bytes divmod enumerate filter frozenset hash id isinstance iter map next object ord pow print
    range repr reversed set slice sorted zip"""
)
_TRUSTED = ("monai", "torch", "ignite", "segadv_monai")
_ROOMS = _words(
    """ignite.engine ignite.handlers ignite.metrics monai.data monai.engines monai.handlers monai.inferers
    monai.losses monai.metrics monai.networks.blocks monai.networks.layers monai.networks.nets
    monai.optimizers monai.transforms monai.visualize segadv_monai.compression segadv_monai.critics
    segadv_monai.data segadv_monai.handlers segadv_monai.inferers segadv_monai.layers
    segadv_monai.losses segadv_monai.metrics segadv_monai.networks segadv_monai.objectives
    segadv_monai.trainers segadv_monai.transforms torch.nn torch.optim"""
)
_LISTED = _words(
    """monai.data.list_data_collate monai.data.load_decathlon_datalist monai.data.pad_list_data_collate
    monai.handlers.from_engine monai.handlers.stopping_fn_from_loss
    monai.handlers.stopping_fn_from_metric segadv_monai.bundle.Manifest
    segadv_monai.bundle.begin segadv_monai.bundle.numerics segadv_monai.bundle.preflight
    segadv_monai.bundle.resolve_device segadv_monai.bundle.root monai.utils.misc.set_determinism
    monai.utils.set_determinism numpy.array numpy.float32 numpy.float64 numpy.int64 numpy.ones numpy.pi
    numpy.uint8 numpy.zeros torch.bfloat16 torch.bool torch.cuda.device_count torch.cuda.is_available
    torch.cuda.set_device torch.device torch.distributed.destroy_process_group
    torch.distributed.get_rank torch.distributed.get_world_size torch.distributed.init_process_group
    torch.distributed.is_available torch.distributed.is_initialized torch.float16 torch.float32
    torch.float64 torch.int32 torch.int64 torch.long torch.manual_seed
    torch.nn.SyncBatchNorm.convert_sync_batchnorm torch.tensor torch.uint8"""
)
# Inside the rooms, but they reach the network, empty a folder or call whatever they are given.
_TO_REVIEW = _words(
    """ignite.handlers.clearml_logger ignite.handlers.mlflow_logger ignite.handlers.neptune_logger
    ignite.handlers.polyaxon_logger ignite.handlers.visdom_logger ignite.handlers.wandb_logger
    ignite.metrics.gan monai.data.csv_saver
    monai.data.decathlon_datalist.create_cross_validation_datalist monai.data.video_dataset
    monai.handlers.utils.write_metrics_reports monai.networks.nets.cell_sam_wrapper
    monai.networks.nets.flexible_unet.FlexUNetEncoderRegister monai.networks.nets.transchex
    monai.optimizers.lr_finder monai.transforms.io.array.WriteFileMapping
    monai.transforms.io.dictionary.WriteFileMapping monai.transforms.utils_create_transform_ims
    monai.transforms.utility.array.CuCIM monai.transforms.utility.array.RandCuCIM
    monai.transforms.utility.array.TorchIO monai.transforms.utility.array.RandTorchIO
    monai.transforms.utility.array.TorchVision monai.transforms.utility.array.RandTorchVision
    monai.transforms.utility.dictionary.CuCIM monai.transforms.utility.dictionary.RandCuCIM
    monai.transforms.utility.dictionary.TorchIO monai.transforms.utility.dictionary.RandTorchIO
    monai.transforms.utility.dictionary.TorchVision monai.transforms.utility.dictionary.RandTorchVision
    monai.data.dataset.CacheNTransDataset monai.data.dataset.GDSDataset monai.data.dataset.LMDBDataset
    monai.data.dataset.PersistentDataset monai.handlers.clearml_handlers monai.handlers.logfile_handler
    monai.handlers.mlflow_handler monai.handlers.trt_handler monai.losses.perceptual
    monai.networks.blocks.fcn monai.networks.blocks.text_embedding monai.networks.nets.efficientnet
    monai.networks.nets.milmodel monai.networks.nets.resnet.ResNetFeatures
    monai.networks.nets.resnet.get_pretrained monai.networks.nets.torchvision_fc
    monai.transforms.utility.array.Lambda monai.transforms.utility.array.RandLambda
    monai.transforms.utility.dictionary.Lambda monai.transforms.utility.dictionary.RandLambda
    torch.nn.modules.module.register"""
)
_REFUSED_PARTS = _words(
    """ignite.distributed.launcher ignite.distributed.spawn ignite.distributed.utils.spawn monai._extensions
    monai.apps.auto3dseg monai.apps.datasets monai.apps.download_and_extract monai.apps.download_url
    monai.apps.extractall monai.apps.mmars monai.apps.nnunet monai.apps.utils monai.auto3dseg
    monai.bundle monai.config monai.data.load_net_with_metadata monai.data.torchscript_utils monai.fl
    monai.networks.trt_compiler monai.utils.misc.run_cmd monai.utils.module monai.utils.optional_import
    monai.utils.safeeval monai.utils.state_cacher numpy.DataSource numpy.core numpy.ctypeslib
    numpy.distutils numpy.f2py numpy.fromfile numpy.genfromtxt numpy.lib numpy.load numpy.loadtxt
    numpy.memmap numpy.save numpy.savetxt numpy.savez numpy.savez_compressed numpy.testing
    operator.attrgetter operator.methodcaller pandas.eval pandas.read_pickle segadv_monai.cli
    torch.classes torch.compile torch.distributed.checkpoint torch.distributed.elastic
    torch.distributed.launch torch.distributed.rpc torch.distributed.run torch.export torch.from_file
    torch.hub torch.jit torch.library torch.load torch.multiprocessing torch.ops torch.package
    torch.save torch.serialization torch.utils.bottleneck torch.utils.collect_env
    torch.utils.cpp_extension torch.utils.model_zoo yaml.full_load yaml.load yaml.unsafe_load"""
)
_REFUSED_PACKAGES = _words(
    """antigravity asyncio atexit bdb cProfile cloudpickle code codecs codeop concurrent ctypes dill distutils
    doctest ensurepip faulthandler fileinput ftplib gc gdown http httpx huggingface_hub imaplib imp
    importlib inspect io joblib jsonpickle marshal mmap multiprocessing nntplib nt paramiko pdb pickle
    pip pkgutil poplib posix profile pty pydoc requests runpy setuptools shelve shutil signal site
    smtplib socket socketserver sqlite3 ssl subprocess tarfile telnetlib tempfile test threading timeit
    trace types unittest urllib urllib3 venv webbrowser wget xmlrpc zipfile zipimport"""
)
# Of these only what is named is left to a reader; the rest starts, deletes or changes something.
_NARROW = {
    "os": _words("cpu_count environ getcwd getenv listdir makedirs path pathsep scandir sep walk"),
    "sys": _words("byteorder maxsize platform stderr stdout version version_info"),
}
_FILE_ENDINGS = _words("csv gz json jpeg jpg md nii png pt safetensors ts txt yaml yml zip")
_DANGEROUS = "starts a process, touches files or the network, or runs code that is not shown"
_PLAIN = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", flags=re.ASCII)


class Opinion(NamedTuple):
    """What is thought of one piece of a config.

    Args:
        verdict: of the three.
        reason: why it is not safe; empty if it is.
    """

    verdict: Verdict
    reason: str = ""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; safe if there is none.

    Args:
        verdicts: in any order.
    """
    order: tuple[Verdict, ...] = ("safe", "needs review", "refused")
    return max(verdicts, key=order.index, default="safe")


def is_listed(name: str) -> bool:
    """Whether a name is one of the few that may be called inside an expression, with any arguments.

    Args:
        name: a dotted path.
    """
    return name in _LISTED or name.startswith(("torch.", "segadv_monai."))


def reads_as_danger(text: str) -> bool:
    """Whether a text is a name of something refused, or ends in one: some parts look up what they get.

    Args:
        text: any value of a config.
    """
    if "." not in text or not _PLAIN.fullmatch(text) or text.rpartition(".")[2] in _FILE_ENDINGS:
        return False
    parts = text.split(".")
    ends = (".".join(parts[i:]) for i in range(len(parts) - 1))
    return judge_name(text).verdict == "refused" or any(map(_is_refused, ends))


def _is_refused(name: str) -> bool:
    first, _, rest = name.partition(".")
    if first in _REFUSED_PACKAGES or _is_under(name, _REFUSED_PARTS):
        return True
    if first in _NARROW and rest:
        return rest.partition(".")[0] not in _NARROW[first]
    return first == "builtins" and rest not in {*_HARMLESS_BUILTINS, *_READABLE_BUILTINS}


def judge_name(name: str) -> Opinion:
    """What calling, or handing on, the thing of that name could do.

    Args:
        name: a dotted path, or the bare name of a part of MONAI, which MONAI looks up itself.
    """
    if not _PLAIN.fullmatch(name):
        return Opinion("refused", "is no plain dotted name: hidden, misspelt or not ASCII")
    if name == "np" or name.startswith("np."):
        name = "numpy" + name[2:]
    if "." not in name:
        return _judge_bare(name)
    if _is_refused(name):
        return Opinion("refused", _DANGEROUS)
    if name in _LISTED:
        return Opinion("safe")
    if name.partition(".")[0] in _TRUSTED:
        return _judge_found(name)
    return Opinion("needs review", "is not on the list of known names")


def _judge_bare(name: str) -> Opinion:
    """MONAI takes a bare name for one of its own parts, then for a builtin or a module."""
    homes = _monai_parts().get_component_module_name(name)
    if homes:
        # Which of several comes first depends on the order of imports: the worst of them counts.
        opinions = [judge_name(f"{home}.{name}") for home in ([homes] if isinstance(homes, str) else homes)]
        verdict = worst(opinion.verdict for opinion in opinions)
        return next(opinion for opinion in opinions if opinion.verdict == verdict)
    if hasattr(builtins, name):
        if name in _HARMLESS_BUILTINS:
            return Opinion("safe")
        return Opinion("refused", _DANGEROUS) if _is_refused(f"builtins.{name}") else _unknown(name)
    return Opinion("refused", _DANGEROUS) if _is_refused(name) else _unknown(name)


def _unknown(name: str) -> Opinion:
    kind = "a builtin" if hasattr(builtins, name) else "a name"
    return Opinion("needs review", f"is {kind} that is not on the list")


@functools.cache
def _monai_parts() -> ComponentLocator:
    return ComponentLocator()


def _judge_found(name: str) -> Opinion:
    try:
        thing = _find(name)
    except LookupError:
        return Opinion("needs review", "is not in the installed version, so nobody has listed it")
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return Opinion("needs review", "is neither a class nor a function")
    return _judge_home(name, f"{thing.__module__}.{thing.__qualname__}")


def _judge_home(name: str, home: str) -> Opinion:
    """The same thing under the name of the file that defines it."""
    if _is_refused(home):
        return Opinion("refused", f"leads to {home}, which {_DANGEROUS}")
    if home.partition(".")[0] not in _TRUSTED:
        return Opinion("refused", f"leads out of {name.partition('.')[0]}, to {home}")
    if home.startswith(_TO_REVIEW) or not _is_under(home, (*_ROOMS, *_LISTED)):
        return Opinion("needs review", "is not on the list of parts that only segment")
    return Opinion("safe")


def _find(name: str) -> Any:
    """The thing of that name by loaded modules alone; nothing is imported but rooms of this package."""
    first, *parts = name.split(".")
    if first == "segadv_monai":
        _load_room(parts[0])
    thing: Any = sys.modules.get(first)
    path = first
    for part in parts:
        if not isinstance(thing, ModuleType):
            raise LookupError(name)
        path = f"{path}.{part}"
        thing = vars(thing)[part] if part in vars(thing) else sys.modules.get(path)
    if thing is None:
        raise LookupError(name)
    return thing


def _load_room(room: str) -> None:
    if (Path(__file__).parents[1] / room / "__init__.py").is_file():
        importlib.import_module(f"segadv_monai.{room}")


def _is_under(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
