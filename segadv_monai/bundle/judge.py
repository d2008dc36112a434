"""Whether a bundle of somebody else may be run, from reading it alone: nothing of it is imported or called.

*Refused* is what does something that no segmentation bundle needs: starts a process, reaches for files or
the network, runs code that is not shown, hides a name. *Needs review* is what is not on the lists: a person
has to read these lines. *Safe* is a bundle of listed things only. It is a judgement, no sandbox.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from segadv_monai.protocols import ConfigError

from .foreign import judge_content, parse
from .logging_files import judge_logging
from .names import Opinion, Verdict, worst

__all__ = ["Judgement", "StaticFinding", "judge"]

_MAX_BYTES = 5_000_000
_MAX_FILES = 20_000
_SHOWN = 200
_CONFIGS = frozenset({".json", ".yaml", ".yml"})
_LOGGING = frozenset({".conf", ".ini", ".cfg"})
_KINDS = {
    "code that a run could import or start": frozenset(
        {
            *(".py", ".pyc", ".pyd", ".pyw", ".pyx", ".so", ".dll", ".dylib", ".sh", ".bash", ".bat", ".cmd"),
            *(".ps1", ".exe", ".com", ".ipynb", ".egg", ".whl", ".jar"),
        }
    ),
    "a pickle, which can run code when it is loaded: load it with weights_only=True or not at all": frozenset(
        {
            *(".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".p", ".joblib", ".dill", ".npz", ".bin", ".mar"),
            *(".pt2", ".h5", ".hdf5"),
        }
    ),
    "a TorchScript program": frozenset({".ts", ".torchscript", ".ptl"}),
    "an archive: unpack it and judge what is in it": frozenset(
        {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
    ),
}
_INERT = frozenset(
    {
        *(
            "",
            ".md",
            ".txt",
            ".rst",
            ".csv",
            ".tsv",
            ".png",
            ".jpg",
            ".jpeg",
            ".gif",
            ".bmp",
            ".tif",
            ".tiff",
        ),
        *(".webp", ".svg", ".pdf", ".nii", ".nii.gz", ".mha", ".nrrd", ".dcm", ".safetensors", ".onnx"),
    }
)
_BEGINNINGS = {b"\x7fELF": "a program", b"#!": "a program", b"MZ": "a program", b"PK\x03\x04": "an archive"}
_PACKAGES = sys.stdlib_module_names | {
    *("PIL", "fire", "ignite", "itk", "matplotlib", "monai", "nibabel", "numpy", "safetensors", "scipy"),
    *("segadv_monai", "sitecustomize", "tensorboard", "torch", "tqdm", "usercustomize", "yaml"),
}


@dataclass(frozen=True, slots=True)
class StaticFinding:
    """One thing in a foreign bundle that is not on the lists of what is safe.

    Args:
        file: where it is, relative to the bundle.
        key: the entry in that file, like ``train#trainer``; empty for the file itself.
        verdict: ``needs review`` or ``refused``.
        reason: why.
        text: what would run.
    """

    file: str
    key: str
    verdict: Verdict
    reason: str
    text: str = ""

    def __str__(self) -> str:
        # A reader must see all that would run, and no terminal may obey it.
        text = self.text if self.verdict == "needs review" else self.text[:_SHOWN]
        return ": ".join(_printable(part) for part in (self.file, self.key, self.reason, text) if part)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of a foreign bundle.

    Args:
        verdict: the worst of the findings; ``safe`` without any.
        findings: what is not safe, the refused first.
    """

    verdict: Verdict
    findings: tuple[StaticFinding, ...]

    @property
    def exit_code(self) -> int:
        """0 for safe, 3 for what needs a review, 4 for what is refused."""
        return {"safe": 0, "needs review": 3, "refused": 4}[self.verdict]


