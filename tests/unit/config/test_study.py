from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY
from weightsearch.config import Choices, FloatRange, IntRange, load_base, load_configuration, load_identity, load_study
from weightsearch.config.paths import fill
from weightsearch.errors import ConfigError
from weightsearch.metrics.registry import METRICS
from weightsearch.plugins import PACKAGES, names, resolve


def test_the_shipped_study_is_what_it_says():
    config = load_study(ROOT / "studies" / "dualhead.yaml")
    assert config.space == {
        "loss.fractional.weight": FloatRange(0.1, 100.0, log=True),
        "loss.consistency.weight": FloatRange(0.01, 10.0, log=True),
    }
    assert config.search.baselines["published"] == {"loss.fractional.weight": 10, "loss.consistency.weight": 0.5}
    assert config.search.trials >= 12


def test_a_configuration_is_the_study_with_its_ranges_replaced(tiny):
    config = load_study(tiny)
    found = config.configuration({"loss.fractional.weight": 7.5, "loss.consistency.weight": 0.25})
    assert found.loss["fractional"].weight == 7.5
    assert found.loss["consistency"].weight == 0.25
    assert found.loss["integer"].weight == 1.0


def test_the_type_of_a_range_follows_its_field(tiny):
    config = load_study(
        tiny,
        [
            "loss.fractional.weight={low: 1, high: 100, log: true}",
            "train.batch_size={low: 2, high: 8, step: 2}",
            "model.channels={low: 2, high: 8, log: true}",
            "model.decode={choices: [linear, rounded]}",
            "search.baselines={}",
        ],
    )
    assert config.space["loss.fractional.weight"] == FloatRange(1.0, 100.0, log=True)
    assert isinstance(config.space["loss.fractional.weight"].low, float)
    assert config.space["train.batch_size"] == IntRange(2, 8, step=2)
    assert config.space["model.channels"] == IntRange(2, 8, log=True)
    assert config.space["model.decode"] == Choices(("linear", "rounded"))


def test_choices_may_be_lists(tiny):
    sizes = "data.size={choices: [[32, 48], [48, 64]]}"
    config = load_study(tiny, [sizes, "evaluation.size=[32, 48]", "search.baselines={}"])
    assert config.space["data.size"].labels() == ("[32, 48]", "[48, 64]")


