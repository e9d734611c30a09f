"""Mistakes in a user's own network, term or data set: each is told with its place in the study file and its line."""

from __future__ import annotations

import sys
import textwrap
from itertools import count

import pytest
import torch
from torch.nn.functional import interpolate

from tests.helpers.trainings import CPU, configuration
from weightsearch.data.check import check_data
from weightsearch.data.dataset import open_dataset, outline
from weightsearch.data.noise import noise
from weightsearch.errors import ConfigError, DataError, OptionError, TrialFailure, WeightsearchError
from weightsearch.losses.criterion import build_criterion
from weightsearch.plugins import options_model, resolve
from weightsearch.runtime.batches import batches
from weightsearch.runtime.network import build_network, predict
from weightsearch.training.preflight import preflight
from weightsearch.training.run import train

NUMBERS = count()
NETWORK = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 1, 3, padding=1)
    def forward(self, image):
        return 2 + self.body(image)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a user's module; returns its name and its path."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(source):
        name = f"own_code_{next(NUMBERS)}"
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        written.append(name)
        return name, path

    yield write
    for name in written:
        sys.modules.pop(name, None)


def line_of(path, text):
    return next(number for number, line in enumerate(path.read_text().splitlines(), start=1) if text in line)


def refusal(tiny, tmp_path, *sets):
    found = configuration(tiny, *sets)
    with pytest.raises(WeightsearchError) as error:
        preflight(found, noise(found, 2, tmp_path))
    return str(error.value)


TERMS = {
    "one argument": (
        "class Mine:\n    def __call__(self, prediction):\n        return prediction['depth'].mean()\n",
        "loss.mine: must take (prediction, batch), found __call__(prediction): too many positional arguments ({place})",
        "def __call__",
    ),
    "one argument of a module": (
        "from torch import nn\nclass Mine(nn.Module):\n    def forward(self, depth, truth, mask):\n        return 0\n",
        "loss.mine: must take (prediction, batch), found forward(depth, truth, mask): missing a required argument: "
        "'mask' ({place})",
        "def forward",
    ),
    "no call": (
        "class Mine:\n    pass\n",
        "loss.mine: is a Mine, which cannot be called; it needs the method __call__(self, prediction, batch) ({place})",
        "class Mine",
    ),
    "no forward": (
        "from torch import nn\nclass Mine(nn.Module):\n    pass\n",
        "loss.mine: has no method forward(self, prediction, batch) ({place})",
        "class Mine",
    ),
    "constructor": (
        "class Mine:\n    def __init__(self):\n        self.x = {}['gone']\n    def __call__(self, a, b):\n        return 0\n",
        "loss.mine: cannot be made: KeyError: 'gone' ({place})",
        "['gone']",
    ),
    "exception in a helper": (
        "def Mine(prediction, batch):\n    return deeper(prediction)\n\ndef deeper(x):\n    return x['depth'] / {}['gone']\n",
        "loss.mine: KeyError: 'gone' ({place})",
        "['gone']",
    ),
    "the end of the program": (
        "import sys\ndef Mine(prediction, batch):\n    sys.exit(3)\n",
        "loss.mine: SystemExit: 3 ({place})",
        "sys.exit",
    ),
    "exception within torch": (
        "def Mine(prediction, batch):\n    return prediction['depth'] @ batch.depth[..., :5].sum(-1)\n",
        "loss.mine: RuntimeError: ",
        "@ batch.depth",
    ),
    "gpu in the call": (
        "def Mine(prediction, batch):\n    return (prediction['depth'].cuda() - batch.depth).mean()\n",
        "loss.mine: asks for a GPU, and torch finds none on this machine; leave out .cuda() and .to('cuda'): networks, "
        "terms and batches are put on the trial's device, and new tensors belong on that of another "
        "(device=image.device) ({place})",
        ".cuda()",
    ),
    "no scalar": (
        "def Mine(prediction, batch):\n    return prediction['depth'].mean(dim=(1, 2, 3))\n",
        "loss.mine: a term must return a scalar tensor, found a tensor [2] ({place})",
        "def Mine",
    ),
    "nothing": (
        "def Mine(prediction, batch):\n    prediction['depth'].mean()\n",
        "loss.mine: a term must return a scalar tensor, found NoneType ({place})",
        "def Mine",
    ),
    "an output that is not there": (
        "def Mine(prediction, batch):\n    return prediction['disparity'].mean()\n",
        "loss.mine: needs the network's output 'disparity'; it gives integer, fractional, depth",
        None,
    ),
}


