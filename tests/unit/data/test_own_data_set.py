"""The documentation's example of a data set."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from tests.helpers.trainings import configuration
from weightsearch.data.dataset import open_dataset


def test_the_example_reads_pictures_and_depth_in_metres(tiny, tmp_path, monkeypatch):
    (code,) = re.findall(
        r"```python\n(# my_data\.py.*?)```", (ROOT / "docs" / "how-to" / "own-data-set.md").read_text(), re.DOTALL
    )
    (tmp_path / "my_data.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for folder in ("rgb", "depth"):
        (tmp_path / folder).mkdir()
    for index in range(30):
        Image.fromarray(np.full((48, 64, 3), 8 * index, np.uint8)).save(tmp_path / "rgb" / f"{index:02}.jpg")
        Image.fromarray(np.full((48, 64), 1000 + index, np.uint16)).save(tmp_path / "depth" / f"{index:02}.png")
    data = f"data={{name: 'my_data:Pairs', root: '{tmp_path}', size: [24, 32], min_depth: 0.3, max_depth: 6.0}}"
    dataset = open_dataset(configuration(tiny, data))
    assert sum(map(len, dataset.splits.values())) == 26  # four are left out at the cuts
    assert dataset.frames.names[7] == "07"
    np.testing.assert_allclose(dataset.frames.depth[7], 1.007, rtol=1e-6)
    np.testing.assert_allclose(dataset.frames.image[7], 56, atol=2)
    assert np.isnan(dataset.frames.intrinsics).all()
    assert np.isnan(dataset.frames.pose).all()
