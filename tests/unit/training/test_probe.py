"""Gradients of single terms, measured beside a training that goes on as if nothing had been measured."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from weightsearch.config import load_base
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import open_dataset
from weightsearch.losses.criterion import Criterion
from weightsearch.losses.masked import masked_difference, masked_mean
from weightsearch.records import EpochRecord, Measurements, rows_at
from weightsearch.runtime.device import Precision
from weightsearch.runtime.network import predict
from weightsearch.training.loop import Trainer
from weightsearch.training.probe import Account, Probe

CPU = torch.device("cpu")
ALWAYS = 1e9
GIVEN = ["loss.fractional.weight=3", "loss.consistency.weight=0.5", "train.epochs=2"]


class Heads(nn.Module):
    """Two heads on a shared trunk, and a depth that they make."""

    def __init__(self, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk or nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Tanh())
        self.left, self.right = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1)

    def forward(self, image):
        shared = self.trunk(image)
        left, right = self.left(shared).sigmoid(), self.right(shared).sigmoid()
        return {"left": left, "right": right, "depth": 4 * left + right}


class Term:
    def __init__(self, output: str, power: int) -> None:
        self.output, self.power = output, power

    def __call__(self, prediction, batch):
        error = masked_difference(prediction[self.output], batch.depth, batch.valid)
        return masked_mean(error.abs() ** self.power, batch.valid)


TERMS = {"a": Term("left", 1), "b": Term("right", 2), "c": Term("depth", 2)}
WEIGHTS = {"a": 1.0, "b": 3.0, "c": 0.2}


def a_batch(dtype: torch.dtype = torch.float32) -> Batch:
    random_numbers = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, 6, 8, generator=random_numbers, dtype=dtype)
    image = torch.rand(2, 3, 6, 8, generator=random_numbers, dtype=dtype)
    return Batch(image, depth, depth > 0.1, torch.eye(3).expand(2, 3, 3), torch.eye(4).expand(2, 4, 4))


def probed(
    network: nn.Module,
    terms=TERMS,
    weights=WEIGHTS,
    *,
    steps: int = 1,
    dtype: torch.dtype = torch.float32,
    scale: float | None = None,
    precision: Precision | None = None,
    problems: list[str | None] | None = None,
) -> Measurements:
    """A probe's rows of so many steps on one batch."""
    criterion = Criterion(terms, weights, at_heads=True)
    parameters = list(network.parameters())
    probe = Probe(network, parameters, criterion, Account(ALWAYS), clock := iter(range(10**6)).__next__)
    assert clock() == 0
    batch = a_batch(dtype)
    factor = None if scale is None else torch.tensor(scale)
    probe.begin()
    for step in range(1, steps + 1):
        network.zero_grad(set_to_none=True)
        if precision is None:
            prediction = network(batch.image)
        else:
            with precision.autocast():
                prediction = {name: value.float() for name, value in network(batch.image).items()}
        result = criterion(prediction, batch)
        assert probe.due(result, step)
        probe.measure(result, factor)
        (result.total * (1.0 if scale is None else scale)).backward()
        probe.finish()
    rows = probe.end(steps)
    if problems is not None:
        problems.append(probe.problem)
    return rows


def norms_at(rows: Measurements, place: str) -> dict[str, float]:
    return rows_at(rows["gradient"], place)


def places(rows: Measurements) -> set[str]:
    return {name.split("/")[0] for name in rows["gradient"]}