@pytest.mark.parametrize("mistake", TERMS)
def test_mistakes_in_a_term(tiny, tmp_path, module, mistake):
    source, message, line = TERMS[mistake]
    name, path = module(source)
    text = refusal(tiny, tmp_path, f"loss={{mine: {{term: '{name}:Mine', weight: 1.0}}}}")
    place = "" if line is None else f"{path}:{line_of(path, line)}"
    if "gpu" in mistake and torch.cuda.is_available():
        assert (
            text
            == f"loss.mine: mixes tensors of two devices; make new tensors on that of another (device=image.device) ({place})"
        )
    elif mistake == "exception within torch":
        assert text.startswith(message)
        assert text.endswith(f"({place})")
    else:
        assert text == message.format(place=place)


NETWORKS = {
    "two arguments": (
        ("def forward(self, image)", "def forward(self, image, camera)"),
        "model.name: '{name}:Net': must take (image), found forward(image, camera): missing a required argument: "
        "'camera' ({place})",
        "def forward",
    ),
    "gpu in the constructor": (
        ("padding=1)", "padding=1).cuda()"),
        "model.name: '{name}:Net' cannot be made: asks for a GPU, and torch finds none on this machine; leave out "
        ".cuda() and .to('cuda'): networks, terms and batches are put on the trial's device, and new tensors belong on "
        "that of another (device=image.device) ({place})",
        ".cuda()",
    ),
    "gpu in forward": (
        ("self.body(image)", "self.body(image.cuda())"),
        "model.name: the network Net: asks for a GPU, and torch finds none on this machine; ",
        ".cuda()",
    ),
    "exception": (
        ("return 2", "return {}['gone']"),
        "model.name: the network Net: KeyError: 'gone' ({place})",
        "['gone']",
    ),
    "channels at the end": (
        ("self.body(image)", "self.body(image).permute(0, 2, 3, 1)"),
        "model.name: the network Net: 'depth' must be [B, 1, H, W], found [2, 32, 48, 1]; it seems to lie as "
        "[B, H, W, 1]: return depth.permute(0, 3, 1, 2) ({place})",
        "class Net",
    ),
    "another key": (
        ("return 2 + self.body(image)", "return {'dpeth': self.body(image)}"),
        "loss.mae: needs the network's output 'depth'; it gives dpeth ({place})",
        "class Net",
    ),
    "nothing": (
        ("return 2 +", "2 +"),
        "model.name: the network Net must return depth or named tensors, found NoneType ({place})",
        "class Net",
    ),
    "a list": (
        ("return 2 + self.body(image)", "return [self.body(image)]"),
        "model.name: the network Net must return depth or named tensors, found a list of Tensor ({place})",
        "class Net",
    ),
    "no outputs": (
        ("return 2 + self.body(image)", "return {}"),
        "model.name: the network Net must return depth or named tensors, found dict ({place})",
        "class Net",
    ),
}


@pytest.mark.parametrize("mistake", NETWORKS)
def test_mistakes_in_a_network(tiny, tmp_path, module, mistake):
    (old, new), message, line = NETWORKS[mistake]
    name, path = module(NETWORK.replace(old, new))
    assert new in path.read_text()
    text = refusal(tiny, tmp_path, f"model={{name: '{name}:Net'}}", "loss={mae: {weight: 1.0}}")
    place = f"{path}:{line_of(path, line)}"
    if "gpu" in mistake and torch.cuda.is_available():
        assert "mixes tensors of two devices; make new tensors on that of another" in text
        return
    expected = message.format(name=name, place=place)
    assert text == expected or (expected.endswith("; ") and text.startswith(expected) and text.endswith(f"({place})"))


def test_depth_of_half_the_size_in_a_term_that_expects_the_whole(tiny, tmp_path, module):
    name, path = module(
        NETWORK.replace("2 + self.body(image)", "2 + self.body(image)[..., ::2, ::2]")
        + "def compare(prediction, batch):\n    return (prediction['depth'] - batch.depth).abs().mean()\n"
    )
    term = f"loss={{mine: {{term: '{name}:compare', weight: 1.0}}}}"
    text = refusal(tiny, tmp_path, f"model={{name: '{name}:Net'}}", term)
    assert text.startswith("loss.mine: RuntimeError: The size of tensor a (24) must match the size of tensor b (48)")
    assert f"({path}:{line_of(path, 'return (prediction')}); " in text
    assert text.endswith("the network's 'depth' is [2, 1, 16, 24], the true depth [2, 1, 32, 48]")


