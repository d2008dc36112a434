"""What is checked before the first batch; the files themselves are the data room's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segadv_monai.bundle import preflight
from segadv_monai.protocols import ConfigError, DataError

FITTING = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "regions": [[1]],
    "device": "cpu",
    "batch_size": 2,
}


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    entries = []
    for i in range(3):
        Image.fromarray(np.full((5, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
        Image.fromarray(np.full((5, 4), i % 2, np.uint8)).save(tmp_path / f"label_{i}.png")
        entries.append({"image": f"{i}.png", "label": f"label_{i}.png"})
    labels = {"0": "background", "1": "lesion"}
    content = {"labels": labels, "training": entries[:2], "validation": entries[2:]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return str(tmp_path)


def test_what_fits_passes_and_tells_what_it_is(dataset: str) -> None:
    report = preflight(dataset_dir=dataset, **FITTING)
    assert report.cases == {"training": 2, "validation": 1}
    assert sorted(report.hashes) == [f"{i}.png" for i in range(3)] + [f"label_{i}.png" for i in range(3)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"regions": [[1], [2]], "out_channels": 2},
            r"regions has the labels \[2\].* has only 0 background, 1 lesion",
        ),
        ({"out_channels": 2}, "1 regions for 2 maps of the network: set --network_def#out_channels 1"),
        ({"batch_size": 3}, "batch_size 3 is more than the 2 training cases"),
        ({"device": "gpu"}, "none that torch knows"),
    ],
)
def test_settings_that_do_not_fit_are_refused(dataset: str, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preflight(dataset_dir=dataset, **{**FITTING, **wrong})


def test_the_files_are_looked_at(dataset: str) -> None:
    (Path(dataset) / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        preflight(dataset_dir=dataset, **FITTING)


def test_only_the_sections_of_the_run_are_looked_at(dataset: str) -> None:
    (Path(dataset) / "1.png").unlink()
    preflight(dataset_dir=dataset, **{**FITTING, "sections": ["validation"], "batch_size": 9})


def test_an_image_in_both_sections_may_be_allowed(dataset: str) -> None:
    (Path(dataset) / "2.png").write_bytes((Path(dataset) / "0.png").read_bytes())
    with pytest.raises(DataError, match="is the same image"):
        preflight(dataset_dir=dataset, **FITTING)
    preflight(dataset_dir=dataset, **FITTING, allow_shared=True)


def test_one_process_of_a_distributed_run_speaks_for_all(
    dataset: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "segadv_monai")
    monkeypatch.setenv("RANK", "1")
    preflight(dataset_dir=dataset, **FITTING)
    assert caplog.messages == []
    monkeypatch.setenv("RANK", "0")
    preflight(dataset_dir=dataset, **FITTING)
    assert caplog.messages[-1].startswith("2 + 1 cases checked")


def test_instances_are_no_regions(dataset: str) -> None:
    file = Path(dataset) / "dataset.json"
    file.write_text(file.read_text().replace('"1"', '">0"'))
    with pytest.raises(DataError, match=r"the keys of labels must be integers, got '>0'"):
        preflight(dataset_dir=dataset, **FITTING)
