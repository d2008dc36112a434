"""The cost of one adversarial iteration beside what its arithmetic requires and beside the naive order.

S and C are the operations of one forward pass of segmentor and critic. Alternating turns need 3 S + 9 C: one
forward and backward pass of the segmentor (3 S); in the critic's turn both segmentations forward and backward
(6 C); in the segmentor's turn both forward, and backward only to the input of one (3 C). One common backward
pass needs 3 S + 6 C. The naive order, that of the released SegAN, runs the segmentor anew in each turn and
keeps graphs of the critic everywhere: 4 S + 12 C. MONAI's own adversarial trainer cannot play this game: its
critic never sees a label map.

All run side by side in one process, one after the other in every round; the best time of each counts. The
naive step and the bare loop have no engine around them, ours has MONAI's engine with its events.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segadv_monai.critics import SegANCritic
from segadv_monai.networks import SegAN as Segmentor
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import Play
from segadv_monai.trainers import AdversarialTrainer, Alternating, Simultaneous

BETAS = (0.5, 0.999)


class Run:
    """Both players with their optimisers, from the same weights as every other run."""

    def __init__(self, width: int, batch: dict[str, Tensor]) -> None:
        torch.manual_seed(0)
        self.segmentor = Segmentor(2, 3, 1, width=width)
        self.critic = SegANCritic(2, 3, widths=tuple(width * n for n in (1, 2, 4, 8, 8, 8)))
        players = (self.segmentor, self.critic)
        self.optimizers = [torch.optim.Adam(player.parameters(), 1e-3, BETAS) for player in players]
        self.batch = batch
        self.game = SegAN()

    def play(self) -> Play:
        logits = self.segmentor(self.batch["image"])
        return Play(image=self.batch["image"], target=self.batch["label"], logits=logits)

    def step(self, optimizer: torch.optim.Optimizer, terms: dict[str, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()

    def naive(self) -> None:
        """The segmentor runs in each turn; the critic's weights gather gradients in both."""
        play = self.play()
        self.step(self.optimizers[1], {"all": -self._value(replace(play, logits=play.logits.detach()))})
        self.step(self.optimizers[0], {"all": self._value(self.play())})

    def _value(self, play: Play) -> Tensor:
        return torch.stack(list(self.game.value(self.critic, play).values())).sum()

    def bare(self) -> None:
        """The arithmetic of alternating turns, without an engine."""
        play = self.play()
        self.step(self.optimizers[1], self.game.critic_loss(self.critic, play))
        self.critic.requires_grad_(False)
        self.step(self.optimizers[0], self.game.segmentor_loss(self.critic, play))
        self.critic.requires_grad_(True)

    def engine(self, schedule: Alternating | Simultaneous, iterations: int = 1) -> AdversarialTrainer:
        return AdversarialTrainer(
            "cpu",
            1,
            [self.batch] * iterations,
            network=self.segmentor,
            optimizer=self.optimizers[0],
            critic=self.critic,
            critic_optimizer=self.optimizers[1],
            objective=self.game,
            schedule=schedule,
            decollate=False,
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _flops(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _batch(size: int, cases: int) -> dict[str, Tensor]:
    image = torch.rand(cases, 3, size, size, generator=torch.Generator().manual_seed(0))
    return {"image": image, "label": (image[:, :1] > 0.5).float()}


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64, help="64 is published")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    batch = _batch(given.size, given.cases)

    runs = {name: Run(given.width, batch) for name in ("naive", "bare", "alternating", "simultaneous")}
    first = runs["naive"]
    s = _flops(lambda: first.segmentor(batch["image"]))
    c = _flops(lambda: first.critic(batch["label"], batch["image"]))
    schedules = {"alternating": Alternating(), "simultaneous": Simultaneous()}
    steps: dict[str, Callable[[], object]] = {"naive": runs["naive"].naive, "bare": runs["bare"].bare}
    steps |= {name: runs[name].engine(schedule).run for name, schedule in schedules.items()}
    bounds = {"naive": 4 * s + 12 * c, "bare": 3 * s + 9 * c, "alternating": 3 * s + 9 * c}
    bounds["simultaneous"] = 3 * s + 6 * c
    counted = {name: _flops(step) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(given.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)

    _say(f"S {s / 1e9:.2f} GFLOP, C {c / 1e9:.2f} GFLOP; one thread, float32, best of {given.rounds}")
    _say("| step | GFLOP | of its bound | seconds | of the naive | of the bare loop |")
    _say("| --- | --- | --- | --- | --- | --- |")
    best = {name: min(times) for name, times in seconds.items()}
    for name in steps:
        ratio = [counted[name] / bounds[name], best[name] / best["naive"], best[name] / best["bare"]]
        cells = (f"{counted[name] / 1e9:.2f}", f"{ratio[0]:.4f}", f"{best[name]:.3f}")
        _say(f"| {name} | {' | '.join(cells)} | {ratio[1]:.3f} | {ratio[2]:.3f} |")
    _fixed_cost()


def _fixed_cost(iterations: int = 200) -> None:
    """What an iteration of the engine costs beside its arithmetic: players of a few weights."""
    tiny = {"image": torch.rand(1, 1, 8, 8), "label": torch.ones(1, 1, 8, 8)}

    def players(run: Run) -> Run:
        run.segmentor = nn.Conv2d(1, 1, 1)
        run.critic = SegANCritic(2, 1, widths=(1,), kernels=(3,))
        run.optimizers = [torch.optim.Adam(m.parameters()) for m in (run.segmentor, run.critic)]
        return run

    bare, ours = players(Run(1, tiny)), players(Run(1, tiny))
    results = {"bare": [], "engine": []}
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(iterations):
            bare.bare()
        results["bare"].append((time.perf_counter() - started) / iterations)
        engine = ours.engine(Alternating(), iterations)
        started = time.perf_counter()
        engine.run()
        results["engine"].append((time.perf_counter() - started) / iterations)
    medians = {name: statistics.median(times) for name, times in results.items()}
    ratio = medians["engine"] / medians["bare"]
    _say(
        f"fixed cost of an iteration: bare loop {1e3 * medians['bare']:.2f} ms, engine "
        f"{1e3 * medians['engine']:.2f} ms, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