def test_depth_of_half_the_size_is_no_mistake_for_our_terms(tiny, tmp_path, module):
    name, _ = module(NETWORK.replace("2 + self.body(image)", "2 + self.body(image)[..., ::2, ::2]"))
    found = configuration(tiny, f"model={{name: '{name}:Net'}}", "loss={mae: {weight: 1.0}, silog: {weight: 1.0}}")
    data = noise(found, 2, tmp_path)
    preflight(found, data)
    batch = next(iter(batches(data, data.splits["train"], 2, CPU)))
    prediction = predict(build_network(found), batch)
    assert prediction["depth"].shape == (2, 1, 16, 24)
    truth = interpolate(batch.depth, size=(16, 24), mode="nearest-exact")
    mae = build_criterion(found)(prediction, batch).values[0]
    assert float(mae) == pytest.approx(float((prediction["depth"] - truth).detach().abs().mean()), rel=1e-5)


def test_a_plain_function_is_a_term_and_its_further_arguments_are_options(tiny, tmp_path, module):
    name, _ = module(
        """
        from __future__ import annotations
        from typing import Literal
        def capped(prediction, batch, *, cap: float = 1.0, form: Literal["mean", "sum"] = "mean", max_depth: float):
            return getattr((prediction["depth"] - batch.depth).abs().clamp(max=cap) / max_depth, form)()
        def factory(*, scale: float = 2.0):
            return lambda prediction, batch: scale * prediction["depth"].mean()
        def maker(scale: float, shift: float):
            return lambda prediction, batch: scale * prediction["depth"].mean() + shift
        """
    )
    assert list(options_model(resolve("loss", f"{name}:capped")).model_fields) == ["cap", "form", "max_depth"]
    term = f"loss={{mine: {{term: '{name}:capped', weight: 1.0, cap: 0.5, form: sum}}}}"
    found = configuration(tiny, term)
    preflight(found, noise(found, 2, tmp_path))
    term = build_criterion(found).terms[0]
    assert term.keywords == {"cap": 0.5, "form": "sum", "max_depth": found.data.max_depth}
    with pytest.raises(WeightsearchError, match=r"loss.mine.form: expected 'mean' or 'sum', found 'median'"):
        configuration(tiny, f"loss={{mine: {{term: '{name}:capped', weight: 1.0, form: median}}}}")
    with pytest.raises(WeightsearchError, match="loss.mine.cape: unknown key; did you mean 'cap'"):
        configuration(tiny, f"loss={{mine: {{term: '{name}:capped', weight: 1.0, cape: 1.0}}}}")
    # Functions that make terms still do.
    for other in ("factory", "maker"):
        options = "" if other == "factory" else ", shift: 1.0, scale: 2.0"
        assert callable(
            build_criterion(
                configuration(tiny, f"loss={{mine: {{term: '{name}:{other}', weight: 1.0{options}}}}}")
            ).terms[0]
        )


def test_a_module_that_cannot_be_imported_names_its_line(module):
    name, path = module("x = 1\ny = {}['gone']\n")
    with pytest.raises(OptionError, match=rf"cannot import '{name}' .*: KeyError: 'gone' \({path}:2\)"):
        resolve("loss", f"{name}:Mine")
    name, path = module("x = 1\ny = (\n")
    with pytest.raises(OptionError, match=rf"cannot import '{name}' .*: SyntaxError: .* \({path}:2\)"):
        resolve("loss", f"{name}:Mine")


def test_a_module_that_ends_the_program_when_it_is_imported_is_told(module):
    """As a training script does that reads its own arguments without `if __name__ == "__main__"`."""
    name, path = module("import argparse\nargparse.ArgumentParser().parse_args(['--gone'])\n")
    with pytest.raises(OptionError, match=rf"cannot import '{name}' .*: SystemExit: 2 \({path}:2\)"):
        resolve("loss", f"{name}:Mine")


def test_an_exception_in_the_middle_of_a_training_names_epoch_term_and_line(tiny, tmp_path, module):
    name, path = module(
        """
        calls = []
        def late(prediction, batch):
            calls.append(1)
            if len(calls) > 3:
                raise KeyError("zzz")
            return prediction["depth"].mean()
        """
    )
    found = configuration(tiny, f"loss={{mine: {{term: '{name}:late', weight: 1.0}}}}")
    with pytest.raises(TrialFailure) as error:
        train(found, tmp_path / "out", CPU)
    assert str(error.value) == f"epoch 1 failed: loss.mine: KeyError: 'zzz' ({path}:{line_of(path, 'raise KeyError')})"


