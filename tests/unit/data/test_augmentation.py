"""The effect of every random change on picture, depth, mask, intrinsics and pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from weightsearch.config.schema import Augmentation
from weightsearch.data.augmentation import augment
from weightsearch.data.batch import Batch
from weightsearch.data.sources.procedural import Procedural

SIZE = (48, 64)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Four frames of a computed room."""
    source = Procedural(size=SIZE, scenes=1, frames=40, seed=1)
    frames = [source.read(0, index) for index in (0, 7, 14, 30)]
    depth = torch.stack([torch.from_numpy(frame.depth) for frame in frames]).unsqueeze(1)
    return Batch(
        torch.stack([torch.from_numpy(frame.image).permute(2, 0, 1).float() / 255 for frame in frames]),
        depth,
        (depth > 0.3) & (depth < 6),
        torch.stack([torch.from_numpy(frame.intrinsics) for frame in frames]),
        torch.stack([torch.from_numpy(frame.pose) for frame in frames]),
    )


def changed(batch: Batch, seed: int = 0, **options) -> Batch:
    return augment(batch, Augmentation(**options), np.random.SeedSequence(seed))


def points(batch: Batch) -> torch.Tensor:
    """World coordinates of every pixel, [B, H * W, 3]."""
    height, width = batch.depth.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).view(-1, 3).double()
    rays = pixels @ batch.intrinsics.double().inverse().mT
    camera = rays * batch.depth.double().flatten(1)[:, :, None]
    return camera @ batch.pose[:, :3, :3].double().mT + batch.pose[:, None, :3, 3].double()


def same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("image", "depth", "valid", "intrinsics", "pose")
    )


class TestGeometry:
    def test_off_it_is_the_batch_itself(self, batch):
        assert changed(batch) is batch

    def test_the_mirror_is_exact_and_undoes_itself(self, batch):
        once = changed(batch, mirror=1.0)
        assert torch.equal(once.image, batch.image.flip(-1))
        assert torch.equal(once.depth, batch.depth.flip(-1))
        assert torch.equal(once.valid, batch.valid.flip(-1))
        twice = changed(once, mirror=1.0)
        assert torch.equal(twice.image, batch.image)
        torch.testing.assert_close(twice.intrinsics, batch.intrinsics)
        torch.testing.assert_close(twice.pose, batch.pose)

    def test_the_mirrored_camera_sees_the_mirrored_world(self, batch):
        mirrored = points(changed(batch, mirror=1.0)).view(4, *SIZE, 3)
        expected = points(batch).view(4, *SIZE, 3).flip(2) * torch.tensor([-1.0, 1.0, 1.0])
        torch.testing.assert_close(mirrored, expected, atol=1e-5, rtol=0)

    def test_mirrored_poses_stay_rigid(self, batch):
        pose = changed(batch, mirror=1.0).pose[:, :3, :3]
        torch.testing.assert_close(pose @ pose.mT, torch.eye(3, dtype=pose.dtype).expand(4, 3, 3))
        torch.testing.assert_close(torch.linalg.det(pose), torch.ones(4, dtype=pose.dtype))

    def test_half_of_the_pictures_are_mirrored(self, batch):
        count = sum(
            int((changed(batch, seed, mirror=0.5).image != batch.image).flatten(1).any(dim=1).sum())
            for seed in range(200)
        )
        assert count / 800 == pytest.approx(0.5, abs=0.06)  # 3.4 standard deviations

    def test_a_crop_is_a_window_and_its_points_are_where_they_were(self, batch):
        cropped = changed(batch, 3, crop=(20, 30))
        assert cropped.image.shape == (4, 3, 20, 30)
        shift = (batch.intrinsics - cropped.intrinsics)[:, :2, 2].round().long()
        whole = points(batch).view(4, *SIZE, 3)
        for number, (left, top) in enumerate(shift.tolist()):
            window = np.s_[top : top + 20, left : left + 30]
            assert torch.equal(cropped.image[number], batch.image[number][:, *window])
            assert torch.equal(cropped.depth[number, 0], batch.depth[number, 0][window])
            torch.testing.assert_close(
                points(cropped)[number].view(20, 30, 3), whole[number][window], atol=1e-5, rtol=0
            )

    def test_crops_reach_every_edge(self, batch):
        corners = set()
        for seed in range(300):
            shift = (batch.intrinsics - changed(batch, seed, crop=(46, 62)).intrinsics)[:, :2, 2]
            corners |= {tuple(pair) for pair in shift.round().long().tolist()}
        assert corners == {(left, top) for left in range(3) for top in range(3)}

    def test_a_rotated_pictures_points_lie_on_the_same_surfaces(self, batch):
        """Depth by the nearest pixel: what is seen is within a pixel of where it was."""
        turned = changed(batch, 1, rotation=10.0)
        assert not torch.equal(turned.image, batch.image)
        for number in range(4):
            inside = turned.valid[number, 0].flatten()
            here = points(turned)[number][inside]
            there = points(batch)[number]
            nearest = torch.cdist(here, there).min(dim=1).values
            assert float(nearest.quantile(0.95)) < 0.05  # a pixel is 1 to 6 cm wide here
            assert float(nearest.mean()) < 0.02

    def test_depths_are_never_mixed_by_a_rotation(self, batch):
        turned = changed(batch, 2, rotation=20.0)
        for number in range(4):
            known = set(batch.depth[number].flatten().tolist()) | {0.0}
            assert set(turned.depth[number].flatten().tolist()) <= known
        outside = turned.depth == 0
        assert outside.any()
        assert not turned.valid[outside].any()

    @pytest.mark.parametrize("stretch", [1.0, 1.3])
    def test_a_rotation_rolls_the_camera_whether_its_pixels_are_square_or_not(self, batch, stretch):
        """Where a point of the world is seen: by the new intrinsics and pose, and by turning the picture."""
        matrix = batch.intrinsics.clone()
        matrix[:, 0] *= stretch
        matrix[:, :2, 2] += torch.tensor([3.0, -2.0])
        narrow = Batch(batch.image, batch.depth, batch.valid, matrix, batch.pose)
        turned = changed(narrow, 1, rotation=15.0)
        world = points(narrow)
        for number in range(4):
            camera = (world[number] - turned.pose[number, :3, 3]) @ turned.pose[number, :3, :3]
            seen = camera @ turned.intrinsics[number].mT
            columns, rows = (seen[:, :2] / seen[:, 2:]).round().long().mT
            inside = (columns >= 0) & (columns < SIZE[1]) & (rows >= 0) & (rows < SIZE[0])
            found = turned.depth[number, 0][rows[inside], columns[inside]]
            expected = narrow.depth[number, 0].flatten()[inside]
            close = (found - expected).abs() < 0.1
            assert float(close.double().mean()) > 0.9  # all but the edges of things, where a pixel decides


