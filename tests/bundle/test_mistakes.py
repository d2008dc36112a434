"""Mistakes made by hand in our own bundle and on command lines: each gets the line that names it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segadv_monai.bundle import Finding, check
from segadv_monai.bundle.overrides import read_command

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "segan" / "configs"
REMOVED = object()


@dataclass(frozen=True)
class Mistake:
    """A change of our own bundle or of a command line, and the line that it gets.

    ``edits`` has new values by file and path, ``text`` a replacement in the text of a file, ``words`` what is
    typed behind the files.
    """

    line: str
    files: tuple[str, ...] = ("train.json",)
    edits: dict[str, Any] = field(default_factory=dict)
    text: tuple[str, str, str] | None = None
    words: tuple[str, ...] = ()


MISTAKES = {
    # --- overrides
    "a misspelt option": Mistake(
        "command line: --epoch: nothing reads epoch, did you mean --epochs?", words=("--epoch", "5")
    ),
    "a misspelt option with an equals sign": Mistake(
        "command line: --batchsize: nothing reads batchsize, did you mean --batch_size?",
        words=("--batchsize=5",),
    ),
    "a misspelt argument": Mistake(
        "command line: --network_def#widdth: SegAN takes no widdth, did you mean width?",
        words=("--network_def#widdth", "8"),
    ),
    "a misspelt group": Mistake(
        "command line: --networkdef#width: there is no networkdef, did you mean network_def#width?",
        words=("--networkdef#width", "8"),
    ),
    "an argument of a component that is switched off": Mistake(
        "command line: --critic#width: there is no width in critic, it is no group of entries.",
        files=("train.json", "baseline.json"),
        words=("--critic#width", "8"),
    ),
    "an entry behind the end of a list": Mistake(
        "command line: --schedules#2: there is no 2 in schedules, there are 0, 1.",
        words=("--schedules#2", "5"),
    ),
    "a None, which MONAI drops": Mistake(
        'command line: --critic: MONAI drops a None of the command line, write "critic": null into a config',
        words=("--critic", "None"),
    ),
    "a plus, which MONAI takes for nothing": Mistake(
        "command line: --+finalize: as a setting + replaces what is there", words=("--+finalize", "[]")
    ),
    "a run that does not exist": Mistake(
        "command line: run_id: there is no trainiing, did you mean training?", words=("trainiing",)
    ),
    "a word where a number belongs": Mistake(
        "command line: --epochs: must be int, got 'ten' (it becomes train::trainer::max_epochs)",
        words=("--epochs", "ten"),
    ),
    "an option without its value": Mistake(
        "command line: --epochs: must be int, got True", words=("--epochs", "--batch_size", "4")
    ),
    "a number where a list belongs": Mistake(
        "command line: --regions: must be list[list[int]], got 1", words=("--regions", "1")
    ),
    "a crop that the network cannot take": Mistake(
        "command line: --crop_size: SegAN cannot take [20, 20]: SegAN takes axes of at least 33",
        words=("--crop_size", "[20,20]"),
    ),
    "a network of four dimensions": Mistake(
        "train.json: network_def: SegAN cannot be built: spatial_dims must be 2 or 3, got 4",
        words=("--network_def#spatial_dims", "4"),
    ),
    "more regions than maps": Mistake(
        "command line: --regions: there are 2 for 1 maps of the network, set network_def#out_channels to 2",
        words=("--regions", "[[1],[2]]"),
    ),
    "a data set that is not there": Mistake(
        "command line: --dataset_dir: /nowhere: there is no such folder", words=("--dataset_dir", "/nowhere")
    ),
    "a region that the data set has no label for": Mistake(
        "command line: --regions: {data} has no label 5, it has 0 background, 1 lesion.",
        words=("--dataset_dir", "{data}", "--regions", "[[5]]"),
    ),
    # --- overlays
    "a misspelt id of an overlay": Mistake(
        "baseline.json: loss_functoin: nothing reads loss_functoin, did you mean loss_function?",
        files=("train.json", "baseline.json"),
        edits={"baseline.json/loss_functoin": None},
    ),
    "a misspelt argument of an overlay": Mistake(
        "volumes.json: network_def::widdth: SegAN takes no widdth, did you mean width?",
        files=("train.json", "volumes.json"),
        edits={"volumes.json/network_def::width": REMOVED, "volumes.json/network_def::widdth": 8},
    ),
    "a misspelt group of an overlay": Mistake(
        "volumes.json: crtic_def::widths: there is no crtic_def, did you mean critic_def#widths?",
        files=("train.json", "volumes.json"),
        edits={"volumes.json/crtic_def::widths": [8, 16]},
    ),
    "an entry that an overlay adds to a group in vain": Mistake(
        "evaluate.json: validate::handlerz: nothing reads handlerz, did you mean validate::handlers?",
        files=("train.json", "evaluate.json"),
        edits={"evaluate.json/validate::handlerz": []},
    ),
    "a list that an overlay extends and that is not there": Mistake(
        "multi_gpu_train.json: +initialise: there is no initialise to extend, did you mean +initialize?",
        files=("train.json", "multi_gpu_train.json"),
        edits={"multi_gpu_train.json/+initialise": ["$torch.cuda.empty_cache()"]},
    ),
    # --- targets and arguments
    "a misspelt class": Mistake(
        "train.json: network_def::_target_: there is no segadv_monai.networks.SegNA, did you mean "
        "segadv_monai.networks.SegAN?",
        edits={"train.json/network_def/_target_": "segadv_monai.networks.SegNA"},
    ),
    "a misspelt module": Mistake(
        "train.json: optimizer::_target_: there is no torch.optm.Adam, did you mean torch.optim.Adam?",
        edits={"train.json/optimizer/_target_": "torch.optm.Adam"},
    ),
    "a module in place of a class": Mistake(
        "train.json: loss_function::_target_: monai.losses.dice is a module, did you mean",
        edits={"train.json/loss_function/_target_": "monai.losses.dice"},
    ),
    "a misspelt _target_": Mistake(
        "train.json: train::inferer::_traget_: MONAI knows no _traget_, did you mean _target_?",
        edits={"train.json/train/inferer": {"_traget_": "monai.inferers.SimpleInferer"}},
    ),
    "an unknown argument": Mistake(
        "train.json: loss_function::square_pred: DiceLoss takes no square_pred, did you mean squared_pred?",
        edits={
            "train.json/loss_function/square_pred": True,
            "train.json/loss_function/squared_pred": REMOVED,
        },
    ),
    "an unknown argument behind open ones": Mistake(
        "train.json: validate::dataloader::batchsize: DataLoader takes no batchsize, did you mean batch_size",
        edits={
            "train.json/validate/dataloader/batchsize": 1,
            "train.json/validate/dataloader/batch_size": REMOVED,
        },
    ),
    "a missing argument": Mistake(
        "train.json: optimizer: Adam needs params, add it.",
        edits={"train.json/optimizer/params": REMOVED},
    ),
    "a text for a number": Mistake(
        "train.json: network_def::width: must be int, got '16'", edits={"train.json/network_def/width": "16"}
    ),
    "a fraction for a whole number": Mistake(
        "train.json: epochs: must be int, got 2.5", edits={"train.json/epochs": 2.5}
    ),
    # --- references and expressions
    "a reference to nothing": Mistake(
        "train.json: optimizer::lr: @learning_rat refers to nothing, did you mean @learning_rate?",
        edits={"train.json/optimizer/lr": "@learning_rat"},
    ),
    "a reference to nothing inside of something": Mistake(
        "train.json: critic_def::num_maps: @network_def#out_chanels refers to nothing, did you mean "
        "@network_def#out_channels?",
        edits={"train.json/critic_def/num_maps": "@network_def#out_chanels"},
    ),
    "a reference to nothing in an expression": Mistake(
        "train.json: network: @network_de refers to nothing, did you mean @network_def?",
        edits={"train.json/network": "$@network_de.to(@device)"},
    ),
    "an expression without its dollar": Mistake(
        "train.json: output_dir: @bundle_root + '/models' is a text to MONAI, no reference",
        edits={"train.json/output_dir": "@bundle_root + '/models'"},
    ),
    "a macro of nothing": Mistake(
        "train.json: run: %trainiing names nothing, did you mean %training?",
        edits={"train.json/run": "%trainiing"},
    ),
    "a circle": Mistake(
        "train.json: output_dir: refers to itself: output_dir > ckpt_dir > output_dir",
        edits={"train.json/output_dir": "$@ckpt_dir + '/x'"},
    ),
    "an expression that is none": Mistake(
        "train.json: training::0: is no expression ('(' was never closed)",
        edits={"train.json/training": ["$@train#trainer.run("]},
    ),
    "a name that expressions do not know": Mistake(
        "train.json: output_dir: pathlib is not known in expressions",
        edits={"train.json/output_dir": "$str(pathlib.Path(@bundle_root))"},
    ),
    "a misspelt function in an expression": Mistake(
        "multi_gpu_train.json: finalize::0: there is no torch.distributed.destroy_process_grup, did you mean "
        "torch.distributed.destroy_process_group?",
        files=("train.json", "multi_gpu_train.json"),
        edits={"multi_gpu_train.json/finalize": ["$torch.distributed.destroy_process_grup()"]},
    ),
    "a misspelt argument in an expression": Mistake(
        "multi_gpu_train.json: initialize::3: init_process_group takes no backnd, did you mean backend?",
        files=("train.json", "multi_gpu_train.json"),
        edits={
            "multi_gpu_train.json/+initialize": ["$torch.distributed.init_process_group(backnd=@backend)"]
        },
    ),
    # --- files, properties, metadata
    "a comma too many": Mistake(
        "train.json: line 7 column 15: is not valid JSON", text=("train.json", '"seed": 0,', '"seed": 0,,')
    ),
    "a key that stands there twice": Mistake(
        "train.json: seed: stands there twice", text=("train.json", '"seed": 0,', '"seed": 0, "seed": 1,')
    ),
    "a property that MONAI asks for": Mistake(
        "train.json: train::inferer: is missing, and MONAI asks for it, add it.",
        edits={"train.json/train/inferer": REMOVED, "train.json/train/trainer/inferer": REMOVED},
    ),
    "metadata without a version": Mistake(
        "metadata.json: monai_versio: is not known and monai_version is missing, did you mean monai_version?",
        edits={"metadata.json/monai_version": REMOVED, "metadata.json/monai_versio": "1.6.1"},
    ),
    "a version without a line in the changelog": Mistake(
        "metadata.json: changelog: version 0.2.0 is not in it", edits={"metadata.json/version": "0.2.0"}
    ),
    "a number of channels as text": Mistake(
        "metadata.json: network_data_format::inputs::image::num_channels: must be an integer, got '3'",
        edits={"metadata.json/network_data_format/inputs/image/num_channels": "3"},
    ),
    "input channels that the network does not have": Mistake(
        "metadata.json: network_data_format::inputs::image: SegAN cannot take 1 channels of [128, 128]",
        edits={"metadata.json/network_data_format/inputs/image/num_channels": 1},
    ),
    "output channels that the network does not have": Mistake(
        "metadata.json: network_data_format::outputs::pred::num_channels: is 2, but SegAN makes 1",
        edits={"metadata.json/network_data_format/outputs/pred/num_channels": 2},
    ),
    "an output of another size": Mistake(
        "metadata.json: network_data_format::outputs::pred::spatial_shape: is [64, 64], but SegAN makes",
        edits={"metadata.json/network_data_format/outputs/pred/spatial_shape": [64, 64]},
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    cases = [{"image": "a.png", "label": "b.png"}]
    labels = {"0": "background", "1": "lesion"}
    (tmp_path / "data").mkdir()
    description = {"labels": labels, "training": cases, "validation": cases}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    return tmp_path / "data"


def edit(configs: Path, where: str, value: Any) -> None:
    file, *path, last = where.split("/")
    content = json.loads((configs / file).read_text())
    place = content
    for part in path:
        place = place[part]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    (configs / file).write_text(json.dumps(content, indent=1))


def findings_of(configs: Path, mistake: Mistake, data: Path) -> list[Finding]:
    for path in CONFIGS.glob("*.json"):
        (configs / path.name).write_bytes(path.read_bytes())
    for where, value in mistake.edits.items():
        edit(configs, where, value)
    if mistake.text:
        file, before, after = mistake.text
        (configs / file).write_text((configs / file).read_text().replace(before, after, 1))
    files = str([str(configs / file) for file in mistake.files])
    words = [word.replace("{data}", str(data)) for word in mistake.words]
    command = read_command([*words, "--config_file", files])
    run_id = command.options.get("run_id", "run")
    found = check(command.config_files, command.overrides, run_id=run_id, sources=command.sources)
    return [*command.findings, *found]


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=[name.replace(" ", "_") for name in MISTAKES])
def test_a_mistake_gets_the_line_that_names_it(tmp_path: Path, data: Path, mistake: Mistake) -> None:
    """Keeps B10."""
    (tmp_path / "configs").mkdir()
    found = findings_of(tmp_path / "configs", mistake, data)
    errors = [str(f).replace(f"{tmp_path / 'configs'}/", "") for f in found if f.severity == "error"]
    assert len(errors) == 1, errors
    assert errors[0].startswith(mistake.line.replace("{data}", str(data)))


def test_there_are_forty_mistakes_and_each_has_a_line_of_its_own() -> None:
    assert len({mistake.line for mistake in MISTAKES.values()}) == len(MISTAKES) >= 40
