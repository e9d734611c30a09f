from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.func import jacrev, vmap

from weightsearch.geometry.pose import axis_angle, axis_angle_matrix, cross_matrix, inverse, pose_matrix
from weightsearch.metrics.odometry_metrics import _angles
from weightsearch.models.parts.pose import rotated

ANGLES = [0.0, 1e-12, 1e-8, 9e-5, 1.1e-4, 2.1e-4, 1e-2, 1.0, 3.0, 3.14, *(math.pi - off for off in (1e-5, 1e-9, 0.0))]
ROUNDING = {torch.float64: 4e-15, torch.float32: 2e-6}


def poses(count: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotations_are_the_exponential_of_the_cross_matrix():
    vectors = poses()[:, :3]
    torch.testing.assert_close(axis_angle_matrix(vectors), torch.matrix_exp(cross_matrix(vectors)))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 3.1])
def test_rotation_vectors_come_back_from_their_matrices(size):
    vectors = size * torch.nn.functional.normalize(poses()[:, :3], dim=-1)
    torch.testing.assert_close(axis_angle(axis_angle_matrix(vectors)), vectors, rtol=1e-9, atol=1e-15)


def vectors_of(angle: float) -> np.ndarray:
    """Rotation vectors of one angle about many axes, those of the coordinates among them, [N, 3]."""
    axes = np.random.default_rng(0).normal(size=(200, 3))
    axes = np.concatenate([axes / np.linalg.norm(axes, axis=1, keepdims=True), np.eye(3), -np.eye(3)])
    return angle * axes


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("angle", ANGLES)
def test_rotations_and_their_vectors_are_those_of_scipy(angle, dtype):
    """At every angle up to pi. At pi a vector and its opposite are the same rotation."""
    vectors, exact = vectors_of(angle), ROUNDING[dtype]
    matrices = Rotation.from_rotvec(vectors).as_matrix()
    found = axis_angle_matrix(torch.tensor(vectors, dtype=dtype))
    np.testing.assert_allclose(found.double(), matrices, rtol=0, atol=exact)
    back = axis_angle(torch.tensor(matrices, dtype=dtype)).double().numpy()
    assert np.linalg.norm(back, axis=1) == pytest.approx(np.full(len(back), angle), rel=exact, abs=1e-20)
    same = np.abs(back - vectors).max(axis=1)
    if angle > math.pi - 1e-6:
        same = np.minimum(same, np.abs(back + vectors).max(axis=1))
    assert same.max() <= max(2 * exact * angle, 1e-20)
    np.testing.assert_allclose(axis_angle_matrix(torch.tensor(back)), matrices, rtol=0, atol=2 * exact)


@pytest.mark.parametrize("angle", ANGLES)
def test_every_other_formula_of_an_angle_holds_up_to_pi(angle):
    """The odometry metrics' angle between rotations, and the pose network's turning of points."""
    vectors = vectors_of(angle)
    poses = np.tile(np.eye(4), (2, len(vectors), 1, 1))
    poses[1, :, :3, :3] = Rotation.from_rotvec(vectors).as_matrix()
    assert _angles(poses[0], poses[1]) == pytest.approx(np.full(len(vectors), angle), rel=1e-14, abs=1e-20)
    point = np.array([0.3, -2.0, 5.0])
    turned = rotated(torch.tensor(vectors), torch.tensor(point).expand(len(vectors), 3))
    np.testing.assert_allclose(turned, Rotation.from_rotvec(vectors).apply(point), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("angle", ANGLES)
def test_the_gradient_of_a_vector_through_its_matrix_is_one(angle, dtype):
    """Its Jacobian is the identity; at pi, where the opposite vector may be given, it is a reflection."""
    vectors = torch.tensor(vectors_of(angle), dtype=dtype)
    jacobian = vmap(jacrev(lambda vector: axis_angle(axis_angle_matrix(vector))))(vectors).double()
    at_pi = angle > math.pi - (1e-6 if dtype == torch.float32 else 1e-12)
    product = jacobian @ jacobian.mT if at_pi else jacobian
    torch.testing.assert_close(product, torch.eye(3).double().expand_as(product), rtol=0, atol=2 * ROUNDING[dtype])


@pytest.mark.parametrize("angle", [1e-6, 9e-5, 1.1e-4, 2.1e-4, 1e-3, 0.1])
def test_gradients_of_small_turns_are_as_exact_in_single_precision(angle):
    """1 - cos is 0 in float32 up to 2.4e-4 rad, with a gradient that is off by 1e-4."""
    vectors = torch.tensor(vectors_of(angle), dtype=torch.float32)
    single, double = (vmap(jacrev(axis_angle_matrix))(one).double() for one in (vectors, vectors.double()))
    torch.testing.assert_close(single, double, rtol=0, atol=5e-7)


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