# (what is set, where the mistake lies, words of its message)
MISTAKES = [
    (
        "data.size={choices: [[32, 48], [64, 96]]}",
        "data.size",
        "measured on (size), so that trials could not be compared; set evaluation.size",
    ),
    ("nam=x", "nam", "unknown key; did you mean 'name'?"),
    ("fractional.weight=3", "fractional", "unknown key; did you mean loss.fractional? (--set fractional.weight=3)"),
    ("lr=3", "lr", "unknown key; did you mean train.lr? (--set lr=3)"),
    ("trials=3", "trials", "unknown key; did you mean search.trials?"),
    ("address=auto", "address", "unknown key; did you mean ray.address?"),
    ("median_scaling=true", "median_scaling", "unknown key; did you mean evaluation.median_scaling?"),
    ("train.epoch=3", "train.epoch", "unknown key; did you mean 'epochs'? known: epochs, batch_size"),
    ("data.split.trian=3", "data.split.trian", "did you mean 'train'?"),
    ("data.sceenes=3", "data.sceenes", "did you mean 'scenes'?"),
    ("model.encodr=x", "model.encodr", "did you mean 'encoder'?"),
    ("loss.integer.wieght=x", "loss.integer.wieght", "unknown key"),
    ("search.triels=3", "search.triels", "did you mean 'trials'?"),
    ("search.pruner.factr=3", "search.pruner.factr", "did you mean 'factor'?"),
    ("ray.adress=x", "ray.adress", "did you mean 'address'?"),
    ("train.epochs=two", "train.epochs", "expected integer, found 'two'"),
    ("train.epochs=2.5", "train.epochs", "found 2.5"),
    ("train.epochs=true", "train.epochs", "expected integer, found true"),
    ("train.epochs=0", "train.epochs", "greater than or equal to 1, found 0"),
    ("train.lr=.nan", "train.lr", "finite number"),
    ("train.optimizer=adamm", "train.optimizer", "'adam', 'adamw' or 'sgd', found 'adamm'"),
    ("train=3", "train", "expected mapping, found 3"),
    ("data=null", "data", "found nothing"),
    ("loss={}", "loss", "found an empty mapping"),
    ("data.size=[32]", "data.size.1", "is missing"),
    ("data.size=[32, 48, 3]", "data.size", "at most 2 items"),
    ("data.max_depth=0.2", "data.min_depth", "0.3 must lie below max_depth 0.2"),
    ("data.split.test=0.9", "data.split", "add up to 1.75"),
    ("data.name=procedurall", "data.name", "unknown data 'procedurall'; did you mean 'procedural'?"),
    ("data={name: seven_scenes, size: [32, 48], min_depth: 1, max_depth: 2}", "data.root", "is missing"),
    (
        "data={name: seven_scenes, root: ., scenes: 3, size: [32, 48], min_depth: 1, max_depth: 2}",
        "data.scenes",
        "unknown key",
    ),
    ("data.root=nowhere", "data.root", "no such folder"),
    ("model.encoder=tf_efficientnet_lite9", "model.encoder", "timm has no model 'tf_efficientnet_lite9'; near:"),
    ("model.weights=gone.safetensors", "model.weights", "no such file"),
    ("model.weights=gone.txt", "model.weights", "expected none, pretrained, or a .safetensors"),
    ("loss.integr={weight: 1}", "loss.integr", "unknown loss 'integr'; did you mean 'integer'?"),
    ("loss.mine={weight: 1, term: 'no_such_module:Term'}", "loss.mine", "cannot import 'no_such_module'"),
    ("loss.mine={weight: 1, term: 'math:nothing'}", "loss.mine", "no class or function 'nothing'"),
    ("loss.integer.weight=-1", "loss.integer.weight", "greater than or equal to 0, found -1"),
    ("loss.integer.weight={low: 3, high: 1}", "loss.integer.weight", "low 3 is above high 1"),
    ("loss.integer.weight={low: 1, high: 1}", "loss.integer.weight", "low and high are both 1"),
    ("loss.integer.weight={low: 0, high: 1, log: true}", "loss.integer.weight", "must lie above 0, found low 0"),
    ("loss.integer.weight={low: -1, high: 1}", "loss.integer.weight", "found -1"),
    ("loss.integer.weight={low: 1}", "loss.integer.weight", "the range has no 'high'"),
    ("loss.integer.weight={low: 1, high: 2, lg: true}", "loss.integer.weight.lg", "did you mean 'log'?"),
    ("loss.integer.weight={low: a, high: 2}", "loss.integer.weight.low", "expected a finite number, found 'a'"),
    ("loss.integer.weight={low: 1, high: .inf}", "loss.integer.weight.high", "expected a finite number"),
    ("loss.integer.weight={low: 1, high: 2, step: 5}", "loss.integer.weight.step", "wider than the range"),
    ("loss.integer.weight={low: 1, high: 2, step: 0.5, log: true}", "loss.integer.weight", "takes no step"),
    ("data={'.': {'': {choices: [1, 2]}}}", "data..", "the key '.' cannot hold a range: it is empty or has a dot"),
    ("model={'': {low: 1, high: 2}}", "model.", "the key '' cannot hold a range: it is empty or has a dot"),
    ("loss.integer.weight={choices: [1]}", "loss.integer.weight", "two values or more"),
    ("loss.integer.weight={choices: [1, 1.0]}", "loss.integer.weight", "written twice"),
    ("loss.integer.weight={choices: [1, x]}", "loss.integer.weight", "found 'x'"),
    ("train.batch_size={low: 1.5, high: 8}", "train.batch_size", "found 1.5"),
    (
        "search.trials={low: 1, high: 3}",
        "search.trials",
        "a range may only stand in augmentation, data, model",
    ),
    ("seed={choices: [0, 1]}", "seed", "a range may only stand in"),
    ("search.objectives={loss: minimize}", "search.objectives.loss", "depends on the loss weights"),
    ("search.objectives={train_loss: minimize}", "search.objectives.train_loss", "depends on the loss weights"),
    ("search.objectives={consistency: minimize}", "search.objectives.consistency", "depends on the loss weights"),
    ("search.objectives={absrel: minimize}", "search.objectives.absrel", "did you mean 'abs_rel'?"),
    ("search.objectives={a1: minimize}", "search.objectives.a1", "expected maximize, found minimize"),
    ("search.objectives={abs_rel: lower}", "search.objectives.abs_rel", "'minimize' or 'maximize', found 'lower'"),
    ("search.objectives={}", "search.objectives", "no objective"),
    ("search.objectives={abs_rel: minimize, a1: maximize}", "search.pruner", "use non_dominated or none"),
    ("search.sampler=tpee", "search.sampler", "unknown sampler 'tpee'; did you mean 'tpe'?"),
    ("search.sampler.points=3", "search.sampler.points", "unknown key"),
    ("search.trials=1", "search.trials", "1 trial cannot hold the 2 baselines"),
    (
        "search.baselines.x={loss.fractional.weight: 1}",
        "search.baselines.x",
        "gives no value for the searched loss.consistency.weight; add loss.consistency.weight: VALUE",
    ),
    (
        "search.baselines.x={loss.fractional.weight: -1, loss.consistency.weight: 1}",
        "search.baselines.x.loss.fractional.weight",
        "greater than or equal to 0",
    ),
    (
        "search.baselines.x={loss.fractional.weight: 1, loss.consistency.weight: 1, loss.nothing.weight: 1}",
        "search.baselines.x.loss.nothing",
        "unknown loss 'nothing'",
    ),
    (
        "search.baselines.x={loss.fractional.weight: {low: 1, high: 2}, loss.consistency.weight: 1}",
        "search.baselines.x.loss.fractional.weight",
        "a baseline needs a value, not a range",
    ),
    ("loss.integer.weight={low: 0, high: 1, step: 0.3}", "loss.integer.weight.step", "do not reach high 1"),
    ("loss.integer.weight={low: 0, high: 1, step: 1.0e-300}", "loss.integer.weight.step", "more than 1000000 steps"),
    (
        "data.max_depth={low: 2, high: 20}",
        "data.max_depth",
        "cannot be searched or set by a baseline: it changes what the objectives are measured on (depth range)",
    ),
    ("data.seed={choices: [0, 1]}", "data.seed", "changes what the objectives are measured on (data)"),
    (
        "search.baselines.x={loss.fractional.weight: 1, loss.consistency.weight: 1, data.max_depth: 60}",
        "search.baselines.x",
        "changes what the objectives are measured on",
    ),
    ("evaluation={min_depth: 7}", "evaluation.min_depth", "7 must lie below max_depth 6"),
    ("model={name: 'torch:zeros'}", "model", "the options of zeros cannot be read"),
    ("model={name: 'builtins:dict'}", "model", "cannot be read"),
    (
        "loss={'a.b': {weight: 1}}",
        "loss.a.b",
        "expected a name of A-Z, a-z, 0-9, '_' and '-', the first a letter or '_', found 'a.b'; write a_b",
    ),
    ('data.root="\\ud800"', "data.root", "surrogate"),
    ('storage="sqlite:///a\\0b.db"', "storage", "no such characters"),
    ("storage=mysql://host/x", "storage", "found mysql"),
    ("storage=tiny.db", "storage", "found no scheme"),
    ("resources.gpus_per_trial=1.5", "resources.gpus_per_trial", "only whole GPUs"),
    ("resources.gpus_per_trial=all", "resources.gpus_per_trial", "found 'all'"),
    ("name=../up", "name", "at most 100, the first a letter or digit, found '../up'; write up"),
    ("seed=-1", "seed", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("override", "path", "words"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES])
def test_a_mistake_is_one_located_line(tiny, override, path, words):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, [override])
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: " if path else words)
    assert words in text
    assert text.endswith(")")
    shown = override if len(override) <= 80 else override.partition("=")[0]
    assert f"--set {shown})" in text or "tiny.yaml:" in text or "--set storage=..." in text


