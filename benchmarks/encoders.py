"""The contract of encoders, for the smallest encoder of every family of timm that gives features.

    python -m benchmarks.encoders [--only WORD] [--rows FILE] [--output benchmarks/results/encoders.md]

At [96, 128] a dual-head network on the encoder is trained for one step as the trainer does it (channels-last), and the
whole model's weights are saved to a file and read back into the encoder. At [50, 70], which few strides divide, the
network either gives outputs of that size or is refused by name. One encoder after another; with --rows, what has been
measured is kept in a file and not measured again.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from weightsearch.errors import ModelError
from weightsearch.models.dual_head import DualHead
from weightsearch.models.parts.encoder import Encoder
from weightsearch.models.parts.encoder_size import create
from weightsearch.runtime.layout import channels_last

SIZE, ODD = (96, 128), (50, 70)


@dataclass
class Row:
    family: str
    encoder: str
    parameters: float
    layout: str = ""
    strides: str = ""
    made_with: str = ""
    trained: str = "no"
    file: str = "no"
    odd: str = "no"
    remarks: list[str] = field(default_factory=list)

    def line(self) -> str:
        cells = [
            self.family,
            f"`{self.encoder}`",
            f"{self.parameters / 1e6:.1f}",
            self.layout,
            self.strides,
            self.made_with,
            self.trained,
            self.file,
            self.odd,
            "; ".join(self.remarks),
        ]
        return f"| {' | '.join(cells)} |"


def families(known: Collection[str], word: str) -> Iterator[tuple[str, str, int]]:
    """Every module of timm that is not known and whose name has the word, its smallest model that gives features, and
    the number of its parameters."""
    modules = sorted({timm.models.model_entrypoint(name).__module__ for name in timm.list_models()})
    for module in modules:
        family = module.rpartition(".")[2]
        if family in known or word not in family:
            continue
        sizes = {}
        for name in timm.list_models(module=family):
            try:
                with torch.device("meta"):
                    sizes[name] = sum(one.numel() for one in create(name).parameters())
            except Exception as error:  # whatever the family raises
                sizes.setdefault(f"?{type(error).__name__}", 10**12)
        name = min(sizes, key=lambda key: sizes[key])
        if not name.startswith("?"):
            yield family, name, sizes[name]


def train(row: Row, size: tuple[int, int]) -> str:
    """`yes`, or the refusal."""
    torch.manual_seed(0)
    try:
        network = DualHead(encoder=row.encoder, channels=4, max_depth=10.0, size=size)
        network = channels_last(network, torch.device("cpu")).train()
        image = torch.rand(2, 3, *size).to(memory_format=torch.channels_last)
        outputs = network(image)
        depth = outputs["depth"]
        assert depth.shape == (2, 1, *size), f"depth is {list(depth.shape)}"
        assert torch.isfinite(depth).all(), "depth is not finite"
        depth.mean().backward()
    except ModelError as error:
        return str(error)
    gradients = [one.grad for one in network.parameters()]
    assert all(torch.isfinite(one).all() for one in gradients if one is not None), "a gradient is not finite"
    if without := sum(one is None for one in gradients):
        row.remarks.append(f"{without} of {len(gradients)} parameters get no gradient")
    encoder = network.encoder
    row.layout = "NHWC" if encoder.nhwc else "NCHW"
    row.strides = ", ".join(map(str, encoder.reductions))
    row.made_with = ", ".join(encoder.options) or "-"
    return "yes"


def read_back(row: Row, folder: Path) -> str:
    """`yes` if a file of the whole model determines the features alone, whatever the encoder was initialised with."""
    path = folder / "weights.safetensors"
    torch.manual_seed(1)
    state = timm.create_model(row.encoder).state_dict()
    save_file({name: one.clone().contiguous() for name, one in state.items()}, path)
    image = torch.rand(1, 3, *SIZE)
    found = []
    for seed in (2, 3):
        torch.manual_seed(seed)
        try:
            encoder = Encoder(row.encoder, str(path), SIZE).eval()
        except ModelError as error:
            return str(error).replace(str(path), "FILE")
        with torch.no_grad():
            found.append(encoder(image))
    path.unlink()
    same = all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    return "yes" if same else "the features depend on the seed"


def measure(family: str, name: str, parameters: int, folder: Path) -> Row:
    row = Row(family, name, parameters)
    for what, check in (
        ("trained", lambda: train(row, SIZE)),
        ("file", lambda: read_back(row, folder)),
        ("odd", lambda: train(Row(family, name, parameters), ODD)),
    ):
        if what == "file" and row.trained != "yes":
            continue
        try:
            setattr(row, what, check())
        except Exception as error:  # a fault of the encoder's, or of ours, that belongs into the table
            setattr(row, what, f"**{type(error).__name__}: {' '.join(str(error).split())[:120]}**")
        gc.collect()
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="families whose name has this word")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    if arguments.rows and arguments.rows.exists():
        rows = [Row(**json.loads(line)) for line in arguments.rows.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        for family, name, parameters in families({row.family for row in rows}, arguments.only):
            rows.append(measure(family, name, parameters, Path(folder)))
            print(rows[-1].line(), flush=True)
            if arguments.rows:
                with arguments.rows.open("a") as file:
                    file.write(f"{json.dumps(asdict(rows[-1]))}\n")
    rows.sort(key=lambda row: row.family)
    whole = [row for row in rows if row.trained == "yes"]
    text = "\n".join(
        [
            "# Encoders",
            "",
            f"`python -m benchmarks.encoders`, {time.strftime('%Y-%m-%d')}, {platform.machine()} CPU, timm {timm.__version__}, "
            f"torch {torch.__version__}. The smallest encoder of each of timm's {len(rows)} families that give features:",
            f"{len(whole)} train at {list(SIZE)}, {sum(row.file == 'yes' for row in rows)} take a file of the whole model's weights, "
            f"{sum(row.odd == 'yes' for row in rows)} train at {list(ODD)}; the others are refused with the message given.",
            "",
            f"| family | encoder | parameters, millions | layout | strides | made with | trains at {list(SIZE)} | whole model's file "
            f"| trains at {list(ODD)} | remarks |",
            "|" + "---|" * 10,
            *(row.line() for row in rows),
            "",
        ]
    )
    if arguments.output:
        arguments.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