def by_autograd(network: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Each weighted term's gradient at the trunk, all of it in one vector."""
    batch = a_batch(dtype)
    prediction = network(batch.image)
    return {
        name: torch.cat(
            [
                gradient.flatten()
                for gradient in torch.autograd.grad(
                    WEIGHTS[name] * term(prediction, batch), list(network.trunk.parameters()), retain_graph=True
                )
            ]
        )
        for name, term in TERMS.items()
    }


def assert_same(found: Measurements, expected: dict[str, torch.Tensor], tolerance: float) -> None:
    norms, names = norms_at(found, "shared"), list(expected)
    for place, name in enumerate(names):
        assert norms[name] == pytest.approx(float(expected[name].norm()), rel=tolerance)
        for other in names[place + 1 :]:
            cosine = torch.nn.functional.cosine_similarity(expected[name], expected[other], dim=0)
            assert found["cosine"][f"shared/{name}/{other}"] == pytest.approx(float(cosine), abs=tolerance)


def trained(path: Path, budget: float, *options: str) -> tuple[Trainer, list[EpochRecord], tuple]:
    configuration = load_base(path, [*GIVEN, *options])
    trainer = Trainer(configuration, open_dataset(configuration), CPU, account=Account(budget))
    records = [trainer.train_epoch() for _ in range(2)]
    states = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    return trainer, records, states


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("augmentation.mirror=0.5", "augmentation.rotation=5"),
        ("train.freeze_encoder=true",),
        ("loss.integer.weight=0", "train.clip_norm=0.1"),
    ],
)
def test_a_training_is_the_same_in_every_bit_whether_it_is_probed_or_not(tiny, options):
    plain, plain_records, plain_states = trained(tiny, 0.0, *options)
    other, other_records, other_states = trained(tiny, ALWAYS, *options)
    assert [replace(record, seconds=0.0) for record in plain_records] == [
        replace(record, seconds=0.0) for record in other_records
    ]
    assert plain_states == other_states
    left, right = plain.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert all(record.sampled == {} for record in plain_records)
    assert all(record.sampled["probe"]["probes"] >= plain.steps_per_epoch - 1 for record in other_records)