def test_mistakes_in_several_sections_are_reported_together(tiny):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, ["train.epochs=two", "search.trials=many", "ray.address=3"])
    assert [problem.path for problem in error.value.problems] == ["train.epochs", "search.trials", "ray.address"]


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".yaml"])
def test_a_name_that_is_too_long_for_a_file_is_one_line(name):
    with pytest.raises(ConfigError, match="cannot read the study file: File name too long"):
        load_study(name)


def test_mistakes_in_a_list_of_a_mapping_have_a_place():
    with pytest.raises(ConfigError, match=r"^data\.size\.1: .* \(the given mapping\)$"):
        load_study({"extends": "dualhead", "name": "mine", "data": {"size": [32, "x"]}})


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"train": {"epochs": "x"}}, "train.epochs"), ({"lss": {}}, "lss"), ({"data": 5}, "data")],
)
def test_a_mistake_in_a_mapping_names_the_mapping_and_no_file(changes, path):
    """A mapping that extends a shipped study is not blamed on the shipped file."""
    with pytest.raises(ConfigError) as error:
        load_study({"extends": "dualhead", "name": "mine", **changes})
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith("(the given mapping)")


def test_a_mistake_in_the_file_names_its_line(tiny):
    lines = TINY.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  fractional"))
    lines[at] = "  fractional: {weight: {low: 3, high: 1, log: true}}"
    tiny.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=rf"loss.fractional.weight: low 3 is above high 1 \({tiny}:{at + 1}\)"):
        load_study(tiny)


