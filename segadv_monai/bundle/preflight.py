"""What can be known before the first batch, checked before the first batch."""

from collections.abc import Sequence

import torch

from segadv_monai.data import DataReport, check_dataset, labels_of
from segadv_monai.protocols import ConfigError

from .device import resolve_device
from .surroundings import process_rank

__all__ = ["preflight"]


def preflight(
    *,
    dataset_dir: str,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    regions: Sequence[Sequence[int]],
    device: str | torch.device = "auto",
    sections: Sequence[str] = ("training", "validation"),
    batch_size: int = 1,
    allow_shared: bool = False,
) -> DataReport:
    """Check device, regions and every file of a data set against the network.

    What was found in the files comes back, for the :class:`Manifest` of the run.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        spatial_dims: 2 or 3, of the network.
        in_channels: of the network.
        out_channels: of the network.
        regions: label values of each map.
        device: where to run.
        sections: lists of cases that the run uses.
        batch_size: of the training.
        allow_shared: whether the same image may stand in two of the sections.

    Raises:
        ConfigError: the device is not there; regions, labels, maps or the batch size do not fit.
        DataError: the first fault of the data set.
    """
    resolve_device(device)
    labels = labels_of(dataset_dir)
    unknown = sorted({value for region in regions for value in region} - set(labels))
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in labels.items())
        raise ConfigError(f"regions has the labels {unknown}, but {dataset_dir} has only {known}.")
    if len(regions) != out_channels:
        raise ConfigError(
            f"there are {len(regions)} regions for {out_channels} maps of the network: set "
            f"--network_def#out_channels {len(regions)}, or mend --regions."
        )
    report = check_dataset(
        dataset_dir,
        sections=sections,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        allow_shared=allow_shared,
        quiet=process_rank() > 0,
    )
    cases = report.cases.get("training", batch_size)
    if batch_size > cases:
        raise ConfigError(
            f"batch_size {batch_size} is more than the {cases} training cases: set "
            f"--batch_size {cases} or less."
        )
    return report
