"""The sections of a study file as typed, frozen records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
TermName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]
Direction = Literal["minimize", "maximize"]


def _named(value: object) -> object:
    """`tpe` is short for `{name: tpe}`; an unquoted `none` is a name and YAML's null means it too."""
    if value is None:
        return {"name": "none"}
    return {"name": value} if isinstance(value, str) else value


class Section(BaseModel):
    """A section with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class PluginSection(BaseModel):
    """A section that names a plug-in and holds its options beside the keys that every plug-in of the kind has."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys that the section itself does not know: they go to the plug-in's constructor."""
        return dict(self.model_extra or {})


class Split(Section):
    """How a video is cut, by position, into train, validation and test: fractions of its frames, and the frames left
    out at each cut so that neighbours of a training frame are never tested on."""

    train: Positive = 0.7
    validation: Positive = 0.15
    test: NonNegative = 0.15
    gap: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _sum(self) -> Split:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"train, validation and test add up to {total:g}; at most 1 is allowed")
        return self


class Data(PluginSection):
    """size: height, width in pixels. min_depth, max_depth: metres; depth outside is not a valid pixel."""

    root: str | None = None
    size: tuple[Annotated[int, Field(ge=16, le=4096)], Annotated[int, Field(ge=16, le=4096)]]
    min_depth: Positive
    max_depth: Positive
    split: Split = Split()

    @model_validator(mode="after")
    def _order(self) -> Data:
        if self.min_depth >= self.max_depth:
            raise ValueError(f"min_depth {self.min_depth:g} must lie below max_depth {self.max_depth:g}")
        return self


class Model(PluginSection):
    """The network; every further key is an option of the plug-in."""


class Term(BaseModel):
    """A loss term. `term` names the plug-in where it is not the key itself."""

    model_config = PluginSection.model_config

    weight: NonNegative
    term: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Train(Section):
    """The training loop. lr: learning rate. clip_norm: largest gradient norm over all parameters, null for no clipping.
    amp: automatic mixed precision on a GPU (on a CPU training is always float32)."""

    epochs: Count
    batch_size: Count = 8
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive
    weight_decay: NonNegative = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip_norm: Positive | None = None
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"


class Evaluation(Section):
    """What a metric means. crop: the part of the image that counts. max_depth: cap in metres (null: the data's).
    aggregation: mean over images of each image's value, or over all pixels together. rel_denominator: what abs_rel and
    sq_rel divide by."""

    crop: Literal["none", "eigen", "garg", "kb", "nyu"] = "none"
    min_depth: Positive | None = None
    max_depth: Positive | None = None
    flip_average: bool = False
    median_scaling: bool = False
    aggregation: Literal["per_image", "pooled"] = "per_image"
    rel_denominator: Literal["truth", "prediction"] = "truth"


Named = Annotated[PluginSection, BeforeValidator(_named)]


class Search(Section):
    """What is optimised and how. trials counts every trial of the study, the baselines among them.
    max_consecutive_failures: so many failed trials in a row stop the search; null for never."""

    objectives: dict[str, Direction]
    sampler: Named = PluginSection(name="tpe")
    pruner: Named = PluginSection(name="none")
    trials: Count
    max_consecutive_failures: Count | None = 5
    baselines: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Resources(Section):
    """What one trial takes. cpus_per_trial is also its number of threads, on which float sums depend.
    gpus_per_trial: a share of a GPU; auto is 1 where there are GPUs and 0 where there are none."""

    cpus_per_trial: Count = 1
    gpus_per_trial: NonNegative | Literal["auto"] = "auto"
    max_concurrent: Count | None = None
    max_failures: Annotated[int, Field(ge=0)] = 2
    run_dir: Annotated[str, Field(pattern=r"^[^\x00]+$")] = "runs"

    @model_validator(mode="after")
    def _shares(self) -> Resources:
        gpus = self.gpus_per_trial
        if gpus != "auto" and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus_per_trial {gpus:g}: above 1 only whole GPUs can be given")
        return self


class Ray(Section):
    """address: of a running cluster (`auto`, `host:port`, `ray://host:port`); null starts Ray on this machine."""

    address: str | None = None


class Configuration(Section):
    """Everything a training depends on: a study file without ranges."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: Data
    model: Model
    loss: Annotated[dict[TermName, Term], Field(min_length=1)]
    train: Train
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()

    @property
    def context(self) -> dict[str, Any]:
        """Values of the data section that a plug-in gets if its constructor has a parameter of that name."""
        data = self.data
        context = {"size": data.size, "min_depth": data.min_depth, "max_depth": data.max_depth}
        return context | ({} if data.root is None else {"root": Path(data.root)})

    @property
    def loss_context(self) -> dict[str, Any]:
        """The context of loss terms: where the model's own options set a value, such as the largest depth that a head
        can say, its loss means the same one."""
        own = {key: value for key, value in self.model.options.items() if key in self.context}
        return self.context | own

    @property
    def depth_range(self) -> tuple[float, float]:
        """Metres: truth outside is not evaluated, predictions are clamped to it."""
        data, evaluation = self.data, self.evaluation
        return evaluation.min_depth or data.min_depth, evaluation.max_depth or data.max_depth

    @property
    def measured_on(self) -> dict[str, Any]:
        """What an objective's value depends on besides the network: equal for all trials of a study."""
        data = self.data.model_dump(exclude={"size", "min_depth", "max_depth"})
        return {"data": data, "depth_range": self.depth_range, "evaluation": self.evaluation.model_dump()}

    @model_validator(mode="after")
    def _evaluated(self) -> Configuration:
        low, high = self.depth_range
        if low >= high:
            raise ValueError(f"evaluation: min_depth {low:g} must lie below max_depth {high:g}")
        return self


CONFIGURATION_KEYS: Final = tuple(Configuration.model_fields)
STUDY_KEYS: Final = ("storage", "search", "ray")
KNOWN_KEYS: Final = (*CONFIGURATION_KEYS, *STUDY_KEYS, "provenance")
