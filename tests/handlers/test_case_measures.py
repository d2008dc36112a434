"""All measures of an evaluation, case by case, with honest units."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image
from torch import Tensor

from segadv_monai.handlers import CaseMeasures, CaseReport
from segadv_monai.protocols import ConfigError, DataError

NAN = float("nan")
AFFINE = torch.diag(torch.tensor([-0.5, 1.0, 2.0, 1.0], dtype=torch.float64))


def volume(*places: tuple[int, ...], regions: int = 1) -> MetaTensor:
    """Maps of a volume of 3 x 4 x 6 mm with voxels of 0.5 x 1 x 2 mm; a place is a region and a voxel."""
    maps = torch.zeros(regions, 6, 4, 3)
    for place in places:
        maps[place] = 1
    return MetaTensor(maps, affine=AFFINE, meta={"original_affine": AFFINE, "filename_or_obj": "a.nii"})


def picture(*places: tuple[int, ...]) -> MetaTensor:
    maps = torch.zeros(1, 3, 4)
    for place in places:
        maps[place] = 1
    return MetaTensor(maps, meta={"filename_or_obj": "a.png"})


def evaluate(handler: CaseMeasures, cases: list[tuple[Tensor, Tensor]]) -> Engine:
    engine = Engine(lambda _, case: [case])
    handler.attach(engine)
    image = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "case"})
    engine.run([{"pred": prediction, "label": label, "image": image} for prediction, label in cases])
    return engine


def test_every_case_has_every_measure_in_millimetres() -> None:
    cases = [
        (volume((0, 1, 1, 1)), volume((0, 1, 1, 2))),
        (volume(), volume((0, 0, 0, 0))),
        (volume(), volume()),
        (volume((0, 1, 1, 1)), volume((0, 1, 1, 1))),
    ]
    state = evaluate(CaseMeasures(), cases).state
    found = {name: table.squeeze(1).tolist() for name, table in state.metric_details.items()}
    diagonal = float(np.linalg.norm((3, 4, 6)))
    expected = {
        "missed": [1, 1, 0, 0],
        "empty_prediction": [0, 1, 0, 0],
        "empty_reference": [0, 0, 0, 0],
        "both_empty": [0, 0, 1, 0],
        "dice": [0, 0, NAN, 1],
        "jaccard": [0, 0, NAN, 1],
        "volume_error": [0, 1, NAN, 0],
        "hd95_mm": [2, diagonal, NAN, 0],
        "assd_mm": [2, diagonal, NAN, 0],
        "nsd": [1, 0, NAN, 1],
        "components_error": [0, 100, NAN, 0],
        "holes_error": [0, 100, NAN, 0],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, nan_ok=True), name
    assert state.metrics["missed"] == 2
    assert state.metrics["dice"] == pytest.approx(1 / 3)
    assert state.metrics["hd95_mm"] == pytest.approx((2 + diagonal) / 3)
    assert state.surfaces == {"definition": "voxel_edges", "tolerance": 2.0, "unit": "mm"}


def test_the_spacing_is_that_of_the_file_and_pictures_have_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keeps N9."""
    caplog.set_level("INFO", "segadv_monai")
    mask = np.zeros((4, 3, 2), np.uint8)
    mask[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([3.0, 2, 1, 1])), tmp_path / "a.nii.gz")
    Image.fromarray(mask[..., 0]).save(tmp_path / "a.png")
    names = {}
    for file in ("a.nii.gz", "a.png"):
        label = LoadImage(ensure_channel_first=True)(tmp_path / file)
        prediction = torch.roll(label.as_tensor(), 1, 2)
        state = evaluate(CaseMeasures(["hd95_mm", "nsd"], tolerance_mm=1.5), [(prediction, label)]).state
        names[file] = {name: value for name, value in state.metrics.items() if name[:2] in ("hd", "ns")}
    assert names["a.nii.gz"] == {"hd95_mm": 2, "nsd": 0}
    assert names["a.png"] == {"hd95_voxels": 1, "nsd": 1}
    assert state.surfaces["unit"] == "voxels"
    assert "distances and the tolerance of nsd are in voxels" in caplog.text


def test_volumes_and_pictures_are_not_mixed() -> None:
    """Keeps N9."""
    with pytest.raises(DataError, match=r"a\.png has no spacing, unlike the cases before"):
        evaluate(CaseMeasures(["dice"]), [(volume(), volume()), (picture(), picture())])