def judge(path: str | Path | Iterable[str | Path]) -> Judgement:
    """Judge a foreign bundle without running any of it.

    Args:
        path: its folder, one file, or several of these.

    Raises:
        ConfigError: there is nothing to judge, or a folder that cannot be read.
    """
    findings: list[StaticFinding] = []
    for place in [Path(path)] if isinstance(path, str | Path) else map(Path, path):
        files = list(_files(place))
        if not files:
            raise ConfigError(f"{place} is no file, and no folder with files: name the folder of a bundle.")
        root = place if place.is_dir() else place.parent
        findings += [finding for file in files[:_MAX_FILES] for finding in _judge_file(file, root)]
        if len(files) > _MAX_FILES:
            findings.append(StaticFinding(str(place), "", "refused", f"holds more than {_MAX_FILES} files"))
    findings.sort(key=lambda finding: finding.verdict != "refused")
    return Judgement(worst(finding.verdict for finding in findings), tuple(findings))


def _files(place: Path) -> Iterator[Path]:
    """The files of a folder and its links, which are not followed; or the file itself."""
    if not place.is_dir():
        yield from [place] if os.path.lexists(place) else []
        return
    for folder, folders, names in os.walk(place, onerror=_stop):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted([*names, *links]))


def _stop(error: OSError) -> NoReturn:
    raise ConfigError(f"{error.filename} cannot be read: nothing is known of what is in it.") from error


def _judge_file(file: Path, root: Path) -> Iterator[StaticFinding]:
    name = str(file.relative_to(root))
    try:
        for key, opinion, text in _judge_kind(file, root):
            if opinion.verdict != "safe":
                yield StaticFinding(name, key, opinion.verdict, opinion.reason, text)
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself is a RuntimeError
        yield StaticFinding(name, "", "refused", f"cannot be judged: {error}")


def _judge_kind(file: Path, root: Path) -> Iterator[tuple[str, Opinion, str]]:
    if file.is_symlink() and not file.resolve(strict=True).is_relative_to(root.resolve()):
        yield "", Opinion("refused", "is a link that leads out of the bundle"), ""
        return
    if file.is_dir():
        return
    if not stat.S_ISREG(file.stat().st_mode):
        yield "", Opinion("refused", "is neither a file nor a folder"), ""
        return
    suffix = file.suffix.lower()
    if suffix in _CONFIGS:
        yield from judge_content(
            parse(_text(file), is_yaml=suffix != ".json"), is_metadata=file.name == "metadata.json"
        )
    elif suffix in _LOGGING:
        yield from judge_logging(_text(file))
    else:
        for opinion in _judge_other(file, root):
            yield "", opinion, ""


def _judge_other(file: Path, root: Path) -> Iterator[Opinion]:
    """Files that are no config, by their names and first bytes."""
    suffix = file.suffix.lower()
    with file.open("rb") as opened:
        beginning = opened.read(256)
    for reason, suffixes in _KINDS.items():
        if suffix in suffixes and not file.name.lower().endswith(".nii.gz"):
            yield Opinion("needs review", f"is {reason}")
            yield from _judge_shadow(file.relative_to(root))
            return
    if suffix == ".npy":
        has_objects = not beginning.startswith(b"\x93NUMPY") or b"O" in beginning[8:]
        yield Opinion("needs review", "holds Python objects: a pickle") if has_objects else Opinion("safe")
    elif suffix not in _INERT and not file.name.lower().endswith(".nii.gz"):
        yield Opinion("needs review", "is a kind of file that is not on the list")
    elif beginning[:1] == b"\x80":
        yield Opinion("needs review", "is a pickle under another name")
    else:
        for mark, kind in _BEGINNINGS.items():
            if beginning.startswith(mark):
                yield Opinion("needs review", f"is {kind} under another name")


def _judge_shadow(name: Path) -> Iterator[Opinion]:
    package = name.parts[0].partition(".")[0]
    if package in _PACKAGES and name.suffix.lower() in (".py", ".pyc", ".pyd", ".so"):
        yield Opinion("refused", f"takes the place of {package} for a run that is started in this folder")


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, {_MAX_BYTES} are read")
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")
