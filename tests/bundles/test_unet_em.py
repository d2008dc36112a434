"""The bundle unet_em end to end: valid convolutions, deformation, weight, twin, symmetries, inference."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import Bundle, small_set
from PIL import Image
from safetensors.torch import load_file

from segadv_monai.data import sample_data

WIDTHS = [2, 4, 4]
NETWORK = {"network_def::widths": WIDTHS, "device": "cpu"}
SMALL = {
    **NETWORK,
    "epochs": 2,
    "val_interval": 1,
    "warm_up": 1,
    "tile": 84,
    "margin": 20,
    "critic_def::width": 2,
}


BUNDLE = Bundle("unet_em", SMALL)


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(
        tmp_path_factory.mktemp("sections"), Path(sample_data("membranes")), training=2, validation=2
    )


def first_batch(dataset: Path, output: Path, **overrides: object) -> dict[str, torch.Tensor]:
    settings = {**SMALL, "output_dir": str(output), "dataset_dir": str(dataset), **overrides}
    batch = next(iter(BUNDLE.ready(**settings).parser.get_parsed_content("train#dataloader")))
    return {key: batch[key].as_subclass(torch.Tensor) for key in ("image", "label", "weight")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sections: Path) -> Path:
    return BUNDLE.train(tmp_path_factory.mktemp("trained"), sections)


def test_a_batch_has_label_and_weight_on_the_networks_smaller_grid(tmp_path: Path, sections: Path) -> None:
    batch = first_batch(sections, tmp_path)
    assert batch["image"].shape == (1, 1, 84, 84)
    assert batch["label"].shape == (1, 2, 44, 44)
    assert batch["weight"].shape == (1, 1, 44, 44)
    # Still one class at each pixel, and membranes count for more.
    assert batch["label"].unique().tolist() == [0, 1]
    assert batch["label"].sum(1).unique().tolist() == [1]
    membrane = batch["label"][:, :1] > 0
    assert batch["weight"][membrane].mean() > 1.2 * batch["weight"][~membrane].mean()


def test_border_weight_and_deformation_are_each_one_setting(tmp_path: Path, sections: Path) -> None:
    usual, still, even = (
        first_batch(sections, tmp_path / str(i), **settings)
        for i, settings in enumerate(
            [{}, {"elastic_sigma": 0.0}, {"border_weight": 0.0, "class_weights": [1, 1]}]
        )
    )
    assert not torch.equal(usual["label"], still["label"])
    assert torch.equal(usual["label"], even["label"])
    assert even["weight"].unique().tolist() == [1]


def test_training_plays_and_leaves_its_files(trained: Path) -> None:
    for name in ("model.pt", "model.safetensors", "last.safetensors", "history.csv"):
        assert (trained / name).stat().st_size > 0
    first, second = csv.DictReader((trained / "history.csv").read_text().splitlines())
    assert not first["segmentor/adversarial"]
    assert float(second["segmentor/adversarial"]) > 0
    assert 0 <= float(second["validation/mean_iou"]) < 1


def test_the_twin_starts_from_the_same_weights_and_data(tmp_path: Path, sections: Path) -> None:
    settings = {**SMALL, "output_dir": str(tmp_path), "dataset_dir": str(sections)}
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        parser = BUNDLE.ready(*overlays, **settings).parser
        weights.append([p.clone() for p in parser.get_parsed_content("network").parameters()])
        batches.append(next(iter(parser.get_parsed_content("train#dataloader"))))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in ("image", "label", "weight"))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, sections: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, sections, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


def test_the_twin_and_the_published_settings_train(tmp_path: Path, sections: Path) -> None:
    for name in ("baseline", "published"):
        BUNDLE.train(tmp_path / name, sections, f"{name}.json", epochs=1)
        assert (tmp_path / name / "model.pt").is_file()
        assert "adversarial" not in (tmp_path / name / "history.csv").read_text()


def test_the_published_network_is_the_papers(sections: Path) -> None:
    parser = BUNDLE.ready("published.json", device="cpu", dataset_dir=str(sections), initialize=[]).parser
    network = parser.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    assert network.output_size([572, 572]) == tuple(parser.get_parsed_content("output_size"))
    assert parser.get_parsed_content("optimizer").defaults["momentum"] == 0.99


def test_evaluation_averages_symmetries_and_measures_membranes(
    tmp_path: Path, trained: Path, sections: Path
) -> None:
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(sections)}
    run = BUNDLE.ready("evaluate.json", **NETWORK, **paths)
    run.run()
    told = json.loads((tmp_path / "membranes.json").read_text())
    assert 0 < told["v_rand"] <= 1
    assert 0 < told["pixel_error"] < 1
    assert len((tmp_path / "cases.csv").read_text().splitlines()) == 1 + 2 * 2
    inferer = run.parser.get_parsed_content("validate#inferer")
    network = run.parser.get_parsed_content("network").eval()
    image = torch.randn(1, 1, 60, 70)
    with torch.no_grad():
        once, turned = (inferer(x, network).softmax(1) for x in (image, image.rot90(1, (2, 3))))
    torch.testing.assert_close(turned, once.rot90(1, (2, 3)), atol=1e-4, rtol=1e-4)


def test_inference_writes_membranes_of_the_size_of_the_picture(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (61, 83), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "section.png")
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(tmp_path / "in")}
    BUNDLE.ready(kind="inference", **NETWORK, **paths).run()
    with Image.open(tmp_path / "section_segmentation.png") as opened:
        assert opened.size == (83, 61)
        assert np.asarray(opened).max() <= 1


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 1, 84, 84], widths=WIDTHS)
    assert exported(torch.rand(1, 1, 84, 84)).shape == (1, 2, 44, 44)


def test_real_sections_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "em_membranes", training=2, validation=2)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, warm_up=0)
    assert (tmp_path / "run" / "model.pt").is_file()
