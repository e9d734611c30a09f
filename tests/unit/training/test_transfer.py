"""Encoders that are frozen or learn slowly, and trainings that end early."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.trainings import CPU, configuration, numbers, trained
from weightsearch.config import load_base, load_study
from weightsearch.data.dataset import open_dataset
from weightsearch.errors import ConfigError, ModelError
from weightsearch.evaluation.evaluate import evaluate_checkpoint
from weightsearch.training import features
from weightsearch.training.loop import Trainer


def trainer(tiny, *sets: str) -> Trainer:
    found = configuration(tiny, *sets)
    return Trainer(found, open_dataset(found), CPU)


class TestEncoderLearningRate:
    def test_each_group_keeps_its_share_along_the_schedule(self, tiny):
        one = trainer(tiny, "train.encoder_lr=1.0e-4", "train.schedule=linear")
        encoder = {id(parameter) for parameter in one.network.encoder.parameters()}
        first, second = one.optimizer.param_groups
        assert {id(parameter) for parameter in first["params"]} == encoder
        assert not encoder & {id(parameter) for parameter in second["params"]}
        assert len(first["params"]) + len(second["params"]) == len(list(one.network.parameters()))
        record = one.train_epoch()
        assert first["lr"] == pytest.approx(second["lr"] / 10)
        assert record.lr == second["lr"] < 1e-3

    def test_the_same_rate_is_the_same_training(self, tiny):
        assert numbers(trained(tiny, "train.encoder_lr=1.0e-3").history) == numbers(trained(tiny).history)

    def test_a_network_without_an_encoder_says_so(self, tiny, monkeypatch):
        monkeypatch.syspath_prepend(str(tiny.parent))
        (tiny.parent / "flat.py").write_text(
            "import torch\nclass Flat(torch.nn.Conv2d):\n    def __init__(self):\n        super().__init__(3, 1, 1)\n"
        )
        loss = "loss={mae: {weight: 1.0}}"
        for option in ("train.encoder_lr=1.0e-4", "train.freeze_encoder=true"):
            with pytest.raises(ModelError, match=r"train\.\w+: the network Flat has no attribute 'encoder'"):
                trainer(tiny, "model={name: 'flat:Flat'}", loss, option)

    def test_a_frozen_encoder_has_no_rate(self, tiny):
        with pytest.raises(ConfigError, match="a frozen encoder has no learning rate"):
            configuration(tiny, "train.freeze_encoder=true", "train.encoder_lr=1.0e-4")


class TestFrozenEncoder:
    FROZEN = "train.freeze_encoder=true"

    def test_nothing_of_it_changes_and_the_rest_learns(self, tiny):
        fresh, one = trainer(tiny, self.FROZEN), trained(tiny, self.FROZEN)
        before, after = fresh.network.state_dict(), one.network.state_dict()
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert not [name for name in changed if name.startswith("encoder.")]
        assert {name for name, _ in fresh.network.decoder.named_parameters(prefix="decoder")} <= changed

    @pytest.mark.parametrize("sets", [[], ["augmentation.mirror=0.5"]])
    def test_its_statistics_stay_without_kept_features_too(self, tiny, monkeypatch, sets):
        monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(tiny.parent / "none"))
        monkeypatch.setattr(features, "LIMIT", 0)
        before = trainer(tiny, self.FROZEN, *sets).network.encoder.state_dict()
        after = trained(tiny, self.FROZEN, *sets).network.encoder.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in after.items())

    def test_features_are_computed_once_and_change_nothing(self, tiny, monkeypatch):
        monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(tiny.parent / "none"))
        monkeypatch.setattr(features, "LIMIT", 0)
        plain = trained(tiny, self.FROZEN)
        assert plain.dataset.features == ()
        monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(tiny.parent / "kept"))
        monkeypatch.setattr(features, "LIMIT", 2**30)
        kept = trained(tiny, self.FROZEN)
        assert [feature.shape[0] for feature in kept.dataset.features] == [32] * len(kept.network.encoder.channels)
        for one, other in zip(plain.history, kept.history, strict=True):
            assert one.metrics == pytest.approx(other.metrics, rel=0.02)  # rounding, grown over the steps

        def never(*_):
            raise AssertionError("computed again")

        monkeypatch.setattr(type(kept.network.encoder), "forward", never)
        assert numbers(trained(tiny, self.FROZEN, "loss.consistency.weight=0.5").history) == numbers(kept.history)

    def test_features_are_the_encoders(self, tiny):
        one = trainer(tiny, self.FROZEN)
        batch = one.dataset.to_batch(one.dataset.gather(one.dataset.splits["train"][:3]), CPU)
        with torch.no_grad():
            expected = one.network.encoder(batch.image)
        assert len(batch.features) == len(expected)
        for found, wanted in zip(batch.features, expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)

    def test_another_encoder_has_its_own(self, tiny):
        places = {trainer(tiny, self.FROZEN, f"seed={seed}").dataset.features[0].filename for seed in (3, 3, 4)}
        assert len(places) == 2

    def test_the_same_numbers_behind_other_colours_are_another_encoder(self, tiny):
        """The mean that colours are normalised by lies in no state dict."""
        one = trainer(tiny, self.FROZEN)
        before = features._digest(one.network.encoder)
        one.network.encoder.mean += 0.01
        assert features._digest(one.network.encoder) != before

    def test_the_oldest_make_room_for_new_ones(self, tiny, monkeypatch):
        monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(tiny.parent / "room"))
        first = trainer(tiny, self.FROZEN, "seed=1").dataset
        place = Path(first.features[0].filename).parent
        size = sum(file.stat().st_size for file in place.glob("*.npy"))
        expected = [np.array(level) for level in first.features]
        monkeypatch.setattr(features, "LIMIT", int(2.5 * size))
        second = Path(trainer(tiny, self.FROZEN, "seed=2").dataset.features[0].filename).parent
        os.utime(place, (1, 1))
        third = Path(trainer(tiny, self.FROZEN, "seed=3").dataset.features[0].filename).parent
        assert set(place.parent.glob("features-*")) - set(place.parent.glob("*.lock")) == {second, third}
        assert not list(place.parent.glob("building-*"))
        for level, wanted in zip(first.features, expected, strict=True):  # whoever has them open keeps them
            assert np.array_equal(level, wanted)

    def test_augmented_pictures_have_features_of_their_own(self, tiny):
        assert trainer(tiny, self.FROZEN, "augmentation.mirror=0.5").dataset.features == ()


class TestEarlyStopping:
    STOP = ("train.epochs=12", "train.early_stopping={patience: 1, metric: rmse}", "train.lr=0.02")

    def test_it_ends_after_the_best_epoch_and_that_one_counts(self, tiny):
        one = trained(tiny, *self.STOP)
        curve = [record.metrics["rmse"] for record in one.history]
        best = min(range(len(curve)), key=curve.__getitem__)
        assert len(curve) == best + 2 < 12
        assert one.result is one.history[best]

    def test_the_checkpoint_has_the_best_network_and_goes_on_as_if_nothing_were(self, tiny):
        path = tiny.parent / "checkpoint.pt"
        whole = trained(tiny, *self.STOP)
        whole.save(path)
        metrics, _ = evaluate_checkpoint(whole.configuration, path, "validation", "cpu")
        assert metrics == whole.result.metrics
        assert metrics != whole.history[-1].metrics
        part = trainer(tiny, *self.STOP)
        part.train_epoch()
        part.save(path)
        resumed = trainer(tiny, *self.STOP)
        resumed.resume(path)
        while not resumed.done:
            resumed.train_epoch()
        assert numbers(resumed.history) == numbers(whole.history)
        assert all(torch.equal(value, whole.best_weights[name]) for name, value in resumed.best_weights.items())

    def test_in_a_study_it_goes_by_the_first_objective(self, tiny):
        sets = ["train.early_stopping={patience: 1}", "search.objectives={a1: maximize}"]
        assert load_study(tiny, sets).base.train.early_stopping.metric == "a1"
        assert load_base(tiny, sets).train.early_stopping.metric == "a1"
        sets[0] = "train.early_stopping={patience: 1, metric: rmse}"
        assert load_study(tiny, sets).base.train.early_stopping.metric == "rmse"

    def test_an_unknown_metric_is_one_line(self, tiny):
        with pytest.raises(ConfigError, match="unknown metric 'abs_rl'; did you mean 'abs_rel'"):
            configuration(tiny, "train.early_stopping={patience: 1, metric: abs_rl}")
