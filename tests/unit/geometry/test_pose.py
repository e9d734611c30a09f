from __future__ import annotations

import pytest
import torch

from weightsearch.geometry.pose import axis_angle, axis_angle_matrix, cross_matrix, inverse, pose_matrix


def poses(count: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotations_are_the_exponential_of_the_cross_matrix():
    vectors = poses()[:, :3]
    torch.testing.assert_close(axis_angle_matrix(vectors), torch.matrix_exp(cross_matrix(vectors)))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 3.1])
def test_rotation_vectors_come_back_from_their_matrices(size):
    vectors = size * torch.nn.functional.normalize(poses()[:, :3], dim=-1)
    torch.testing.assert_close(axis_angle(axis_angle_matrix(vectors)), vectors, rtol=1e-9, atol=1e-15)


def test_the_cross_matrix_is_the_cross_product():
    one, other = poses()[:, :3], poses(seed=1)[:, :3]
    expected = torch.linalg.cross(one, other)
    torch.testing.assert_close((cross_matrix(one) @ other[..., None]).squeeze(-1), expected)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-9, 9.9e-5, 1.01e-4, 1e-3])
def test_small_turns_are_exact_and_have_a_gradient(size):
    vector = (size * torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)).requires_grad_()
    matrix = axis_angle_matrix(vector)
    torch.testing.assert_close(matrix, torch.matrix_exp(cross_matrix(vector)), atol=1e-15, rtol=1e-12)
    matrix[2, 1].backward()
    assert vector.grad[0] == pytest.approx(1.0, abs=1e-5)  # d sin(x) / dx about the x axis


def test_gradients_agree_with_differences():
    assert torch.autograd.gradcheck(pose_matrix, poses(4).requires_grad_())


def test_the_inverse_undoes_a_pose():
    found = pose_matrix(poses())
    torch.testing.assert_close(inverse(found) @ found, torch.eye(4, dtype=torch.float64).expand_as(found))
    torch.testing.assert_close(inverse(found), torch.linalg.inv(found))
    assert bool((found[..., 3, :] == torch.tensor([0.0, 0, 0, 1])).all())
