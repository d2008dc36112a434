"""Seconds to look at every file of the real data sets, at the first start of a run and at any later one.

The folder of the sets is an argument, or ``SEGADV_DATA``. What was read before lies in the page cache.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from segadv_monai.data import check_dataset

# Dimensions and channels of each set's images.
SETS = {
    "brain_tumour": (3, 2),
    "camvid": (2, 3),
    "cardiac_cine": (3, 1),
    "dermoscopy": (2, 3),
    "em_membranes": (2, 1),
    "hippocampus": (3, 1),
    "nuclei": (2, 1),
    "retina_drive": (2, 3),
    "subcortical": (3, 1),
}


def main() -> None:
    """Measure and print one row for each set."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SEGADV_DATA", "../shared/data"))
    sys.stdout.write("| set | cases | first s | later s | faults | warnings |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    for name, (dims, channels) in SETS.items():
        with tempfile.TemporaryDirectory() as cache:
            os.environ["SEGADV_CACHE"] = cache
            seconds = []
            for _ in range(2):
                started = time.perf_counter()
                report = check_dataset(str(folder / name), spatial_dims=dims, in_channels=channels)
                seconds.append(f"{time.perf_counter() - started:.2f}")
        cases = " + ".join(map(str, report.cases.values()))
        found = f"{len(report.of('error'))} | {len(report.of('warning'))}"
        sys.stdout.write(f"| {name} | {cases} | {' | '.join(seconds)} | {found} |\n")


if __name__ == "__main__":
    main()
