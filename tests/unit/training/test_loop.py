from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.trainings import CLOSED, CPU, configuration, numbers, trained
from weightsearch.config import load_configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.errors import ModelError, TrialFailure, WeightsearchError
from weightsearch.training.loop import Trainer
from weightsearch.training.preflight import preflight


def test_the_same_configuration_gives_the_same_numbers_bit_for_bit(tiny):
    one, other = trained(tiny), trained(tiny)
    assert numbers(one.history) == numbers(other.history)
    for a, b in zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


AUGMENTED = "augmentation={mirror: 0.5, rotation: 4, crop: [32, 32], hue: 0.1, gamma: 0.2, permute_channels: 0.5}"


def test_with_augmentation_a_resumed_training_is_the_same_bit_for_bit(tiny):
    whole = trained(tiny, AUGMENTED)
    found = configuration(tiny, AUGMENTED)
    part = Trainer(found, open_dataset(found), CPU)
    for _ in range(2):
        part.train_epoch()
    part.save(tiny.parent / "checkpoint.pt")
    resumed = Trainer(found, open_dataset(found), CPU)
    resumed.resume(tiny.parent / "checkpoint.pt")
    while not resumed.done:
        resumed.train_epoch()
    assert numbers(resumed.history) == numbers(whole.history)
    assert numbers(whole.history) != numbers(trained(tiny).history)


def test_another_seed_gives_others(tiny):
    assert numbers(trained(tiny).history) != numbers(trained(tiny, "seed=4").history)


PROCESS = """
import json, sys, torch
from pathlib import Path
from weightsearch.data.dataset import open_dataset
from weightsearch.config import load_configuration
from weightsearch.training.loop import Trainer
configuration = load_configuration(Path(sys.argv[1]), sys.argv[2:])
trainer = Trainer(configuration, open_dataset(configuration), torch.device("cpu"))
while not trainer.done:
    trainer.train_epoch()
print(json.dumps([record.metrics for record in trainer.history]))
"""


def test_and_so_does_another_process_whatever_was_drawn_before(tiny):
    import json

    torch.rand(1000)
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, str(tiny), *CLOSED], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [record.metrics for record in trained(tiny).history]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_training_equals_one_that_ran_through(tiny, tmp_path, schedule, optimizer):
    sets = (f"train.schedule={schedule}", f"train.optimizer={optimizer}", "train.weight_decay=0.01")
    whole = trained(tiny, *sets)
    found = configuration(tiny, *sets)
    first = Trainer(found, open_dataset(found), CPU)
    first.train_epoch()
    first.save(tmp_path / "c.pt")
    torch.rand(7)
    second = Trainer(found, open_dataset(found), CPU)
    second.resume(tmp_path / "c.pt")
    assert second.epoch == 1
    while not second.done:
        second.train_epoch()
    assert numbers(second.history) == numbers(whole.history)
    for a, b in zip(second.network.state_dict().values(), whole.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_configuration_is_refused_with_the_difference(tiny, tmp_path):
    found = configuration(tiny)
    Trainer(found, open_dataset(found), CPU).save(tmp_path / "c.pt")
    other = configuration(tiny, "loss.fractional.weight=3", "train.lr=0.5")
    with pytest.raises(WeightsearchError, match=r"loss.fractional.weight: 10.0 -> 3.0; train.lr: 0.001 -> 0.5"):
        Trainer(other, open_dataset(other), CPU).resume(tmp_path / "c.pt")


def test_training_learns(tiny):
    history = trained(tiny, "train.epochs=8", "train.lr=0.003").history
    assert history[-1].train_loss < 0.8 * history[0].train_loss


def test_a_record_says_what_the_loss_was_made_of(tiny):
    record = trained(tiny, "train.epochs=1").history[0]
    assert record.steps == 5  # 22 frames, 4 a batch; what does not fill a batch is left to another epoch
    assert record.lr == 0.001
    terms = record.terms
    assert {name: term.weight for name, term in terms.items()} == {"integer": 1, "fractional": 10, "consistency": 0.5}
    weighted = {name: term.weight * term.value for name, term in terms.items()}
    assert record.train_loss == pytest.approx(sum(weighted.values()))
    for name, term in terms.items():
        assert term.contribution == pytest.approx(weighted[name] / record.train_loss)
    assert sum(term.contribution for term in terms.values()) == pytest.approx(1)
    gradients = [terms[name].gradient / terms["integer"].gradient for name in ("fractional", "consistency")]
    assert gradients == pytest.approx([10, 0.5], rel=1e-4)  # L1: exactly the weights' ratio


def test_schedules_end_where_they_should(tiny):
    rates = {name: [r.lr for r in trained(tiny, f"train.schedule={name}").history] for name in ("linear", "cosine")}
    total = 4 * 5
    assert rates["linear"] == pytest.approx([0.001 * (1 - (5 * e - 1) / total) for e in range(1, 5)])
    assert rates["cosine"] == pytest.approx(
        [0.001 * (1 + math.cos(math.pi * (5 * e - 1) / total)) / 2 for e in range(1, 5)]
    )


def test_clipping_bounds_the_step(tiny):
    found = configuration(tiny, "train.clip_norm=1.0e-6", "train.optimizer=sgd", "train.momentum=0.0", "train.lr=1.0")
    trainer = Trainer(found, open_dataset(found), CPU)
    before = torch.cat([parameter.detach().flatten().clone() for parameter in trainer.parameters])
    record = trainer.train_epoch()
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.parameters])
    assert 0 < (after - before).norm() <= record.steps * 1e-6 * 1.2