class TestColours:
    OPTIONS = (
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"saturation": 0.5},
        {"gamma": 0.3},
        {"hue": 0.2},
        {"permute_channels": 1.0},
    )

    @pytest.mark.parametrize("options", OPTIONS)
    def test_colour_changes_leave_the_rest_alone(self, batch, options):
        new = changed(batch, 5, **options)
        assert not torch.equal(new.image, batch.image)
        assert float(new.image.min()) >= 0
        assert float(new.image.max()) <= 1
        for name in ("depth", "valid", "intrinsics", "pose"):
            assert getattr(new, name) is getattr(batch, name)

    def test_brightness_is_a_factor(self, batch):
        dark = Batch(batch.image / 2, batch.depth, batch.valid, batch.intrinsics, batch.pose)
        factors = (changed(dark, 5, brightness=0.3).image / dark.image).flatten(1)
        torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
        assert (factors[:, 0] > 0.7).all()
        assert (factors[:, 0] < 1.3).all()
        assert len(set(factors[:, 0].tolist())) == 4

    def test_contrast_is_a_factor_about_the_mean_luma(self, batch):
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        pale = replace(batch, image=0.4 + batch.image / 5)
        mean = (weights * pale.image).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
        factors = ((changed(pale, 5, contrast=0.3).image - mean) / (pale.image - mean)).flatten(1)
        known = (pale.image - mean).abs().flatten(1) > 0.02
        for one, where in zip(factors, known, strict=True):
            assert float(one[where].max() - one[where].min()) < 1e-3
            assert 0.7 < float(one[where].mean()) < 1.3
        assert len({round(float(one[where].mean()), 4) for one, where in zip(factors, known, strict=True)}) == 4

    def test_gamma_is_an_exponent(self, batch):
        inside = replace(batch, image=0.2 + 0.6 * batch.image)
        exponents = (changed(inside, 5, gamma=0.3).image.log() / inside.image.log()).flatten(1)
        torch.testing.assert_close(exponents, exponents[:, :1].expand_as(exponents), atol=1e-4, rtol=0)
        assert (exponents[:, 0] > 0.7).all()
        assert (exponents[:, 0] < 1.3).all()
        assert len({round(value, 4) for value in exponents[:, 0].tolist()}) == 4

    def test_saturation_and_hue_keep_the_luma(self, batch):
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        pale = Batch(0.4 + batch.image / 5, batch.depth, batch.valid, batch.intrinsics, batch.pose)
        for options in ({"saturation": 0.5}, {"hue": 0.5}):
            new = changed(pale, 5, **options).image
            torch.testing.assert_close((weights * new).sum(dim=1), (weights * pale.image).sum(dim=1), atol=1e-5, rtol=0)

    def test_every_order_of_the_channels_comes(self, batch):
        orders = set()
        for seed in range(40):
            new = changed(batch, seed, permute_channels=1.0).image
            for one, other in zip(new, batch.image, strict=True):
                orders.add(tuple(next(c for c in range(3) if torch.equal(channel, other[c])) for channel in one))
        assert len(orders) == 6


EVERYTHING = {"mirror": 0.5, "rotation": 5.0, "crop": (32, 48), "brightness": 0.2, "hue": 0.1}


class TestDraws:
    def test_the_same_entropy_gives_the_same_batch(self, batch):
        assert same(changed(batch, 4, **EVERYTHING), changed(batch, 4, **EVERYTHING))
        assert not same(changed(batch, 4, **EVERYTHING), changed(batch, 5, **EVERYTHING))

    def test_one_option_does_not_change_anothers_draws(self, batch):
        alone = changed(batch, 4, crop=(32, 48))
        assert torch.equal(alone.depth, changed(batch, 4, crop=(32, 48), brightness=0.2, permute_channels=0.5).depth)

    def test_nothing_is_changed_in_place(self, batch):
        before = [getattr(batch, name).clone() for name in ("image", "depth", "intrinsics", "pose")]
        changed(batch, 4, **EVERYTHING)
        for name, value in zip(("image", "depth", "intrinsics", "pose"), before, strict=True):
            assert torch.equal(getattr(batch, name), value)


def test_where_the_focal_length_is_not_known_pixels_are_square(batch):
    unknown = batch.intrinsics.clone()
    unknown[:, 0, 0] = unknown[:, 1, 1] = torch.nan
    square = batch.intrinsics.clone()
    square[:, 0, 0] = square[:, 1, 1] = 60.0
    found = changed(replace(batch, intrinsics=unknown), rotation=10.0)
    expected = changed(replace(batch, intrinsics=square), rotation=10.0)
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.depth, expected.depth)
    assert found.valid.float().mean() > 0.8
