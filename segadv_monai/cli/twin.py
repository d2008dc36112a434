"""``segadv_monai twin``: train with and without the critic, same seeds, and say whether it helped."""

import argparse
import subprocess
import sys
from pathlib import Path

from segadv_monai.data import atomic_write
from segadv_monai.protocols import ConfigError
from segadv_monai.report import compare, draw, table

__all__ = ["add_twin"]


def add_twin(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command.

    Args:
        verbs: of the command.
    """
    text = (
        "Train a bundle with its critic and without, for several seeds, evaluate all, and compare case by "
        "case. Runs that were stopped go on. Every other --key value goes to the runs."
    )
    verb = verbs.add_parser("twin", help="whether the critic helped", description=text)
    verb.add_argument("bundle", type=Path, help="its folder")
    verb.add_argument("--output_dir", type=Path, required=True, help="gets the runs, twin.md and twin.png")
    verb.add_argument("--seeds", type=int, nargs="+", default=[0], help="one pair of runs for each")
    verb.add_argument("--overlays", nargs="*", default=[], metavar="FILE", help="configs between the two")
    verb.add_argument("--baseline", default="baseline.json", help="the overlay that takes the critic away")
    verb.set_defaults(action=_twin, settings=[])


def _twin(given: argparse.Namespace) -> int:
    configs = given.bundle / "configs"
    names = ["train.json", *given.overlays, given.baseline, "evaluate.json"]
    missing = [name for name in names if not (configs / name).is_file()]
    if missing:
        raise ConfigError(f"{configs} has no {missing[0]}: name the folder of a bundle with a twin.")
    common = [configs / name for name in ("train.json", *given.overlays)]
    kinds = {"critic": common, "twin": [*common, configs / given.baseline]}
    reports: dict[str, list[Path]] = {kind: [] for kind in kinds}
    for seed in given.seeds:
        for kind, files in kinds.items():
            folder = given.output_dir / f"{kind}_seed_{seed}"
            settings = [*given.settings, "--seed", str(seed)]
            _run("training", files, [*settings, "--output_dir", str(folder)])
            places = ["--ckpt_dir", str(folder), "--output_dir", str(folder / "eval")]
            _run("evaluating", [*files, configs / "evaluate.json"], [*settings, *places])
            reports[kind].append(folder / "eval" / "cases.csv")
    comparisons = compare(reports["critic"], reports["twin"])
    text = table(comparisons)
    with atomic_write(given.output_dir / "twin.md") as draft:
        draft.write_text(text, encoding="utf-8")
    with atomic_write(given.output_dir / "twin.png") as draft:
        draw(comparisons).savefig(draft)
    sys.stdout.write(f"{text}{given.output_dir / 'twin.md'}, {given.output_dir / 'twin.png'}\n")
    return 0


def _run(run_id: str, files: list[Path], settings: list[str]) -> None:
    """In a process of its own, as a user would: what was stopped goes on, what is done is not done again."""
    names = ",".join(repr(str(file)) for file in files)
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", f"[{names}]", *settings]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise ConfigError(
            f"{run_id} ended with code {ended.returncode}, see above; the same command goes on from there."
        )
