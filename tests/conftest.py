"""What every test finds in place: a cache, one thread per process, the real data where they are."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

# At import, so that everything that the tests start inherits it, and before anything reads it.
os.environ.setdefault("SEGADV_CACHE", str(Path(tempfile.gettempdir()) / f"segadv-tests-{os.getuid()}"))
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets, which are not part of the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SEGADV_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"needs the real data: there is no {folder}; set SEGADV_DATA to their folder")
    return folder
