"""A trained network that learns on from the frames that it is to predict."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from tests.video import COTRAINING, CPU, batch_of, configuration, dataset
from weightsearch import cli
from weightsearch.config import load_configuration
from weightsearch.errors import OptionError
from weightsearch.evaluation.evaluate import evaluate_checkpoint, load_network
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.runtime.device import choose_precision
from weightsearch.training.loop import Trainer
from weightsearch.training.refine import Refinement, Refiner, evaluate_refined, self_supervised, without_truth

BY_FRAME = Refinement(steps=4, rate=1.0, per="frame")
BY_VIDEO = replace(BY_FRAME, per="video")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a co-training of an epoch, with its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    data = dataset(folder)
    trainer = Trainer(data.configuration, data, CPU)
    trainer.train_epoch()
    trainer.save(folder / "checkpoint.pt")
    return folder


def refined(folder: Path, refinement: Refinement, *sets: str):
    return evaluate_refined(configuration(folder, *sets), folder / "checkpoint.pt", "test", refinement, "cpu")


@pytest.mark.parametrize("refinement", [BY_FRAME, BY_VIDEO])
def test_it_lowers_the_loss_of_the_frames_and_gives_the_same_numbers_twice(trained, refinement):
    file = trained / "checkpoint.pt"
    before = file.read_bytes()
    one, other = refined(trained, refinement), refined(trained, refinement)
    assert one == other
    assert one.after < one.before
    assert file.read_bytes() == before
    plain, protocol = evaluate_checkpoint(configuration(trained), file, "test", "cpu")
    assert set(one.metrics) == set(plain)
    assert all(one.metrics[name] != plain[name] for name in ("abs_rel", "epe", "ate"))
    assert one.terms == ("photometric_rigid", "photometric_flow", "smooth_depth", "smooth_flow")
    assert "refinement" not in protocol.to_plain()
    assert one.protocol.to_plain()["refinement"] == (
        f"4 steps a frame from the weights of the checkpoint at every {refinement.per}, 1 of the learning rate, on "
        "photometric_rigid photometric_flow smooth_depth smooth_flow"
    )


def refiner_of(trained: Path, refinement: Refinement, split: str = "test") -> tuple[Refiner, torch.nn.Module]:
    data = dataset(trained)
    network = load_network(data.configuration, trained / "checkpoint.pt", CPU)
    own = self_supervised(data.configuration)
    return Refiner(network, own, refinement, data, split, choose_precision("off", CPU)), network


def test_it_lowers_the_photometric_loss_of_every_single_frame(trained):
    refiner, _ = refiner_of(trained, BY_FRAME)
    data = dataset(trained)
    order = data.splits["test"]
    for place, index in enumerate(order):
        refiner(batch_of(data, [index]), slice(place, place + 1), protocol_of(data.configuration, "test"))
    assert len(refiner.after) == len(order)
    assert all(after < before for before, after in zip(refiner.before, refiner.after, strict=True))


def test_by_frame_no_frame_changes_another_and_by_video_they_do(trained):
    """The second frame of a video, after the first and without it."""
    data = dataset(trained)
    order, protocol = data.splits["train"], protocol_of(data.configuration, "train")
    videos = [video for video, _ in data.places(order)]
    assert videos[0] == videos[1] != videos[-1]
    for refinement, alike in ((BY_FRAME, True), (BY_VIDEO, False)):
        found = []
        for places in ([1], [0, 1]):
            refiner, _ = refiner_of(trained, refinement, "train")
            for place in places:
                last = refiner(batch_of(data, [order[place]]), slice(place, place + 1), protocol)
            found.append(last.depth)
        assert torch.equal(*found) == alike
    refiner, network = refiner_of(trained, BY_VIDEO, "train")
    last = videos.index(1)  # the first frame of another video is as if none had been before
    refiner(batch_of(data, [order[0]]), slice(0, 1), protocol)
    after_another = refiner(batch_of(data, [order[last]]), slice(last, last + 1), protocol)
    refiner, network = refiner_of(trained, BY_VIDEO, "train")
    alone = refiner(batch_of(data, [order[last]]), slice(last, last + 1), protocol)
    assert torch.equal(after_another.depth, alone.depth)
    assert not network.training


def test_it_sees_no_ground_truth(trained):
    """Whatever depth, poses, flow and masks a batch has, the network becomes the same."""
    data = dataset(trained)
    protocol = protocol_of(data.configuration, "test")
    batch = batch_of(data, [data.splits["test"][0]])
    motion = replace(batch.motion, flow=batch.motion.flow + 3, moving=~batch.motion.moving)
    other = replace(
        batch,
        depth=2 * batch.depth,
        pose=2 * batch.pose,
        motion=motion,
        neighbours=replace(batch.neighbours, pose=2 * batch.neighbours.pose),
    )
    states = []
    for one in (batch, other):
        refiner, network = refiner_of(trained, BY_FRAME)
        refiner(one, slice(0, 1), protocol)
        states.append([value.clone() for value in network.state_dict().values()])
    assert all(torch.equal(*pair) for pair in zip(*states, strict=True))
    blind = without_truth(batch)
    assert not blind.depth.any()
    assert not blind.valid.any()
    assert blind.pose.isnan().all()
    assert blind.neighbours.pose.isnan().all()
    assert (blind.motion.flow, blind.motion.moving) == (None, None)
    assert blind.image is batch.image


def test_terms_that_need_ground_truth_take_no_part(trained):
    found = refined(trained, BY_FRAME, "loss.mae={weight: 1.0}", "loss.smooth_flow.weight=0")
    assert found.terms == ("photometric_rigid", "photometric_flow", "smooth_depth")


@pytest.mark.parametrize(
    ("sets", "option", "message"),
    [
        (
            ["data.neighbours=[]", "rebalance=null"],
            "data.neighbours",
            "found none; refinement learns from neighbouring frames",
        ),
        (
            ["loss={smooth_depth: {weight: 1.0}, photometric_rigid: {weight: 0}}"],
            "loss",
            "found smooth_depth; refinement needs photometric_flow or photometric_rigid with a weight above 0",
        ),
        (["loss.photometric_rigid.pose=known"], "loss.photometric_rigid.pose", "found 'known', which is ground truth"),
        (["rebalance.method=oracle"], "rebalance.method", "found 'oracle', which is ground truth"),
    ],
)
def test_what_cannot_be_refined_is_named(trained, sets, option, message):
    with pytest.raises(OptionError, match=message) as caught:
        refined(trained, BY_FRAME, *sets)
    assert caught.value.option == option


def test_a_network_that_sees_no_neighbours_is_named(tmp_path):
    disparity = "model={name: disparity, encoder: test_efficientnet, channels: 4, scales: 1}"
    sets = (disparity, "loss={smooth_depth: {weight: 1.0}, photometric_rigid: {weight: 0}}", "rebalance=null")
    data = dataset(tmp_path, *sets)
    trainer = Trainer(data.configuration, data, CPU)
    trainer.save(tmp_path / "checkpoint.pt")
    with pytest.raises(
        OptionError, match="found 'disparity', which sees no neighbouring frames; .* such as co_training"
    ) as caught:
        refined(tmp_path, BY_FRAME, *sets, "loss.photometric_rigid.weight=1.0")
    assert caught.value.option == "model.name"


def command(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["weightsearch", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


class TestCommand:
    def test_it_says_what_was_done_and_stores_it(self, trained, monkeypatch, capsys):
        words = ["evaluate", str(trained / "cotraining.yaml"), "--checkpoint", str(trained / "checkpoint.pt")]
        words += ["--split", "test", "--device", "cpu", "--refine", "2", "--refine-rate", "0.5"]
        status, out, err = command(monkeypatch, capsys, *words)
        assert status == 0
        assert "refinement 2 steps a frame from the weights of the checkpoint at every frame, 0.5 of" in " ".join(
            out.split()
        )
        assert "refinement: the loss of the frames went from 0." in err
        _, out, _ = command(monkeypatch, capsys, *words, "--json")
        stored = json.loads(out)
        assert stored["protocol"]["refinement"].startswith("2 steps a frame")
        assert stored["refinement"]["loss_after"] < stored["refinement"]["loss_before"]
        assert {name: stored["refinement"][name] for name in ("steps", "rate", "per")} == {
            "steps": 2,
            "rate": 0.5,
            "per": "frame",
        }

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                COTRAINING.replace("photometric", "smooth")
                .replace("smooth_rigid", "edge_aware_smoothness")
                .replace("  smooth_flow: {weight: 1.0}\n", ""),
                r"^loss: found edge_aware_smoothness, .*; refinement needs .*above 0 \(.*study.yaml:6\)$",
            ),
            (
                TINY.replace("{low: 0.1, high: 100, log: true}", "1").replace("{low: 0.01, high: 10, log: true}", "1"),
                r"^data.neighbours: found none; .* such as \[-1, 1\] \(.*study.yaml:4\)$",
            ),
        ],
    )
    def test_a_study_that_cannot_be_refined_is_one_located_line(self, tmp_path, monkeypatch, capsys, text, line):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        load_configuration(path)
        words = ["evaluate", str(path), "--checkpoint", str(tmp_path / "none.pt"), "--refine", "3"]
        status, _, err = command(monkeypatch, capsys, *words)
        assert status == 2
        assert re.match(line, err.strip()), err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--refine-rate", "0.5"], "--refine-rate and --refine-per are for --refine STEPS"),
            (["--refine", "3", "--refine-per", "split"], "--refine-per: expected frame or video, found 'split'"),
            (["--refine", "3", "--pictures", "x"], "--pictures draws what the checkpoint predicts as it is"),
        ],
    )
    def test_options_that_do_not_go_together_are_refused(self, trained, monkeypatch, capsys, words, message):
        config = ["evaluate", str(trained / "cotraining.yaml"), "--checkpoint", str(trained / "checkpoint.pt")]
        status, _, err = command(monkeypatch, capsys, *config, *words)
        assert status == 2
        assert message in err