@pytest.mark.parametrize("objective", ["abs_rel", "epe_noc"])
@pytest.mark.parametrize("size", [None, "[32, 48]", "native"])
def test_several_sizes_are_compared_at_evaluation_size(tiny, objective, size):
    """Depth, and flow, whose errors are in pixels of `evaluation.size`."""
    sets = [
        "data.size={choices: [[32, 48], [64, 96]]}",
        "search.baselines={}",
        f"search.objectives={{{objective}: minimize}}",
    ]
    if objective == "epe_noc":
        sets += ["data.neighbours=[1]", "model={name: flow}", "loss={smooth_flow: {weight: 1.0}}"]
    if size is None:
        with pytest.raises(ConfigError, match=r"measured on \(size\), so that .* compared; set evaluation\.size"):
            load_study(tiny, sets)
    else:
        found = load_study(tiny, [*sets, f"evaluation.size={size}"])
        assert {tuple(one) for one in found.space["data.size"].values} == {(32, 48), (64, 96)}


def test_a_warm_up_leaves_epochs_to_rebalance_in(tiny):
    section = ["data.neighbours=[-1, 1]", "rebalance={method: one_sided, warmup_epochs: 4}"]
    with pytest.raises(ConfigError, match=r"rebalance\.warmup_epochs: 4 leaves none of 4 epochs to rebalance in"):
        load_study(tiny, section)
    load_study(tiny, [*section, "train.epochs=5"])
    load_study(tiny, [*section, "rebalance.method=none"])


def test_what_two_sections_say_together_has_the_line_of_the_first(tiny):
    text = tiny.read_text().replace("lr: 1.0e-3", "lr: 1.0e-3, start_epochs: {decoder: 9}")
    tiny.write_text(f"{text}augmentation:\n  mirror: 0.5\n  crop: [64, 64]\n")
    lines = tiny.read_text().splitlines()
    train = next(place for place, line in enumerate(lines, 1) if "start_epochs" in line)
    with pytest.raises(ConfigError) as raised:
        load_study(tiny)
    assert str(raised.value) == f"train.start_epochs.decoder: would begin at epoch 9 of 4 ({tiny}:{train})"
    with pytest.raises(ConfigError) as raised:
        load_study(tiny, ["train.epochs=9"])
    crop = f"augmentation.crop: [64, 64] is larger than data.size [32, 48] ({tiny}:{len(lines)})"
    assert str(raised.value) == crop
    with pytest.raises(ConfigError) as raised:
        load_study(tiny, ["train.epochs=9", "augmentation.crop=[32, 48]", "data.min_depth=7"])
    assert str(raised.value) == "data.min_depth: 7 must lie below max_depth 6 (--set data.min_depth=7)"


def test_several_mistakes_are_several_lines(tiny):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, ["train.epochs=x", "train.batch=3", "seed=y"])
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("section", ["name", "data", "model", "loss", "train", "search"])
def test_a_missing_section_is_named(tiny, section):
    tree = yaml.safe_load(TINY)
    del tree[section]
    tiny.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=f"{section}"):
        load_study(tiny)