class Disturbing(nn.Module):
    """Draws random numbers and counts in its forward pass, which checkpointing repeats in every backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.register_buffer("count", torch.zeros(()))

    def inside(self, image):
        self.count.add_(1)
        return torch.nn.functional.dropout(self.norm(self.convolution(image)), 0.5, self.training)

    def forward(self, image):
        return checkpoint(self.inside, image, use_reentrant=False)


def test_buffers_and_random_states_are_put_back_where_the_backward_pass_changes_them():
    def after(probing: bool) -> tuple[dict[str, torch.Tensor], list[int]]:
        torch.manual_seed(0)
        network, batch = Heads(Disturbing()), a_batch()
        criterion = Criterion(TERMS, WEIGHTS, at_heads=True)
        probe = Probe(network, list(network.parameters()), criterion, Account(ALWAYS), lambda: 0.0)
        result = criterion(network(batch.image), batch)
        if probing:
            probe.measure(result, None)
            assert probe.problem is None
        result.total.backward()
        probe.finish()
        return network.state_dict() | {f"{n}.grad": p.grad for n, p in network.named_parameters()}, (
            torch.get_rng_state().tolist()
        )

    (plain, plain_state), (other, other_state) = after(False), after(True)
    assert plain["trunk.count"] == 2  # forward, and again in the backward pass
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert plain_state == other_state


def test_norms_and_cosines_at_the_shared_parameters_are_those_of_finite_differences():
    """Central differences in float64 of each weighted term in every parameter of the trunk."""
    torch.manual_seed(1)
    network = Heads()
    found = probed(network)
    exact, batch = Heads().double(), a_batch(torch.float64)
    exact.load_state_dict({name: value.double() for name, value in network.state_dict().items()})
    batch32 = a_batch()
    batch = replace(batch, image=batch32.image.double(), depth=batch32.depth.double(), valid=batch32.valid)
    gradients: dict[str, list[float]] = {name: [] for name in TERMS}
    step = 1e-6
    with torch.no_grad():
        for parameter in exact.trunk.parameters():
            flat = parameter.view(-1)
            for place in range(flat.numel()):
                value = float(flat[place])
                ends = []
                for moved in (value + step, value - step):
                    flat[place] = moved
                    prediction = exact(batch.image)
                    ends.append({name: WEIGHTS[name] * float(term(prediction, batch)) for name, term in TERMS.items()})
                flat[place] = value
                for name in TERMS:
                    gradients[name].append((ends[0][name] - ends[1][name]) / (2 * step))
    assert_same(found, {name: torch.tensor(values, dtype=torch.float64) for name, values in gradients.items()}, 1e-3)


def test_the_gradient_left_by_the_others_is_the_term_s_own_in_every_step():
    """From the second epoch on another term is the one that is left out: the largest."""
    torch.manual_seed(2)
    network = Heads()
    expected = by_autograd(network)
    assert_same(probed(network, steps=3), expected, 1e-5)


@pytest.mark.parametrize("scale", [2.0**-10, 2.0**16])
def test_the_factor_of_mixed_precision_has_no_influence(scale):
    torch.manual_seed(3)
    network = Heads()
    assert_same(probed(network, scale=scale), by_autograd(network), 1e-5)


def test_under_mixed_precision_the_gradients_agree_to_its_accuracy():
    """bfloat16 has 8 bits: a relative error of 2 ** -8 in every operation."""
    torch.manual_seed(4)
    network = Heads()
    precision = Precision(CPU, torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    assert_same(probed(network, precision=precision), by_autograd(network), 0.05)


def test_at_the_heads_an_l1_term_s_gradient_is_its_weight_by_the_root_of_the_pixels():
    """And what consistency sends into a depth that two heads make arrives at both: a factor sqrt(4² + 1)."""
    terms = {"a": Term("left", 1), "b": Term("right", 1), "c": Term("depth", 1)}
    found = probed(Heads(), terms)
    pixels = int(a_batch().valid.sum())
    norms = norms_at(found, "heads")
    assert norms["a"] == pytest.approx(1.0 / pixels**0.5, rel=1e-6)
    assert norms["b"] == pytest.approx(3.0 / pixels**0.5, rel=1e-6)
    assert norms["c"] == pytest.approx(0.2 * 17**0.5 / pixels**0.5, rel=1e-6)
    assert found["cosine"]["heads/a/b"] == 0.0


def test_every_step_s_gradient_at_the_heads_is_the_probe_s_and_needs_none():
    torch.manual_seed(1)
    expected = norms_at(probed(Heads()), "heads")
    torch.manual_seed(1)
    network, batch = Heads(), a_batch()
    result = Criterion(TERMS, WEIGHTS, at_heads=True)(network(batch.image), batch)
    result.total.backward()
    assert result.head_gradients.tolist() == pytest.approx(list(expected.values()), rel=1e-5)
    assert result.output_gradients[2] < 0.5 * result.head_gradients[2]  # the depth as a variable of its own


def test_the_consistency_term_of_1_to_10_to_a_half_pulls_more_than_the_mean_at_the_heads(tiny):
    """With maximal depth M it sends .5 * M into the integer and .5 into the fractional head; at the outputs, where
    depth is a variable of its own, its ratio would be .13."""
    configuration = load_base(tiny, ["loss.fractional.weight=10", "loss.consistency.weight=0.5", "data.max_depth=15"])
    record = Trainer(configuration, open_dataset(configuration), CPU, account=Account(0.0)).train_epoch()
    terms, norms = record.terms, rows_at(record.measurements["gradient"], "heads")
    ratio = {name: norm / norms["integer"] for name, norm in norms.items()}
    assert ratio == pytest.approx({"integer": 1, "fractional": 10, "consistency": 0.5 * (15**2 + 1) ** 0.5}, rel=1e-4)
    assert ratio["consistency"] / (sum(ratio.values()) / 3) == pytest.approx(1.22, abs=0.005)
    assert terms["consistency"].gradient / terms["integer"].gradient == pytest.approx(0.5, rel=1e-5)


def test_heads_of_several_units_and_heads_that_are_not_defined_are_not_measured():
    torch.manual_seed(7)
    batch = a_batch()
    refining = Criterion(TERMS, WEIGHTS, at_heads=True)(Refining()(batch.image), batch)
    not_asked = Criterion(TERMS, WEIGHTS)(Heads()(batch.image), batch)
    for result in (refining, not_asked):
        result.total.backward()
        assert result.head_gradients is None


def test_at_the_outputs_the_ratio_of_l1_terms_is_that_of_their_weights(tiny):
    configuration = load_base(tiny, GIVEN)
    trainer = Trainer(configuration, open_dataset(configuration), CPU)
    terms = trainer.train_epoch().terms
    assert terms["fractional"].gradient / terms["integer"].gradient == pytest.approx(3.0, rel=1e-5)
    assert terms["consistency"].gradient / terms["integer"].gradient == pytest.approx(0.5, rel=1e-5)


def test_parameters_that_only_one_term_reaches_are_not_shared():
    torch.manual_seed(5)
    network = Heads()
    found = probed(network, {"a": TERMS["a"], "b": TERMS["b"]}, WEIGHTS)
    expected = by_autograd(network)
    assert norms_at(found, "shared")["a"] == pytest.approx(float(expected["a"].norm()), rel=1e-5)


def test_without_parameters_that_all_terms_reach_those_of_two_count():
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)

        def forward(self, image):
            return {"left": self.first(image), "right": self.second(image), "depth": self.first(image)}

    network = Apart()
    found = probed(network)  # a and c go by the first, b by the second alone
    batch = a_batch()
    for name in ("a", "c"):
        value = WEIGHTS[name] * TERMS[name](network(batch.image), batch)
        gradient = torch.autograd.grad(value, list(network.first.parameters()))
        expected = float(torch.cat([one.flatten() for one in gradient]).norm())
        assert norms_at(found, "shared")[name] == pytest.approx(expected, rel=1e-5)
    assert norms_at(found, "shared")["b"] == 0.0
    assert "shared/a/b" not in found["cosine"]


def test_terms_of_weight_zero_have_no_gradient_and_no_conflict():
    found = probed(Heads(), TERMS, {"a": 1.0, "b": 0.0, "c": 0.5})
    assert norms_at(found, "shared")["b"] == 0.0
    assert [name for name in found["cosine"] if name.startswith("shared/a/")] == ["shared/a/c"]


def test_a_term_that_pulls_alone_is_not_probed():
    network, batch = Heads(), a_batch()
    criterion = Criterion(TERMS, {"a": 0.0, "b": 0.0, "c": 0.5}, at_heads=True)
    probe = Probe(network, list(network.parameters()), criterion, Account(ALWAYS), lambda: 0.0)
    assert not probe.due(criterion(network(batch.image), batch), 1)
    assert probe.end(1) == {}


def shared_by_autograd(network: nn.Module, terms, parameters) -> dict[str, torch.Tensor]:
    prediction, batch = network(a_batch().image), a_batch()
    return {
        name: torch.cat(
            [
                one.flatten()
                for one in torch.autograd.grad(WEIGHTS[name] * term(prediction, batch), parameters, retain_graph=True)
            ]
        )
        for name, term in terms.items()
    }


def test_an_output_of_two_names_counts_once():
    class Twice(Heads):
        def forward(self, image):
            made = super().forward(image)
            return {**made, "again": made["depth"], "left": made["left"]}

    torch.manual_seed(6)
    network = Twice()
    terms = {**TERMS, "b": Term("again", 2)}
    found = probed(network, terms)
    reached_by_all = [*network.trunk.parameters(), *network.left.parameters()]
    assert_same(found, shared_by_autograd(network, terms, reached_by_all), 1e-5)
    assert places(found) == {"heads", "shared"}


class Refining(Heads):
    """A depth that is made of a head and of something else."""

    def __init__(self) -> None:
        super().__init__()
        self.residual = nn.Conv2d(2, 1, 1)

    def forward(self, image):
        shared = self.trunk(image)
        left, right = self.left(shared).sigmoid(), self.right(shared).sigmoid()
        return {"left": left, "right": right, "depth": left + self.residual(shared)}


def test_a_path_beside_the_heads_counts_at_the_shared_parameters_and_heads_are_left_out():
    torch.manual_seed(7)
    network = Refining()
    found = probed(network)
    assert_same(found, shared_by_autograd(network, TERMS, list(network.trunk.parameters())), 1e-5)
    assert places(found) == {"shared"}


def test_a_compiled_network_is_measured_at_what_its_terms_really_reach():
    torch.manual_seed(8)
    network = Heads()
    compiled = torch.compile(network, backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        found = probed(compiled)
    assert_same(found, by_autograd(network), 1e-5)
    assert places(found) == {"shared"}


def test_outputs_in_half_precision_are_heads_as_others_are(tiny):
    """As under mixed precision on a GPU: what the loss sees is a copy in float32."""

    class Half(Heads):
        def forward(self, image):
            return {name: one.bfloat16() if name != "depth" else one for name, one in self.made(image).items()}

        def made(self, image):
            shared = self.trunk(image)
            left, right = (head(shared).sigmoid().bfloat16() for head in (self.left, self.right))
            return {"left": left, "right": right, "depth": 4 * left + right}

    torch.manual_seed(9)
    network = Half()
    whole = Heads()
    whole.load_state_dict(network.state_dict())
    criterion = Criterion(TERMS, WEIGHTS, at_heads=True)
    probe = Probe(network, list(network.parameters()), criterion, Account(ALWAYS), lambda: 0.0)
    batch = a_batch()
    result = criterion(predict(network, batch), batch)
    probe.measure(result, None)
    result.total.backward()
    probe.finish()
    found, expected = probe.end(1), probed(whole)
    for name in TERMS:
        assert norms_at(found, "heads")[name] == pytest.approx(norms_at(expected, "heads")[name], rel=0.02)
    cosine = expected["cosine"]["heads/a/c"]
    assert found["cosine"]["heads/a/c"] == pytest.approx(cosine, abs=0.02)
    assert abs(cosine) > 0.1


def test_checkpointing_of_the_old_kind_ends_the_probing_with_a_reason():
    class Reentrant(nn.Conv2d):
        def forward(self, image):
            return checkpoint(super().forward, image.requires_grad_(), use_reentrant=True)

    problems: list[str | None] = []
    found = probed(Heads(Reentrant(3, 2, 3, padding=1)), problems=problems)
    assert (found["probe"]["probes"], places(found)) == (0, set())
    assert "reentrant checkpointing" in problems[0]


def test_a_buffer_that_is_replaced_in_the_backward_pass_is_put_back():
    class Replacing(Disturbing):
        def inside(self, image):
            self.count = self.count + 1
            return self.convolution(image)

    network = Heads(Replacing())
    criterion = Criterion(TERMS, WEIGHTS, at_heads=True)
    probe = Probe(network, list(network.parameters()), criterion, Account(ALWAYS), lambda: 0.0)
    batch = a_batch()
    result = criterion(network(batch.image), batch)
    probe.measure(result, None)
    assert network.trunk.count == 1
    result.total.backward()
    assert network.trunk.count == 2


class Once(torch.autograd.Function):
    """Goes backward once only."""

    @staticmethod
    def forward(ctx, value):
        ctx.left = 1
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        if not ctx.left:
            raise RuntimeError("gone already")
        ctx.left -= 1
        return gradient


def test_a_network_that_goes_backward_only_once_ends_the_probing_with_its_reason():
    class Fragile(nn.Conv2d):
        def forward(self, image):
            return Once.apply(super().forward(image))

    network = Heads(Fragile(3, 2, 3, padding=1))
    criterion = Criterion(TERMS, WEIGHTS, at_heads=True)
    probe = Probe(network, list(network.parameters()), criterion, Account(ALWAYS), lambda: 0.0)
    probe.begin()
    batch = a_batch()
    result = criterion(network(batch.image), batch)
    probe.measure(result, None)
    assert "gone already" in probe.problem
    found = probe.end(1)
    assert (found["probe"]["probes"], places(found)) == (0, set())
    assert not probe.due(criterion(network(batch.image), batch), 1)


@pytest.mark.parametrize("length", [3, 20, 400])
def test_probes_never_cost_more_than_their_share_whatever_the_length_of_trials(length):
    """A clock by which a step takes 1 s and a probe 1.9 s; trials of so many steps, one after another."""
    account = Account(0.02)
    spent = 0.0
    for _ in range(4000 // length):
        seconds = 0.0
        for step in range(length):
            if account.affords(seconds, step, 2):
                seconds += 1.9
                spent += 1.9
                account.spent, account.cost = spent, 1.9
            seconds += 1.0
            assert account.spent <= 0.02 * (account.seconds + seconds - account.spent) + 1e-9
        account.seconds += seconds
        account.steps += length
    assert spent >= 0.9 * 0.02 * (account.seconds - spent)


def test_a_record_with_a_probe_survives_its_plain_form(tiny):
    _, records, _ = trained(tiny, ALWAYS)
    again = EpochRecord.from_plain(records[0].to_plain())
    assert again.sampled == records[0].sampled
    assert norms_at(again.sampled, "shared").keys() == {"integer", "fractional", "consistency"}
