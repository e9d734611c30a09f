"""The sections of a study file as typed, frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from weightsearch.config.fields import (
    Count,
    Named,
    NonNegative,
    PluginSection,
    Positive,
    Probability,
    Reach,
    Section,
    Size,
    TermName,
    as_tuple,
)
from weightsearch.config.names import FOLDER, STUDY_NAME, cluster_address
from weightsearch.records import Direction

# The sections in which a range may stand.
RANGE_SECTIONS: Final = ("augmentation", "data", "model", "loss", "rebalance", "train")


class Split(Section):
    """The cut of each video, by position. train, validation, test: fractions of its frames. gap: frames left out at
    each cut, so that neighbours of a training frame are never tested on."""

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


Offset = Annotated[int, Field(ge=-100, le=100)]
Offsets = Annotated[tuple[Offset, ...], BeforeValidator(as_tuple)]


class Data(PluginSection):
    """The data set; every further key is an option of the data set. name: data set or `package.module:Class`. root:
    the folder of the files. split: how videos are cut into splits. size: height, width in pixels. min_depth,
    max_depth: metres; depth outside is not a valid pixel. neighbours: distances in frames, such as [-1, 1], of the
    frames of the same video that a network sees beside each frame; frames that lack one are left out."""

    root: str | None = None
    size: Size
    min_depth: Positive
    max_depth: Positive
    split: Split = Split()
    neighbours: Offsets = ()

    @model_validator(mode="after")
    def _beside(self) -> Data:
        if 0 in self.neighbours or len(set(self.neighbours)) < len(self.neighbours):
            raise ValueError(f"neighbours: found {list(self.neighbours)}; offsets must be non-zero and unique")
        return self

    @model_validator(mode="after")
    def _order(self) -> Data:
        if self.min_depth >= self.max_depth:
            raise ValueError(f"min_depth: {self.min_depth:g} must lie below max_depth {self.max_depth:g}")
        return self


class Model(PluginSection):
    """The network; every further key is an option of the network. name: network or `package.module:Class`."""


class Term(BaseModel):
    """A loss term; every further key is an option of the term. weight: factor of the term in the loss; 0 leaves it out.
    term: loss term or `package.module:Class`, if the key is not its name."""

    model_config = PluginSection.model_config

    weight: NonNegative
    term: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EarlyStopping(Section):
    """A training ends when a metric of the validation split no longer improves. The best epoch counts: it gives the
    trial's values, the checkpoint's network and the export. patience: epochs without improvement. metric: metric to
    watch; default in a study: its first objective. direction: whether smaller or larger values are better; only for a
    metric of your own."""

    patience: Count
    metric: str = "abs_rel"
    direction: Direction | None = None

    @property
    def better(self) -> Direction | None:
        """The better direction of the metric; None for an own metric without `direction`."""
        from weightsearch.config.metrics import direction_of

        return self.direction or direction_of(self.metric)

    def best(self, curve: Sequence[float]) -> int:
        """The best epoch, counted from 1; the first of equal ones. curve: the metric's value at each epoch."""
        sign = -1 if self.better == "maximize" else 1
        return 1 + min(range(len(curve)), key=lambda index: sign * curve[index])

    def over(self, curve: Sequence[float]) -> bool:
        """True if the metric has not improved for `patience` epochs."""
        return bool(curve) and len(curve) - self.best(curve) >= self.patience