def test_a_study_without_a_range_has_nothing_to_search(tiny):
    with pytest.raises(ConfigError, match="nothing to search"):
        load_study(tiny, ["loss.fractional.weight=1", "loss.consistency.weight=1"])


class TestConfiguration:
    def test_an_open_range_is_refused_with_a_way_out(self, tiny):
        with pytest.raises(ConfigError, match=r"loss.fractional.weight: is a range; give it a value with --set"):
            load_configuration(tiny)

    def test_overrides_close_the_ranges(self, tiny):
        found = load_configuration(tiny, ["loss.fractional.weight=2", "loss.consistency.weight=3"])
        assert found.loss["fractional"].weight == 2.0

    def test_the_search_section_is_not_looked_at(self, tiny):
        sets = ["loss.fractional.weight=2", "loss.consistency.weight=3", "search=nonsense"]
        assert load_configuration(tiny, sets).name == "tiny"


class TestEnvironmentVariables:
    def test_expanded_where_allowed_and_kept_in_the_tree(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("PLACE", str(tmp_path))
        config = load_study(tiny, ["data.root=${PLACE}", "storage=sqlite:///${PLACE}/x.db"])
        assert config.base.data.root == str(tmp_path)
        assert config.tree["data"]["root"] == "${PLACE}"
        assert config.storage == f"sqlite:///{tmp_path}/x.db"

    def test_elsewhere_they_are_text(self, tiny, monkeypatch):
        monkeypatch.setenv("PLACE", "4")
        with pytest.raises(ConfigError, match=r"found '\$\{PLACE\}'"):
            load_study(tiny, ["train.epochs=${PLACE}"])

    def test_one_that_is_not_set_is_an_error(self, tiny, monkeypatch):
        monkeypatch.delenv("NOWHERE_AT_ALL", raising=False)
        with pytest.raises(ConfigError, match="data.root: the environment variable NOWHERE_AT_ALL is not set"):
            load_study(tiny, ["data.root=${NOWHERE_AT_ALL}"])


def test_relative_paths_are_made_absolute(tiny, tmp_path):
    (tmp_path / "frames").mkdir()
    config = load_study(tiny, ["data.root=frames"])
    assert config.base.data.root == str(tmp_path / "frames")
    assert config.tree["data"]["root"] == str(tmp_path / "frames")


def test_identity_needs_no_more_than_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("s.yaml")
    path.write_text("name: mine\ndata: nonsense\n")
    assert load_identity(path).storage == "sqlite:///mine.db"


def test_every_metric_has_a_unit_and_a_direction_of_its_own():
    assert len(METRICS) == 28
    assert {name for name, metric in METRICS.items() if metric.direction == "maximize"} == {"a1", "a2", "a3"}
    assert {metric.unit for metric in METRICS.values()} == {"", "m", "deg", "%", "deg/100 m", "px"}
    assert [METRICS[name].ground_truth for name in ("abs_rel", "ate", "epe_static")] == [
        {"depth"},
        {"pose"},
        {"flow", "moving"},
    ]


TWO = "search.objectives={abs_rel: minimize, a1: maximize}"


@pytest.mark.parametrize("pruner", ["none", "non_dominated", "{name: non_dominated, min_epochs: 2, factor: 4}"])
def test_several_objectives_may_be_pruned_by_what_knows_them(tiny, pruner):
    for sets in ([TWO], ["search.objectives={a1: maximize}"]):
        assert load_study(tiny, [*sets, f"search.pruner={pruner}"]).search.pruner.name in pruner


@pytest.mark.parametrize(
    "pruner", ["successive_halving", "hyperband", "median", "tests.unit.config.test_study:OneValue"]
)
def test_several_objectives_are_refused_by_what_compares_one_value(tiny, pruner):
    message = f"search.pruner: {pruner} compares one value; with several objectives use non_dominated or none"
    with pytest.raises(ConfigError, match=message):
        load_study(tiny, [TWO, f"search.pruner='{pruner}'"])


class OneValue:
    """A pruner that does not say that it compares several objectives."""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PACKAGES for name in names(kind)])
