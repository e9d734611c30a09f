"""The shipped studies contain the experiments of their papers."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.conftest import ROOT
from weightsearch.config import StudyConfig, load_study
from weightsearch.search.space import grid_points

SINGLE = {"mae_only": "mae", "edge_only": "edge", "ssim_only": "ssim"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("SEVEN_SCENES", "NYU", "KITTI"):
        monkeypatch.setenv(name, str(tmp_path))

    def load(name: str, *sets: str) -> StudyConfig:
        return load_study(ROOT / "studies" / f"{name}.yaml", sets)

    return load


def configured(config: StudyConfig, baseline: str) -> tuple[str, list[float]]:
    """A baseline's encoder and its weights of MAE, edge and SSIM."""
    found = config.configuration(config.search.baselines[baseline])
    return found.model.options["encoder"], [found.loss[name].weight for name in ("mae", "edge", "ssim")]


class TestTransfer:
    @pytest.mark.parametrize("name", ["transfer_nyu", "transfer_kitti"])
    def test_its_baselines_are_the_papers(self, study, name):
        config = study(name)
        published = {
            "published": "tf_efficientnet_b0",
            "published_b4": "tf_efficientnet_b4",
            "published_densenet121": "densenet121",
            "published_densenet169": "densenet169",
            "published_densenet201": "densenet201",
        }
        for baseline, encoder in published.items():
            assert configured(config, baseline) == (encoder, [0.6, 0.2, 1])
        assert configured(config, "equal") == ("densenet121", [1, 1, 1])  # its first experiment
        for baseline, term in SINGLE.items():
            weights = [float(other == term) for other in ("mae", "edge", "ssim")]
            assert configured(config, baseline) == ("densenet121", weights)

    def test_the_short_study_has_the_baselines_of_its_two_encoders(self, study):
        config = study("transfer")
        assert configured(config, "published") == ("tf_efficientnet_lite0", [0.6, 0.2, 1])
        assert configured(config, "published_densenet121") == ("densenet121", [0.6, 0.2, 1])
        assert configured(config, "equal") == ("densenet121", [1, 1, 1])
        assert set(SINGLE) <= set(config.search.baselines)
        assert (config.search.trials, config.base.train.epochs) == (20, 6)  # it stays short

    @pytest.mark.parametrize("variant", ["", "_7scenes", "_kitti", "_nyu"])
    def test_the_grid_has_the_published_weights_among_its_points(self, study, variant):
        config = study(f"transfer_grid{variant}")
        points = [
            grid_points(name, found, config.search.sampler.options["points"]) for name, found in config.space.items()
        ]
        assert list(config.space) == ["loss.mae.weight", "loss.edge.weight"]
        assert (0.6, 0.2) in set(itertools.product(*points))
        assert config.base.loss["ssim"].weight == 1
        assert config.search.trials == len(points[0]) * len(points[1]) + len(config.search.baselines)

    @pytest.mark.parametrize("kind", ["", "_grid", "_random", "_ablation"])
    def test_nyu_has_the_published_settings_and_may_stop_near_epoch_23(self, study, kind):
        found = study(f"transfer{kind}_nyu").base
        train = found.train
        assert (train.optimizer, train.lr, train.batch_size) == ("adam", 1e-4, 8)
        assert found.data.size == (240, 320)
        assert (found.model.options["decoder"], found.model.options["resolution"]) == ("densedepth", "half")
        assert train.epochs > 23
        curve = [1 / epoch for epoch in range(1, 19)]  # best at epoch 18, from there on no better
        ends = next(epoch for epoch in itertools.count(18) if train.early_stopping.over(curve + [1] * (epoch - 18)))
        assert ends == 23


def test_the_dual_head_has_a_study_at_the_published_range_and_weights(study):
    config = study("dualhead_15m")
    assert (config.base.data.min_depth, config.base.data.max_depth) == (0.5, 15)
    published = config.configuration(config.search.baselines["published"])
    assert [term.weight for term in published.loss.values()] == [1, 10, 0.5]
    assert list(published.loss) == ["integer", "fractional", "consistency"]


class TestCotraining:
    @pytest.mark.parametrize("name", ["cotraining", "cotraining_7scenes", "cotraining_kitti"])
    def test_the_epipolar_term_is_searched(self, study, name):
        assert "loss.epipolar.weight" in study(name).space

    def test_7_scenes_has_a_learned_pose_beside_the_solved_pose(self, study):
        config = study("cotraining_7scenes")
        learned = config.configuration(config.search.baselines["learned_pose"])
        assert config.base.model.options["motion_from"] == "depth_and_images"
        assert learned.model.options["motion_from"] == "both"
        assert (learned.loss["epipolar"].options["learns"], learned.loss["epipolar"].weight) == ("pose", 0.001)

    def test_kitti_uses_the_eigen_split_and_its_preset(self, study):
        found = study("cotraining_kitti").base
        assert found.evaluation.preset == "kitti_eigen"
        assert (found.evaluation.crop, found.evaluation.median_scaling) == ("garg", True)
        assert {name: found.data.options[name] for name in ("train", "validation", "test")} == {
            "train": "splits/eigen_zhou/train_files.txt",
            "validation": "splits/eigen_zhou/val_files.txt",
            "test": "splits/eigen/test_files.txt",
        }