class Train(Section):
    """The training loop. epochs: number of epochs. batch_size: images per step. optimizer: Adam, AdamW or SGD.
    weight_decay: weight decay of the optimizer. momentum: momentum of SGD. schedule: learning-rate schedule over all
    steps. early_stopping:
    when to end before the last epoch; null for never. lr: learning rate; encoder_lr: learning rate of the encoder, null
    for the same as lr. freeze_encoder: keep the encoder's parameters and batch-norm statistics fixed. clip_norm:
    largest gradient norm over all parameters, null for no clipping. amp: automatic mixed precision on a GPU (training
    on a CPU is always float32). channels_last: channels-last memory format, which is faster on CPUs and GPUs; false for
    a network that cannot use it (it calls `view` on its feature maps). start_epochs: the epoch, counted from 1, at
    which a part of the network begins to learn, by its attribute's name, such as {depth: 4}."""

    epochs: Count
    batch_size: Count = 8
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive
    encoder_lr: Positive | None = None
    freeze_encoder: bool = False
    weight_decay: NonNegative = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip_norm: Positive | None = None
    early_stopping: EarlyStopping | None = None
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    start_epochs: dict[str, Count] = Field(default_factory=dict)

    @property
    def watched(self) -> str | None:
        """The metric that decides when a training ends and which epoch counts; None without early stopping."""
        return None if self.early_stopping is None else self.early_stopping.metric

    def over(self, epochs: int, curve: Sequence[float]) -> bool:
        """True if a training ends after so many epochs. curve: the watched metric's value at each epoch."""
        return epochs >= self.epochs or (self.early_stopping is not None and self.early_stopping.over(curve))

    def epoch_that_counts(self, epochs: int, curve: Sequence[float]) -> int:
        """The epoch that gives the training's network and metrics: the last one or, with early stopping, the best.
        epochs: the number of finished epochs. curve: see `over`."""
        return epochs if self.early_stopping is None else self.early_stopping.best(curve)


class Rebalance(Section):
    """The pixels that depth and pose learn from, selected by Delta: the photometric error by depth and pose minus the
    photometric error by flow.

    method: `none`: all pixels; `negative`: Delta < 0; `minimum`: the same, and flow learns from all other pixels, so
    that each pixel counts with the smaller of its two errors; `neighbourhood`: |Delta - mode| <= eta; `one_sided`:
    Delta - mode <= eta; `oracle`: the truly static pixels, for data sets that know them. eta: threshold in units of the
    photometric error, which lies in [0, 1]. mode_estimator: estimator of the mode of the batch's Delta. flow_pixels:
    pixels that flow learns from: `all`, those that are `visible` in both images, or the `complement` of the pixels that
    depth and pose learn from (all, under `none`); not used by `minimum`. warmup_epochs: epochs in which all learn from
    all pixels."""

    method: Literal["none", "minimum", "negative", "neighbourhood", "one_sided", "oracle"] = "none"
    eta: Positive = 0.05
    mode_estimator: Literal["histogram", "half_sample", "median"] = "histogram"
    flow_pixels: Literal["all", "visible", "complement"] = "all"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0


class Augmentation(Section):
    """Random changes of training images. mirror: probability of a horizontal flip. rotation: largest angle in degrees
    about the image centre. crop: height, width in pixels of a window at a random position. brightness, contrast,
    saturation, gamma: half-width a of the range [1 - a, 1 + a] of a random factor (gamma: exponent). hue: largest
    change, as a share of the colour circle. permute_channels: probability of a random order of red, green and blue."""

    mirror: Probability = 0.0
    rotation: Annotated[float, Field(ge=0, le=45)] = 0.0
    crop: Size | None = None
    brightness: Reach = 0.0
    contrast: Reach = 0.0
    saturation: Reach = 0.0
    gamma: Reach = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    permute_channels: Probability = 0.0

    @property
    def active(self) -> bool:
        return self != Augmentation()


# Protocols of published results. NYU: the Eigen split as BTS and later work evaluate it. KITTI: the Eigen split with
# Garg's crop, each image at its own size (175 of the 697 are not 375x1242). DenseDepth: its own crop of NYU, all pixels
# pooled, predictions of at least a hundredth of the range, and an abs_rel that divides by the prediction, since its
# evaluation swaps prediction and truth.
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "nyu": {"crop": "nyu", "min_depth": 1e-3, "max_depth": 10.0, "size": [480, 640]},
        "kitti_eigen": {"crop": "garg", "min_depth": 1e-3, "max_depth": 80.0, "size": "native"},
        "densedepth": {
            "crop": "eigen_nyu",
            "min_depth": 0.1,
            "max_depth": 10.0,
            "size": [480, 640],
            "flip_average": True,
            "aggregation": "pooled",
            "rel_denominator": "prediction",
        },
    }
)