def test_every_row_of_the_plugin_tables_resolves_to_its_file(kind, name):
    found = resolve(kind, name)
    module = found.__module__.rsplit(".", 1)[-1]
    assert module in (name, f"{kind}s")


def test_fill_leaves_the_tree_alone():
    tree = {"a": {"b": [1], "c": 2}, "p": "short"}
    found = fill(tree, {"a.b": [5], "p.option": 1, "new.x": 3})
    assert found == {"a": {"b": [5], "c": 2}, "p": {"name": "short", "option": 1}, "new": {"x": 3}}
    assert tree == {"a": {"b": [1], "c": 2}, "p": "short"}


class Band:
    """A plug-in whose options have the names of a range's keys."""

    def __init__(self, *, low: float, high: float) -> None:
        self.limits = (low, high)


def test_a_plugins_options_may_be_called_low_and_high(tiny):
    config = load_study(tiny, ["loss.band={term: 'tests.unit.config.test_study:Band', weight: 1, low: 0.1, high: 2}"])
    assert "loss.band" not in config.space
    config = load_study(tiny, ["model.channels={choices: [4, 8]}", "search.baselines={}"])
    assert "model.channels" in config.space


def test_the_models_largest_depth_is_that_of_its_losses(tiny):
    """M stands once: a head that says up to 15 m has targets of floor(y) / 15, whatever depth counts as valid."""
    from weightsearch.losses.criterion import build_criterion

    sets = ["loss.fractional.weight=1", "loss.consistency.weight=1"]
    plain = build_criterion(load_configuration(tiny, sets))
    assert plain.terms[0].max_depth == 6.0
    other = build_criterion(load_configuration(tiny, [*sets, "model.max_depth=15.0"]))
    assert other.terms[0].max_depth == 15.0


def test_a_password_is_in_no_text_about_a_study(tiny, monkeypatch):
    monkeypatch.setenv("STORE", "postgresql://me:s3cret@host/x")
    config = load_study(tiny, ["storage=${STORE}"])
    assert config.storage.endswith("@host/x")
    for text in (repr(config), repr(config.yaml_source), repr(load_identity(tiny, ["storage=${STORE}"]))):
        assert "s3cret" not in text
    with pytest.raises(ConfigError) as error:
        load_study(tiny, ["storage=mysql://me:s3cret@host/x"])
    assert "s3cret" not in str(error.value)


class TestPresets:
    def test_the_short_form_can_be_changed_in_parts(self, tiny):
        found = load_base(tiny, ["evaluation=nyu", "evaluation.crop=none"]).evaluation
        assert (found.preset, found.crop, found.size, found.max_depth) == ("nyu", "none", (480, 640), 10.0)

    def test_another_preset_over_a_stored_configuration_is_that_preset(self, tiny):
        """The stored configuration names the preset and the differences from it, as does the protocol made of it."""
        stored = load_base(tiny, ["evaluation={preset: nyu, bits: 8}"]).evaluation.model_dump(mode="json")
        assert stored == {"preset": "nyu", "bits": 8}
        assert load_base(tiny).evaluation.model_dump(mode="json") == {}
        again = load_base(tiny, [f"evaluation={json.dumps(stored)}", "evaluation.preset=densedepth"]).evaluation
        assert again == load_base(tiny, ["evaluation={preset: densedepth, bits: 8}"]).evaluation
        assert (again.crop, again.aggregation) == ("eigen_nyu", "pooled")


class TestShipped:
    @pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
    def test_every_study_file_is_one(self, path, tmp_path, monkeypatch):
        for name in ("SEVEN_SCENES", "NYU", "KITTI", "FLOW_PAIRS"):
            monkeypatch.setenv(name, str(tmp_path))
        config = load_study(path)
        assert config.space
        assert config.name == path.stem
        assert config.storage == f"sqlite:///{path.stem}.db"
        usual = {"cotraining": {"none", "minimum", "negative"}, "flow": {"barely_smooth"}}
        assert set(config.search.baselines) >= usual.get(path.stem.split("_")[0], {"published"})
        for values in config.search.baselines.values():
            assert any(term.weight > 0 for term in config.configuration(values).loss.values())
