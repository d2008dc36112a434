"""What every bundle promises, whatever its paper: MONAI's properties, the schema, a network that fits."""

import json
from pathlib import Path

import jsonschema
import pytest
from bundle_runs import BUNDLES, Bundle
from monai.bundle import verify_net_in_out

NAMES = sorted(path.parents[1].name for path in BUNDLES.rglob("configs/train.json"))


@pytest.fixture(params=NAMES)
def configs(request: pytest.FixtureRequest) -> Path:
    return Bundle(request.param).configs


@pytest.mark.parametrize("kind", ["train", "inference"])
@pytest.mark.parametrize("name", NAMES)
def test_it_has_every_property_that_monai_asks_for(name: str, kind: str) -> None:
    bundle = Bundle(name)
    settings: dict[str, object] = {"initialize": [], "device": "cpu"}
    if kind == "inference":
        dataset = Path(bundle.workflow().parser.get_parsed_content("dataset_dir"))
        first = json.loads((dataset / "dataset.json").read_text())["training"][0]["image"]
        settings["dataset_dir"] = str(dataset / (first if isinstance(first, str) else first[0]))
    assert bundle.ready(kind=kind, **settings).check_properties() == []


def test_its_metadata_fit_the_schema(configs: Path, shared_data: Path) -> None:
    schema = json.loads((shared_data.parent / "schema" / "meta_schema_20240725.json").read_text())
    metadata = json.loads((configs / "metadata.json").read_text())
    jsonschema.validate(metadata, schema)
    assert metadata["version"] in metadata["changelog"]
    assert "critic_data_format" in metadata


def test_its_network_takes_and_gives_what_the_metadata_say(configs: Path) -> None:
    files = {"config_file": str(configs / "train.json"), "meta_file": str(configs / "metadata.json")}
    verify_net_in_out(net_id="network_def", **files)
