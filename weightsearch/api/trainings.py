"""Training and evaluating one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from weightsearch.api.sources import Overrides, configuration_of, find_plug_ins, override_words
from weightsearch.config import Configuration, load_base
from weightsearch.config.extends import Source
from weightsearch.errors import WeightsearchError

if TYPE_CHECKING:
    from weightsearch.console import View
    from weightsearch.records import EpochRecord

Split = Literal["train", "validation", "test"]
SHOWN: Final = ("abs_rel", "rmse", "ate", "epe", "epe_noc")  # metrics in an epoch's line


def train(
    config: Source | Configuration,
    folder: str | Path | None = None,
    overrides: Overrides | None = None,
    *,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Train one configuration, as `weightsearch train` does; resume from the folder's checkpoint if it has one.

    config: a path, the file's content as a mapping, or a Configuration. folder: for the checkpoint, the resolved
    configuration and the metrics. Default: runs/NAME/train. device: auto, cpu, cuda or cuda:N. quiet: print warnings
    and errors only. Returns the content of `metrics.json`: metrics, protocol, terms, history, environment. Needs
    neither Ray nor Optuna. Raises WeightsearchError."""
    from weightsearch.console import View

    configuration = configuration_of(config, overrides)
    target = default_folder(configuration) if folder is None else Path(folder)
    return run_training(configuration, target, device, View(quiet=quiet))


def default_folder(configuration: Configuration) -> Path:
    """The default folder for the training of a configuration."""
    return Path(configuration.resources.run_dir) / configuration.name / "train"


def run_training(configuration: Configuration, folder: Path, device: str, view: View) -> dict[str, Any]:
    """Train one configuration, with a line for each epoch. Returns the content of `metrics.json`."""
    from weightsearch.console import err, warn
    from weightsearch.runtime.device import choose_device
    from weightsearch.search.cpus import CpuNote
    from weightsearch.training.run import train as train_configuration

    chosen = choose_device(configuration, device)
    cpu = CpuNote(folder, chosen, warn)
    epochs = configuration.train.epochs

    def on_resume(epoch: int) -> None:
        view.line(f"resuming after epoch {epoch}, from the checkpoint in {folder}")
        if epoch < epochs:
            cpu.resumed()

    def on_epoch(record: EpochRecord) -> None:
        cpu.trained()
        metrics = "  ".join(f"{name} {record.metrics[name]:.4f}" for name in SHOWN if name in record.metrics)
        shares = " ".join(f"{name} {term.contribution:.1%}" for name, term in record.terms.items())
        view.line(
            f"epoch {record.epoch}/{epochs}  loss {record.train_loss:.4f}  {metrics}  "
            f"contributions {shares}  {record.seconds:.1f} s"
        )
        for warning in record.warnings:
            err.print(f"epoch {record.epoch}: {warning}", markup=False)

    with view.progress("reading frames") as progress:
        return train_configuration(
            configuration,
            folder,
            chosen,
            progress=progress,
            on_epoch=on_epoch,
            on_resume=on_resume,
            on_warning=warn,
        )


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation. metrics: by name; units and directions are in weightsearch.metrics.METRICS.
    protocol: crop, depth range, size, scaling and aggregation of the metrics."""

    metrics: dict[str, float]
    protocol: dict[str, Any]


def evaluate(
    config: Source | Configuration,
    *,
    checkpoint: str | Path | None = None,
    predictions: str | Path | None = None,
    split: Split = "validation",
    overrides: Overrides | None = None,
    device: str = "auto",
    inverse: bool = False,
    scale: float | None = None,
) -> Evaluation:
    """The metrics of a checkpoint, or of depth maps from another program, on a split.

    checkpoint: of weightsearch, or a state dict of another program. predictions: a .npy file [N, h, w], or a folder of
    .npy or .png files, in the order of the split. inverse: predictions are 1/depth. scale: units per metre of the
    predictions. Default: floats are metres, integers are in data.depth_scale. Raises WeightsearchError.
    """
    if (checkpoint is None) == (predictions is None):
        raise WeightsearchError("give checkpoint or predictions")
    if checkpoint is not None:
        from weightsearch.evaluation.evaluate import evaluate_checkpoint

        configuration = configuration_of(config, overrides)
        metrics, protocol = evaluate_checkpoint(configuration, Path(checkpoint), split, device)
    else:
        from weightsearch.evaluation.predictions import Meaning, evaluate_predictions

        if isinstance(config, Configuration):
            base = config
        else:
            find_plug_ins(config)
            base = load_base(config, override_words(overrides))
        metrics, protocol = evaluate_predictions(base, Path(str(predictions)), split, Meaning(inverse, scale, None))
    return Evaluation(metrics, protocol.to_plain())
