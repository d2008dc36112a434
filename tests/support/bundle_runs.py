"""What the tests of every bundle do with it: a few cases by reference, a config, a short training."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow, ckpt_export

__all__ = ["BUNDLES", "Bundle", "rows", "small_set"]

BUNDLES = Path(__file__).parents[2] / "bundles"


class Bundle:
    """A bundle by its name, with the settings that make its training a matter of seconds."""

    def __init__(self, name: str, small: dict[str, Any] | None = None) -> None:
        self.configs = BUNDLES / name / "configs"
        self.small = small or {}

    def workflow(self, *overlays: str, kind: str = "train", **overrides: object) -> ConfigWorkflow:
        """Its config as MONAI reads it, before anything has run."""
        first = "inference.json" if kind == "inference" else "train.json"
        files = [str(self.configs / name) for name in (first, *overlays)]
        return ConfigWorkflow(files, workflow_type=kind, logging_file=False, **overrides)

    def ready(self, *overlays: str, kind: str = "train", **overrides: object) -> ConfigWorkflow:
        """The same behind its first steps."""
        started = self.workflow(*overlays, kind=kind, **overrides)
        started.initialize()
        return started

    def run(self, *overlays: str, kind: str = "train", **overrides: object) -> None:
        """All of it, with no settings but these."""
        self.ready(*overlays, kind=kind, **overrides).run()

    def train(self, output: Path, dataset: Path, *overlays: str, **overrides: object) -> Path:
        """A small training; the folder that it leaves."""
        paths = {"output_dir": str(output), "dataset_dir": str(dataset)}
        self.run(*overlays, **{**self.small, **paths, **overrides})
        return output

    def exported(
        self, folder: Path, model: Path, input_shape: list[int], **network: object
    ) -> torch.jit.ScriptModule:
        """Its trained segmentor as the Model Zoo's gate exports it, with these arguments of the network."""
        config = json.loads((self.configs / "inference.json").read_text())
        config["network_def"].update(network)
        (folder / "inference.json").write_text(json.dumps(config))
        ckpt_export(
            net_id="network_def",
            filepath=str(folder / "model.ts"),
            ckpt_file=str(model / "model.pt"),
            meta_file=str(self.configs / "metadata.json"),
            config_file=str(folder / "inference.json"),
            input_shape=input_shape,
        )
        return torch.jit.load(folder / "model.ts")


def small_set(
    directory: Path, folder: Path, *, training: int = 4, validation: int = 1, **changes: Any
) -> Path:
    """A few cases of a data set, by reference."""
    description = json.loads((folder / "dataset.json").read_text())
    for section, count in (("training", training), ("validation", validation)):
        cases = description[section][:count]
        description[section] = [{key: _inside(folder, path) for key, path in case.items()} for case in cases]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "dataset.json").write_text(json.dumps({**description, **changes}))
    return directory


def _inside(folder: Path, path: str | list[str]) -> str | list[str]:
    return str(folder / path) if isinstance(path, str) else [str(folder / one) for one in path]


def rows(path: Path) -> list[dict[str, str]]:
    """Of a table with a header."""
    return list(csv.DictReader(path.read_text().splitlines()))
