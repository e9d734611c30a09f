"""Every loss term once more, in float64 numpy with plain loops over pixels and windows, from the formulas alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

M = 15.0
NEAREST = 0.5


def transformed(depth: Array, space: str) -> Array:
    if space == "depth":
        return depth
    raised = np.maximum(depth, 1e-3)
    return 1 / raised if space == "reciprocal" else np.log(raised)


def images(x: Array, y: Array, valid: Mask) -> Iterator[tuple[Array, Array, Mask]]:
    for number in range(len(x)):
        yield x[number, 0], y[number, 0], valid[number, 0]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def mae(x, y, valid, image, *, space="depth"):
    return mean(list(np.abs(transformed(x, space) - transformed(y, space))[valid]))


def l2(x, y, valid, image, *, space="depth"):
    return mean(list(((transformed(x, space) - transformed(y, space)) ** 2)[valid]))


def berhu(x, y, valid, image, *, space="depth", threshold=0.2, per_image=False):
    errors = [
        [abs(a - b) for a, b in zip(transformed(one, space)[mask], transformed(other, space)[mask], strict=True)]
        for one, other, mask in images(x, y, valid)
    ]
    everywhere = max((max(some) for some in errors if some), default=0.0)
    values = []
    for some in errors:
        c = threshold * (max(some, default=0.0) if per_image else everywhere)
        values += [e if e <= c else (e * e + c * c) / (2 * c) for e in some]
    return mean(values)


def silog(x, y, valid, image, *, variance_focus=0.85, form="sqrt", scale=1.0, per_image=False):
    d = [list(np.log(one[mask]) - np.log(other[mask])) for one, other, mask in images(x, y, valid)]
    groups = [some for some in d if some] if per_image else [[value for some in d for value in some]]
    values = []
    for some in groups:
        q = mean([value**2 for value in some]) - variance_focus * mean(some) ** 2
        values.append(math.sqrt(max(q, 0)) if form == "sqrt" else q)
    return scale * mean(values)


def edge(x, y, valid, image, *, space="depth", operator="forward"):
    across, down = [], []
    for one, other, mask in images(transformed(x, space), transformed(y, space), valid):
        height, width = mask.shape
        for i in range(height):
            for j in range(width):
                if operator == "forward":
                    if j + 1 < width and mask[i, j] and mask[i, j + 1]:
                        across.append(abs((one[i, j + 1] - one[i, j]) - (other[i, j + 1] - other[i, j])))
                    if i + 1 < height and mask[i, j] and mask[i + 1, j]:
                        down.append(abs((one[i + 1, j] - one[i, j]) - (other[i + 1, j] - other[i, j])))
                elif 0 < i < height - 1 and 0 < j < width - 1 and mask[i - 1 : i + 2, j - 1 : j + 2].all():
                    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
                    windows = (one[i - 1 : i + 2, j - 1 : j + 2], other[i - 1 : i + 2, j - 1 : j + 2])
                    across.append(abs((kernel * windows[0]).sum() - (kernel * windows[1]).sum()))
                    down.append(abs((kernel.T * windows[0]).sum() - (kernel.T * windows[1]).sum()))
    return mean(across) + mean(down)


def gradient_matching(x, y, valid, image, *, space="log", scales=4):
    total = 0.0
    residual = np.where(valid, transformed(np.where(valid, x, 1), space) - transformed(np.where(valid, y, 1), space), 0)
    for scale in range(scales):
        step, found, count = 2**scale, 0.0, 0
        for one, _, mask in images(residual[..., ::step, ::step], residual, valid[..., ::step, ::step]):
            count += int(mask.sum())
            for i, j in np.ndindex(*mask.shape):
                if mask[i, j] and j + 1 < mask.shape[1] and mask[i, j + 1]:
                    found += abs(one[i, j + 1] - one[i, j])
                if mask[i, j] and i + 1 < mask.shape[0] and mask[i + 1, j]:
                    found += abs(one[i + 1, j] - one[i, j])
        total += found / max(count, 1)
    return total


def ssim(x, y, valid, image, *, space="depth", window=11, sigma=1.5, dynamic_range=None, halved=True):
    reach = dynamic_range or {"depth": M, "reciprocal": 1 / NEAREST, "log": math.log(M / NEAREST)}[space]
    c1, c2 = (0.01 * reach) ** 2, (0.03 * reach) ** 2
    bell = [math.exp(-((k - (window - 1) / 2) ** 2) / (2 * sigma**2)) for k in range(window)]
    kernel = np.outer(bell, bell)
    edge_width = (window - 1) // 2
    values = []
    zero = math.log(NEAREST) if space == "log" else 0.0
    for one, other, mask in images(transformed(x, space) - zero, transformed(y, space) - zero, valid):
        for i, j in np.ndindex(mask.shape[0] - window + 1, mask.shape[1] - window + 1):
            if not mask[i + edge_width, j + edge_width]:
                continue
            inside = mask[i : i + window, j : j + window]
            weight = kernel[inside] / kernel[inside].sum()
            u, v = one[i : i + window, j : j + window][inside], other[i : i + window, j : j + window][inside]
            mu, nu = (weight * u).sum(), (weight * v).sum()
            variances = (weight * (u - mu) ** 2).sum() + (weight * (v - nu) ** 2).sum()
            covariance = (weight * (u - mu) * (v - nu)).sum()
            similarity = (2 * mu * nu + c1) * (2 * covariance + c2) / ((mu**2 + nu**2 + c1) * (variances + c2))
            values.append(min(max((1 - similarity) / 2, 0), 1) if halved else 1 - similarity)
    return mean(values)


def edge_aware_smoothness(x, y, valid, image, *, space="reciprocal", sharpness=1.0):
    across, down = [], []
    for number in range(len(x)):
        value = transformed(x[number, 0], space)
        if space != "log":
            value = value / value.mean()
        colour = image[number]
        height, width = value.shape
        for i, j in np.ndindex(height, width):
            if j + 1 < width:
                slope = np.abs(colour[:, i, j + 1] - colour[:, i, j]).mean()
                across.append(abs(value[i, j + 1] - value[i, j]) * math.exp(-sharpness * slope))
            if i + 1 < height:
                slope = np.abs(colour[:, i + 1, j] - colour[:, i, j]).mean()
                down.append(abs(value[i + 1, j] - value[i, j]) * math.exp(-sharpness * slope))
    return mean(across) + mean(down)


def consistency(x, y, valid, image):
    return mae(x, y, valid, image)


def integer(x, y, valid, image):
    return mae(x, np.floor(y) / M, valid, image)


def fractional(x, y, valid, image):
    return mae(x, y - np.floor(y), valid, image)