def test_threads_are_those_of_the_configuration(tiny):
    before = torch.get_num_threads()
    try:
        trained(tiny, "resources.cpus_per_trial=2", "train.epochs=1")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Plain(nn.Module):
    """A user's network: depth alone, as a bare tensor."""

    def __init__(self, *, max_depth: float, start: float = 2.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        self.max_depth = max_depth
        self.start = start

    def forward(self, image: Tensor) -> Tensor:
        return self.start + self.conv(image)


class LogError(nn.Module):
    """A user's term that takes the logarithm of whatever it is given."""

    def forward(self, prediction, batch):
        return (prediction["depth"].log() - batch.depth.log())[batch.valid].abs().mean()


class RootOfNothing(nn.Module):
    """Finite, with an infinite gradient."""

    def forward(self, prediction, batch):
        return (0 * prediction["depth"]).abs().sqrt().mean()


class BadInside(nn.Module):
    """A network whose own backward pass breaks down."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return 2 + self.scale.abs().sqrt() * image[:, :1]


HERE = "tests.unit.training.test_loop"
OWN = f"model={{name: '{HERE}:Plain'}}"
ONLY_DEPTH = "loss={{{}}}"


def own(tiny: Path, terms: str, *sets: str) -> Trainer:
    found = load_configuration(tiny, [OWN, f"loss={{{terms}}}", *sets])
    return Trainer(found, open_dataset(found), CPU)


def test_a_users_own_network_and_term_plug_in_by_dotted_path(tiny):
    trainer = own(tiny, f"mine: {{weight: 2, term: '{HERE}:LogError'}}, consistency: {{weight: 1}}")
    assert trainer.network.max_depth == 6.0
    record = trainer.train_epoch()
    assert set(record.terms) == {"mine", "consistency"}


class Nowhere(nn.Module):
    """Not a number."""

    def forward(self, prediction, batch):
        return prediction["depth"].sum() * float("nan")


def test_a_term_of_weight_zero_spoils_no_record(tiny):
    trainer = own(tiny, f"off: {{weight: 0, term: '{HERE}:Nowhere'}}, consistency: {{weight: 1}}")
    record = trainer.train_epoch()
    assert record.terms["consistency"].contribution == 1
    assert record.terms["off"].contribution == 0
    assert math.isfinite(record.train_loss)


class TestNonFinite:
    def test_a_loss_is_named_with_its_place(self, tiny):
        trainer = own(
            tiny, f"mine: {{weight: 2, term: '{HERE}:LogError'}}, consistency: {{weight: 1}}", "model.start=-9.0"
        )
        with pytest.raises(TrialFailure, match="the loss term 'mine' is not finite, in epoch 1, step 1"):
            trainer.train_epoch()

    def test_a_gradient_is_named(self, tiny):
        trainer = own(tiny, f"consistency: {{weight: 1}}, root: {{weight: 1, term: '{HERE}:RootOfNothing'}}")
        with pytest.raises(
            TrialFailure, match="the gradient of the loss term 'root' is not finite, in epoch 1, step 1"
        ):
            trainer.train_epoch()

    def test_the_networks_own_is_told_from_the_terms(self, tiny):
        sets = [f"model={{name: '{HERE}:BadInside'}}", "loss={consistency: {weight: 1}}"]
        found = load_configuration(tiny, sets)
        with pytest.raises(TrialFailure, match="the gradient of the network is not finite although .* 'consistency'"):
            Trainer(found, open_dataset(found), CPU).train_epoch()

    def test_nothing_is_learned_from_the_step_that_breaks(self, tiny):
        trainer = own(tiny, f"consistency: {{weight: 1}}, root: {{weight: 1, term: '{HERE}:RootOfNothing'}}")
        with pytest.raises(TrialFailure):
            trainer.train_epoch()
        assert all(torch.isfinite(parameter).all() for parameter in trainer.parameters)


class TestPreflight:
    def check(self, tiny, *sets):
        found = load_configuration(tiny, [*CLOSED, *sets])
        preflight(found, open_dataset(found))

    def test_what_works_passes(self, tiny):
        self.check(tiny)

    def test_what_augmentation_leaves_of_a_picture_is_what_counts(self, tiny):
        ssim = "loss={ssim: {weight: 1.0, window: 17}}"
        self.check(tiny, ssim)
        with pytest.raises(ModelError, match=r"loss\.ssim\.window: 17 pixels do not fit into a depth map of 16x16"):
            self.check(tiny, ssim, "augmentation.crop=[16, 16]")

    def test_an_output_that_a_term_lacks(self, tiny):
        with pytest.raises(ModelError, match="loss.integer: needs the network's output 'integer'; it gives depth"):
            self.check(tiny, OWN)

    def test_depths_outside_the_limits(self, tiny):
        with pytest.raises(
            WeightsearchError, match=r"no training frame has depth between min_depth 50 and max_depth 90"
        ):
            self.check(tiny, "data.min_depth=50.0", "data.max_depth=90.0")

    def test_a_network_that_raises(self, tiny):
        with pytest.raises(ModelError, match=r"model.name: the network Linear: RuntimeError: mat1"):
            self.check(tiny, "model={name: 'torch.nn:Linear', in_features: 3, out_features: 1}")