def test_a_data_set_that_cannot_be_made_names_its_line(tiny, module):
    name, path = module("class Mine:\n    def __init__(self):\n        raise KeyError('zzz')\n")
    from weightsearch.data.dataset import open_dataset

    found = configuration(tiny, f"data={{name: '{name}:Mine', size: [32, 48], min_depth: 0.3, max_depth: 6.0}}")
    with pytest.raises(DataError) as error:
        open_dataset(found)
    assert str(error.value) == f"data.name: '{name}:Mine' cannot be made: KeyError: 'zzz' ({path}:3)"


@pytest.mark.parametrize(
    ("head", "missing"), [("one(prediction)", "prediction"), ("three(predicted, true, mask)", "mask")]
)
def test_a_function_with_other_arguments_than_a_term_is_named_with_its_line(tiny, module, head, missing):
    name, path = module(f"def {head}:\n    return 0")
    with pytest.raises(ConfigError) as error:
        configuration(tiny, f"loss={{mine: {{term: '{name}:{head.partition('(')[0]}', weight: 1.0}}}}")
    said = str(error.value)
    assert said.startswith(
        f"loss.mine.{missing}: is missing; a function is a loss term if it takes (prediction, batch)"
    )
    assert f"found {head} ({path}:1)" in said


class TestDataSet:
    @staticmethod
    def written(module, method, body):
        """A data set of computed rooms with a method of its own; its name and its path."""
        return module(
            f"""
            from weightsearch.data.sources.procedural import Procedural
            class Mine(Procedural):
                def __init__(self, size: tuple[int, int]):
                    super().__init__(size=size)
                def {method}(self):
                    {body}
            """
        )

    @staticmethod
    def refusal(tiny, name, opened):
        data = f"data={{name: '{name}', size: [32, 48], min_depth: 0.3, max_depth: 6.0}}"
        with pytest.raises(DataError) as error:
            opened(configuration(tiny, data))
        return str(error.value).removeprefix("data: ")

    @pytest.mark.parametrize("opened", [outline, open_dataset, check_data])
    def test_an_object_without_the_methods_is_refused_with_its_line(self, tiny, module, opened):
        name, path = module(
            "class Torch:\n    def __len__(self): return 3\n    def __getitem__(self, index): return index"
        )
        said = self.refusal(tiny, f"{name}:Torch", opened)
        assert "it has no videos and no files and no read; a class with videos(), files() and read(video" in said
        assert f"({path}:1)" in said

    @pytest.mark.parametrize(
        ("opened", "method", "body"),
        [
            *((opened, "videos", "raise KeyError('x')") for opened in (outline, open_dataset, check_data)),
            *((opened, "files", "return 1 / 0") for opened in (open_dataset, check_data)),
        ],
    )
    def test_a_fault_in_a_method_is_named_with_its_line(self, tiny, module, opened, method, body):
        name, path = self.written(module, method, body)
        said = self.refusal(tiny, f"{name}:Mine", opened)
        assert said.startswith(f"data.name: '{name}:Mine': {method}()")
        assert f"{path}:{line_of(path, body)})" in said

    @pytest.mark.parametrize("opened", [outline, open_dataset, check_data])
    def test_other_things_than_videos_are_named(self, tiny, module, opened):
        name, path = self.written(module, "videos", "return [3]")
        said = self.refusal(tiny, f"{name}:Mine", opened)
        expected = "videos() gives int, expected Video of weightsearch/data/source.py"
        assert said == f"data.name: '{name}:Mine': {expected} ({path}:3)"

    @pytest.mark.parametrize("opened", [open_dataset, check_data])
    def test_files_that_are_no_paths_are_named(self, tiny, module, opened):
        name, path = self.written(module, "files", "return ['a.png']")
        said = self.refusal(tiny, f"{name}:Mine", opened)
        assert said == f"data.name: '{name}:Mine': files() gives str, expected pathlib.Path ({path}:3)"

    @pytest.mark.parametrize("opened", [outline, open_dataset, check_data])
    def test_a_fault_in_getattr_is_named_with_its_line(self, tiny, module, opened):
        name, path = module("class Outer:\n    def __getattr__(self, name):\n        return {}[name]")
        said = self.refusal(tiny, f"{name}:Outer", opened)
        assert said == f"data.name: '{name}:Outer': KeyError: 'videos' ({path}:3)"