def _preset(value: object) -> object:
    """The long form of the section: `nyu` is short for `{preset: nyu}`. Keys beside a preset override its values."""
    if isinstance(value, str):
        value = {"preset": value}
    if isinstance(value, dict) and isinstance(value.get("preset"), str):
        return {**PRESETS.get(value["preset"], {}), **value}
    return value


class Evaluation(Section):
    """The protocol of metrics. preset: protocol of a published evaluation. crop: the part of the image that counts.
    min_depth, max_depth: metres (null: the data's). size: height, width in pixels at which prediction and truth are
    compared, of depth and of flow (null: the data's), or `native`: each image at the size of its own files, which may
    differ within a data set. bits: bits of the network's quantised outputs, null for no quantisation. flip_average:
    average the predictions of the image and of its mirror image. median_scaling: scale each prediction by the ratio of
    the median depths, true to predicted. metrics: your own metrics, {name: package.module:function}; the function maps
    predicted and true depth of one image's valid pixels (metres, float64, [N]) to a number. aggregation: mean over
    images of each image's value, or over all pixels together. rel_denominator: divisor of abs_rel and sq_rel."""

    preset: Literal["nyu", "kitti_eigen", "densedepth"] | None = None
    crop: Literal["none", "eigen", "garg", "kb", "nyu", "eigen_nyu"] = "none"
    min_depth: Positive | None = None
    max_depth: Positive | None = None
    size: Size | Literal["native"] | None = None
    bits: Annotated[int, Field(ge=2, le=16)] | None = None
    flip_average: bool = False
    median_scaling: bool = False
    aggregation: Literal["per_image", "pooled"] = "per_image"
    rel_denominator: Literal["truth", "prediction"] = "truth"
    metrics: dict[TermName, str] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _short(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The values that differ from the preset, or from the defaults, so that a stored section can get another
        preset."""
        usual = {name: field.get_default(call_default_factory=True) for name, field in type(self).model_fields.items()}
        preset = {**usual, **PRESETS.get(self.preset or "", {}), "preset": None}
        return {name: value for name, value in whole(self).items() if as_tuple(value) != as_tuple(preset[name])}


class Search(Section):
    """The search. objectives: metric -> minimize or maximize. sampler: proposes the values of trials. pruner: stops
    trials early. trials: number of trials, baselines included. baselines: name -> values of all searched parameters;
    they are trained first. max_consecutive_failures: number of failed trials in a row that stops the search; null for
    never."""

    objectives: dict[str, Direction]
    sampler: Named = PluginSection(name="tpe")
    pruner: Named = PluginSection(name="none")
    trials: Count
    max_consecutive_failures: Count | None = 5
    baselines: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Analysis(Section):
    """Measurements during the training, which they do not change. budget: share of the training time for probes of the
    terms' gradients, 0 for none. pictures: number of validation frames whose depth is stored as images. check_units:
    warn if depth seems to be in another unit than it is read in; false if the unit is right."""

    budget: Probability = 0.02
    pictures: Annotated[int, Field(ge=0, le=16)] = 4
    check_units: bool = True


class Resources(Section):
    """The resources of one trial. cpus_per_trial: CPU cores, and threads, on which float sums depend.
    max_concurrent: trials at the same time; null for as many as there is room for. max_failures: failures of a
    trial's worker before the trial fails. run_dir: folder of checkpoints and logs. gpus_per_trial: a share of a GPU;
    auto is 1 where there are GPUs and 0 where there are none."""

    cpus_per_trial: Count = 1
    gpus_per_trial: NonNegative | Literal["auto"] = "auto"
    max_concurrent: Count | None = None
    max_failures: Annotated[int, Field(ge=0)] = 2
    run_dir: Annotated[str, Field(pattern=FOLDER)] = "runs"

    @model_validator(mode="after")
    def _shares(self) -> Resources:
        gpus = self.gpus_per_trial
        if gpus != "auto" and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus_per_trial: {gpus:g}, above 1 only whole GPUs can be given")
        return self


class Ray(Section):
    """address: of a running cluster that has this host as a node (`auto`, `host:port`); null starts Ray here."""

    address: Annotated[str, AfterValidator(cluster_address)] | None = None


class Configuration(Section):
    """Everything a training depends on: a study file without ranges. name: name of the study. seed: of weights,
    order and augmentation. data: the data set. model: the network. loss: loss terms by name. train: the training
    loop. rebalance: which pixels depth and pose learn from; null for all. augmentation: random changes of training
    images. evaluation: the protocol of metrics, or a preset's name. analysis: measurements beside the training.
    resources: CPUs, GPUs and retries of a trial."""

    name: Annotated[str, Field(pattern=STUDY_NAME)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: Data
    model: Model
    loss: Annotated[dict[TermName, Term], Field(min_length=1)]
    train: Train
    rebalance: Rebalance | None = None
    augmentation: Augmentation = Augmentation()
    evaluation: Annotated[Evaluation, BeforeValidator(_preset)] = Evaluation()
    analysis: Analysis = Analysis()
    resources: Resources = Resources()

    @property
    def context(self) -> dict[str, Any]:
        """Values of the data section that a plug-in gets if its constructor has a parameter of that name."""
        data = self.data
        context: dict[str, Any] = {"size": data.size, "min_depth": data.min_depth, "max_depth": data.max_depth}
        if data.neighbours:
            context["neighbours"] = data.neighbours
        return context | ({} if data.root is None else {"root": Path(data.root)})

    @property
    def loss_context(self) -> dict[str, Any]:
        """The context of loss terms. Options of the model, such as the largest depth of a head, override the values of
        the data section, so that network and loss agree."""
        own = {key: value for key, value in self.model.options.items() if key in self.context}
        return self.context | own

    @property
    def depth_range(self) -> tuple[float, float]:
        """The depth range of the evaluation, metres: truth outside is not evaluated, predictions are clamped to it."""
        data, evaluation = self.data, self.evaluation
        return evaluation.min_depth or data.min_depth, evaluation.max_depth or data.max_depth

    @property
    def measured_on(self) -> dict[str, Any]:
        """The settings, apart from the network, that an objective's value depends on: equal for all trials of a
        study."""
        data = self.data.model_dump(exclude={"size", "min_depth", "max_depth"})
        size = self.evaluation.size or self.data.size
        evaluation = self.evaluation.model_dump()
        return {"data": data, "depth_range": self.depth_range, "size": size, "evaluation": evaluation}

    @model_validator(mode="after")
    def _evaluated(self) -> Configuration:
        low, high = self.depth_range
        if low >= high:
            raise ValueError(f"evaluation.min_depth: {low:g} must lie below max_depth {high:g}")
        return self

    @model_validator(mode="after")
    def _learns(self) -> Configuration:
        if self.train.freeze_encoder and self.train.encoder_lr is not None:
            raise ValueError("train.encoder_lr: a frozen encoder has no learning rate")
        late = {part: epoch for part, epoch in self.train.start_epochs.items() if epoch > self.train.epochs}
        for part, epoch in late.items():
            raise ValueError(f"train.start_epochs.{part}: would begin at epoch {epoch} of {self.train.epochs}")
        return self

    @model_validator(mode="after")
    def _rebalances(self) -> Configuration:
        if self.rebalance is None:
            return self
        if not self.data.neighbours:
            raise ValueError("rebalance: needs data.neighbours, such as [-1, 1]: it compares errors between frames")
        warmup, epochs = self.rebalance.warmup_epochs, self.train.epochs
        if self.rebalance.method != "none" and warmup >= epochs:
            raise ValueError(f"rebalance.warmup_epochs: {warmup} leaves none of {epochs} epochs to rebalance in")
        return self

    @model_validator(mode="after")
    def _cropped(self) -> Configuration:
        crop, size = self.augmentation.crop, self.data.size
        if crop is not None and (crop[0] > size[0] or crop[1] > size[1]):
            raise ValueError(f"augmentation.crop: {list(crop)} is larger than data.size {list(size)}")
        return self


CONFIGURATION_KEYS: Final = tuple(Configuration.model_fields)
STUDY_KEYS: Final = ("storage", "search", "ray")
KNOWN_KEYS: Final = (*CONFIGURATION_KEYS, *STUDY_KEYS, "provenance")
