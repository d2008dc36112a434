"""Critics of the projective adversarial network (Khosravan et al., MICCAI 2019, arXiv 1906.04378).

One critic judges slices, a second one what is seen of a run of consecutive slices from one side, so that
depth is judged at the cost of two dimensions. The abstract says as much, and that attention passes global
information from the segmentor to the critics; the rest is by memory of the paper. Its layers, and the number
and axis of its projections, are unknown to us: the critics and the axis are arguments.

Our reading: the image is projected by its mean, as its intensities have no zero; the gate is one map for each
slice, and it multiplies the maps before they are projected, the drawn ones like the predicted ones, so that
it cannot tell them apart.
"""

from typing import Literal

from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segadv_monai.layers import project, score_of
from segadv_monai.protocols import CriticOutput

__all__ = ["ProjectiveCritic"]


class ProjectiveCritic(nn.Module):
    """A critic of slices and a critic of projections, each of any kind.

    A batch holds whole runs of consecutive slices, one behind the other.

    Args:
        spatial: judges each slice.
        projected: judges each run, projected along ``axis``.
        spatial_dims: of a slice.
        slices: per run; None takes the whole batch for one run.
        axis: along which the stack is projected: 0 is across the slices, 1 and further an axis of the slice,
            where the projection has the slices as its first axis.
        gate_channels: channels of the segmentor's features, from which a gate for the maps is computed; None
            for no gate.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``.
        - image: ``(B, in_channels, *S)``.
        - features: ``(B, gate_channels, *S')`` with a gate, resized to ``S``; not looked at without one.
        - view: ``spatial`` and ``projected`` give the verdicts of that critic alone.
        - Output: ``score`` ``(B, 1)``, the mean verdict on the slice plus the mean verdict on its run; of
          ``spatial`` as that critic's; of ``projected`` as that critic's, for ``B / slices`` runs.

    Raises:
        ValueError: ``slices`` or ``axis`` is out of its range; the batch is no whole number of runs; there
            is a gate and no features, or not as many; maps, channels or grids do not fit the two critics.
    """

    def __init__(
        self,
        spatial: nn.Module,
        projected: nn.Module,
        *,
        spatial_dims: int = 2,
        slices: int | None = None,
        axis: int = 0,
        gate_channels: int | None = None,
    ) -> None:
        super().__init__()
        if slices is not None and slices < 1:
            raise ValueError(f"slices must be at least 1, or None for the whole batch, got {slices}.")
        if not 0 <= axis <= spatial_dims:
            raise ValueError(f"axis must be 0, across the slices, to {spatial_dims}, got {axis}.")
        self.spatial = spatial
        self.projected = projected
        self.slices = slices
        self.axis = axis
        self.gate_channels = gate_channels
        self.gate = None if gate_channels is None else Conv[Conv.CONV, spatial_dims](gate_channels, 1, 1)
        self.interpolation = {2: "bilinear", 3: "trilinear"}[spatial_dims]

    def forward(
        self,
        segmentation: Tensor,
        image: Tensor,
        features: Tensor | None = None,
        *,
        view: Literal["both", "spatial", "projected"] = "both",
    ) -> CriticOutput:
        output: CriticOutput
        if view == "spatial":
            output = self.spatial(segmentation, image)
            return output
        maps = segmentation if self.gate is None else self._gated(segmentation, features)
        run = self._slices_per_run(len(maps))
        # Axes: run, channel, slice, and those of the slice.
        volume, stack = (x.reshape(-1, run, *x.shape[1:]).movedim(1, 2) for x in (maps, image))
        dim = 2 + self.axis
        seen = project(volume, dim), stack.mean(dim=dim)
        if view == "projected":
            output = self.projected(*seen)
            return output
        of_slices = _verdict(self.spatial, segmentation, image)
        of_runs = _verdict(self.projected, *seen)
        return CriticOutput(of_slices + of_runs.repeat_interleave(run, dim=0), ())

    def _slices_per_run(self, batch: int) -> int:
        run = batch if self.slices is None else self.slices
        if batch % run:
            raise ValueError(
                f"{batch} slices are no whole number of runs of {run}: set the critic's slices to the number "
                "of slices that a run of the data has."
            )
        return run

    def _gated(self, segmentation: Tensor, features: Tensor | None) -> Tensor:
        if self.gate is None or features is None:
            raise ValueError(
                "the gate is computed from the segmentor's features and there are none: train with "
                "layers.WithFeatures around the network, or leave out gate_channels."
            )
        if features.shape[1] != self.gate_channels:
            raise ValueError(
                f"the gate was built for {self.gate_channels} feature channels, got {features.shape[1]}: set "
                "its gate_channels to these."
            )
        # A game may ask outside of the autocast in which the features were made.
        openings = self.gate(features.to(segmentation.dtype))
        openings = interpolate(openings, segmentation.shape[2:], mode=self.interpolation).sigmoid()
        return segmentation * openings.to(segmentation.dtype)


def _verdict(critic: nn.Module, maps: Tensor, image: Tensor) -> Tensor:
    """One number for each case, ``(B, 1)``."""
    score = score_of(critic, maps, image, game="ProjectiveCritic", such_as="PatchCritic")
    return score.flatten(1).mean(dim=1, keepdim=True)