@pytest.mark.parametrize("definition", ["voxel_edges", "surface_elements"])
def test_label_maps_give_what_their_regions_give(definition: Any) -> None:
    rng = np.random.default_rng(0)
    regions = [[1, 2], [2], [3]]
    labels = [
        [MetaTensor(torch.from_numpy(rng.integers(0, n, (1, 6, 4, 3))).float()) for n in (4, 5)]
        for _ in range(3)
    ]
    maps = [
        [torch.cat([torch.isin(x, torch.tensor(region)) for region in regions]).float() for x in pair]
        for pair in labels
    ]
    from_labels = evaluate(CaseMeasures(regions=regions, definition=definition), labels).state
    from_maps = evaluate(CaseMeasures(definition=definition), maps).state
    assert from_labels.metric_details.keys() == from_maps.metric_details.keys()
    for name, table in from_labels.metric_details.items():
        assert table.shape == (3, 3)
        torch.testing.assert_close(table, from_maps.metric_details[name], equal_nan=True)


def test_pieces_and_holes_are_counted_for_each_region() -> None:
    """Two pieces for one; and a ring, which is filled or not, for none and one hole."""
    ring = torch.ones(3, 3)
    ring[1, 1] = 0
    pieces, whole = torch.eye(3) * torch.tensor([1.0, 0, 1]), torch.ones(3, 3)
    case = torch.stack([pieces, ring]), torch.stack([whole, whole])
    names = ["components_error", "holes_error"]
    details = evaluate(CaseMeasures(names), [case]).state.metric_details
    assert details["components_error"].tolist() == [[1, 0]]
    assert details["holes_error"].tolist() == [[0, 1]]
    assert evaluate(CaseMeasures(names), [case]).state.metrics["holes_error"] == 0.5
    labels = 1 + ring[None], torch.ones(1, 3, 3)
    details = evaluate(CaseMeasures(names, regions=[[2], [1, 2], [1]]), [labels]).state.metric_details
    assert details["components_error"].tolist() == [[100, 0, 0]]
    assert details["holes_error"].tolist() == [[100, 0, 0]]


def test_measures_without_distances_compute_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("surface_distances", "region_surface_distances"):
        monkeypatch.delattr(f"segadv_monai.handlers.case_measures.{name}")
    found = evaluate(CaseMeasures(["dice", "components_error"]), [(picture((0, 0, 0)), picture((0, 0, 0)))])
    assert found.state.metrics["dice"] == 1


def test_a_second_run_starts_anew() -> None:
    handler = CaseMeasures(["dice"])
    engine = evaluate(handler, [(volume(), volume()), (volume(), volume((0, 0, 0, 0)))])
    engine.run([{"pred": volume(), "label": volume()}])
    assert len(engine.state.metric_details["dice"]) == 1


def test_a_report_says_of_what_its_numbers_are(tmp_path: Path) -> None:
    engine = Engine(lambda _, case: [case])
    CaseMeasures(["dice", "hd95_mm"]).attach(engine)
    CaseReport(tmp_path, resamples=9).attach(engine)
    image = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "case"})
    engine.run([{"image": image, "pred": volume((0, 1, 1, 1)), "label": volume((0, 1, 1, 1))}])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["surfaces"] == {"definition": "voxel_edges", "tolerance": 2.0, "unit": "mm"}
    assert summary["region 1"]["hd95_mm"]["mean"] == 0
    assert summary["region 1"]["n_missed"] == 0
    [row] = csv.DictReader((tmp_path / "cases.csv").read_text().splitlines())
    assert row["hd95_mm"] == "0"


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(ConfigError, match="measures must be some of dice, jaccard"):
        CaseMeasures(["hausdorff"])
    for regions in ([], [[]], [[0]]):
        with pytest.raises(ConfigError, match="labels greater than 0"):
            CaseMeasures(regions=regions)
    with pytest.raises(DataError, match="one channel, got 2: leave out regions"):
        evaluate(CaseMeasures(regions=[[1]]), [(volume(regions=2), volume(regions=2))])
    with pytest.raises(DataError, match="label must hold whole numbers"):
        evaluate(CaseMeasures(regions=[[1]]), [(volume(), volume() + 0.5)])
    with pytest.raises(DataError, match="back to the reference's grid"):
        evaluate(CaseMeasures(), [(picture(), volume())])


PROCESS = """
import sys
import torch
from ignite.engine import Engine
from torch import distributed
from segadv_monai.handlers import CaseMeasures

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
engine = Engine(lambda _, case: [case])
CaseMeasures().attach(engine)
engine.run([{"pred": a, "label": b} for a, b in torch.load(f"{folder}/maps.pt")[rank::2]])
torch.save((engine.state.metrics, engine.state.metric_details), f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_report_the_cases_of_both(tmp_path: Path) -> None:
    maps = (torch.rand(3, 2, 1, 5, 5, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    torch.save(maps, tmp_path / "maps.pt")
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)]) for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    # The first process has the first and the third case.
    alone = evaluate(CaseMeasures(), [(maps[i, 0], maps[i, 1]) for i in (0, 2, 1)]).state
    for rank in range(2):
        metrics, details = torch.load(tmp_path / f"{rank}.pt")
        assert metrics == pytest.approx(alone.metrics)
        for name, table in alone.metric_details.items():
            torch.testing.assert_close(details[name], table, equal_nan=True)
