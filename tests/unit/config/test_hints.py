"""Errors about forms of other tools and habits offer the right form of a study file."""

from __future__ import annotations

import re

import pytest

from tests.conftest import TINY
from weightsearch.config import load_study
from weightsearch.errors import ConfigError

GENERAL = "a range is written {low: 0.1, high: 10, log: true}, a choice {choices: [a, b]}"
WEIGHT = "weight: {low: 0.1, high: 100, log: true}"
# (what stands for the weight of `fractional`, the last words of the message without the place)
WEIGHTS = [
    ("[0.1, 10]", "for a range write {low: 0.1, high: 10}, for these two values {choices: [0.1, 10]}"),
    ("[1, 2, 3]", "for a choice write {choices: [1, 2, 3]}"),
    ("{min: 0.1, max: 10}", "write {low: 0.1, high: 10, log: true}"),
    ("{min: 0, max: 10}", "write {low: 0, high: 10}"),
    ("{min: 0.1, max: 10, log: false}", "write {low: 0.1, high: 10}"),
    ("{min: 0.1, max: 10, log: true}", "write {low: 0.1, high: 10, log: true}"),
    ("{lower: 1, upper: 2, step: 0.5}", "write {low: 1, high: 2, step: 0.5}"),
    ("{distribution: log_uniform_values, min: 1e-4, max: 1e-1}", "write {low: 0.0001, high: 0.1, log: true}"),
    ("{distribution: log_uniform, min: -2, max: 3}", "write {low: 0.1353, high: 20.09, log: true}"),
    ("{distribution: uniform, min: 1, max: 2}", "write {low: 1, high: 2}"),
    ("{values: [1, 2]}", "write {choices: [1, 2]}"),
    ("{value: 3}", "write the value itself: 3"),
    ("{loguniform: [0.1, 10]}", "write {low: 0.1, high: 10, log: true}"),
    ("{low: 0.1, max: 10}", "write {low: 0.1, high: 10, log: true}"),
    ("{low: 0.1, high: 10, distribution: log}", "write {low: 0.1, high: 10, log: true}"),
    ("{low: 0.1, high: 10, log: yes}", "write true"),
    ("{low: 0.1, high: 10, log: off}", "write false"),
    ("{low: '0,1', high: 10}", "write 0.1: numbers have a point"),
    ("0,001", "write 0.001: numbers have a point"),
    ("1,000", "write 1.000 or 1000: numbers have a point"),
    ("'1e-4'", "write 1e-4 without quotes"),
    ("0.1..10", "write {low: 0.1, high: 10}"),
    ("0.1 to 10", "write {low: 0.1, high: 10}"),
    ("'tune.loguniform(1e-4, 1e-1)'", "write {low: 1e-4, high: 1e-1, log: true}"),
    ("'tune.choice([1, 2, 3])'", "write {choices: [1, 2, 3]}"),
    ("'tune.randint(1, 10)'", "write {low: 1, high: 9}"),
    ("'suggest_float(\"w\", 0.1, 10, log=True)'", "write {low: 0.1, high: 10, log: true}"),
    ("'trial.suggest_int(1, 8)'", "write {low: 1, high: 8}"),
    ("loguniform", GENERAL),
    ("'tune.quniform(0, 10, 2)'", "write {low: 0, high: 10, step: 2}"),
    ("'tune.qrandint(2, 10, 2)'", "write {low: 2, high: 10, step: 2}"),  # these have their upper end
    ("'trial.suggest_discrete_uniform(\"w\", 0, 1, 0.25)'", "write {low: 0, high: 1, step: 0.25}"),
    ("'tune.normal(0, 1)'", GENERAL),  # a mean and a deviation
    ("'hp.loguniform(\"w\", -9, -2)'", "write {low: 0.0001234, high: 0.1353, log: true}"),
    ("'suggest_float(\"loss-2\", 0.1, 10)'", "write {low: 0.1, high: 10}"),
    ("'suggest_float(\"w\", high=10, low=0.1)'", "write {low: 0.1, high: 10}"),
    ("10 to 0.1", "write {low: 0.1, high: 10}"),
    ("{min: 10, max: 0.1}", "write {low: 0.1, high: 10, log: true}"),
    ("{min: 2, max: 2}", "write the value itself: 2"),
    ("{min: 0, max: 10, log: true}", f"a log range must lie above 0: {GENERAL}"),
    ("{distribution: q_log_uniform, min: -2, max: 3}", "write {low: 0.1353, high: 20.09, log: true}"),
    ("{bounds: [0.1, 10], log_scale: true}", "write {low: 0.1, high: 10, log: true}"),
    ("{_type: loguniform, _value: [0.1, 10]}", "write {low: 0.1, high: 10, log: true}"),
    ("{_type: choice, _value: [1, 10]}", "write {choices: [1, 10]}"),
    ("{_type: normal, _value: [0, 1]}", GENERAL),
    ("{min_value: 0.1, max_value: 10, sampling: log}", "write {low: 0.1, high: 10, log: true}"),
    ("{min: 0.12345678, max: 10}", "write {low: 0.12345678, high: 10, log: true}"),
    ("'tune.lograndint(1, 10)'", "write {low: 1, high: 9, log: true}"),
    ("[10, 0.1]", "for a choice write {choices: [10, 0.1]}"),
    ("{min: 1, max: 2, step: 0.5, log: true}", "write {low: 1, high: 2, log: true}"),  # which takes no step
    ("[0.1]", "write the value itself: 0.1"),
    ("1_000", "write 1000"),
    ("1 000", "write 1000"),
]


def said(tmp_path, text: str) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_study(path)
    found = str(error.value)
    assert found.endswith(")")
    return found.rpartition(" (")[0]


@pytest.mark.parametrize(("written", "words"), WEIGHTS, ids=[written for written, _ in WEIGHTS])
def test_a_weight(tmp_path, monkeypatch, written, words):
    monkeypatch.chdir(tmp_path)
    text = TINY.replace(f"fractional: {{{WEIGHT}}}", f"fractional:\n    weight: {written}")
    found = said(tmp_path, text)
    assert "loss.fractional.weight" in found
    assert found.endswith(f"; {words}")


@pytest.mark.parametrize(("written", "words"), [one for one in WEIGHTS if "write " in one[1]])
def test_a_form_that_is_offered_is_taken(tmp_path, monkeypatch, written, words):
    monkeypatch.chdir(tmp_path)
    found = re.search(r"write (?:the value itself: )?(\{.*?\}|[\w.-]+)", words)
    key = re.match(r"\{low: .*(log|low): [^}]*\}", written) if not found[1].startswith("{") else None
    value = found[1] if key is None else re.sub(rf"{key[1]}: [^,}}]*", f"{key[1]}: {found[1]}", written)
    path = tmp_path / "s.yaml"
    path.write_text(TINY.replace(f"fractional: {{{WEIGHT}}}", f"fractional:\n    weight: {value}"))
    try:
        load_study(path)
    except ConfigError as error:  # baselines of the tiny study
        assert "search.baselines" in str(error)


# (a piece of the tiny study, what stands for it, the whole message without the place)
PIECES = [
    (WEIGHT, "wieght: 1", "loss.fractional.wieght: unknown key; did you mean 'weight'?"),
    (
        WEIGHT,
        f"{WEIGHT}, wieght: 1",
        "loss.fractional.wieght: unknown key; did you mean 'weight'? known: weight, term",
    ),
    (
        WEIGHT,
        "weight: {low: 0,1, high: 100}",
        "loss.fractional.weight.low: found 0,1; a decimal comma? write 0.1",
    ),
    (WEIGHT, "weight: {low: 0,001, high: 1}", "loss.fractional.weight.low: found 0,001; a decimal comma? write 0.001"),
    (WEIGHT, "weight: 0,001", "loss.fractional.weight: found 0,001; a decimal comma? write 0.001"),
    (
        WEIGHT,
        "weight: tune.loguniform(1e-4, 1e-1)",
        "loss.fractional.weight: expected a value, found tune.loguniform(1e-4, 1e-1); write {low: 1e-4, high: 1e-1, "
        "log: true}",
    ),
    (
        WEIGHT,
        "weight: tune.quniform(0, 10, 2), term: fractional",
        "loss.fractional.weight: expected a value, found tune.quniform(0, 10, 2); write {low: 0, high: 10, step: 2}",
    ),
    ("size: [32, 48]", "size: 32x48", "data.size: expected list, found '32x48'; write [32, 48]"),
    ("size: [32, 48]", "size: (32 48)", "data.size: expected list, found '(32 48)'; write [32, 48]"),
    (
        "epochs: 4",
        "epochs: 4, early_stopping: 3",
        "train.early_stopping: expected mapping, found 3; write {patience: 3}",
    ),
    ("epochs: 4", "epochs: 4, patience: 3", "train.patience: unknown key; write early_stopping: {patience: 3}"),
    ("trials: 6", "n_trials: 6", "search.n_trials: unknown key; write trials: 6"),
    (
        "storage: sqlite:///tiny.db",
        "storage: {url: sqlite:///tiny.db}",
        "storage: expected a database URL, found a mapping; write the URL itself: storage: sqlite:///study.db",
    ),
    (
        "storage: sqlite:///tiny.db",
        "storage: list.db",
        "storage: expected a URL that starts with sqlite:/// or postgresql://, found no scheme; write sqlite:///list.db",
    ),
    (
        "  integer: {weight: 1.0}",
        "  integer: {weight: 1.0, term: terms.plain}",
        "loss.integer.term: unknown loss 'terms.plain'; did you mean 'terms:plain'? known: berhu, consistency, edge, "
        "edge_aware_smoothness, epipolar, flow_depth_consistency, fractional, gradient_matching, integer, l2, mae, "
        "photometric_flow, photometric_rigid, silog, smooth_depth, smooth_flow, ssim, or package.module:Object",
    ),
    (
        "name: successive_halving",
        "name: asha",
        "search.pruner.name: unknown pruner 'asha'; did you mean 'successive_halving'? known: hyperband, median, "
        "non_dominated, none, successive_halving, or package.module:Object",
    ),
    (
        "pruner: {name: successive_halving, min_epochs: 1, factor: 2}",
        "pruner: off",
        "search.pruner: unknown pruner 'off'; did you mean 'none'? known: hyperband, median, non_dominated, none, "
        "successive_halving, or package.module:Object",
    ),
    (
        "name: procedural, size",
        "name: procedural, root: ${ROOMS}/all, size",
        "not valid YAML: a { without its }, or two values without a comma between them; text with { in it, such as "
        "${NAME}, stands in quotes there",
    ),
    (
        "published: {loss.fractional.weight: 10,",
        "published: {loss.fractionl.weight: 10,",
        "search.baselines.published.loss.fractionl.weight: unknown; did you mean 'loss.fractional.weight'?",
    ),
    (
        "name: successive_halving, min_epochs: 1, factor: 2",
        "name: none, min_epochs: 1",
        "search.pruner.min_epochs: unknown key of the pruner none; known: name",
    ),
    (
        "published: {loss.fractional.weight: 10,",
        "published: {loss.fractional: 10,",
        "search.baselines.published.loss.fractional: is a loss term, not a value; did you mean "
        "loss.fractional.weight: 10?",
    ),
    (
        "name: tiny",
        "name: my first study",
        "name: expected a name of A-Z, a-z, 0-9, '.', '_' and '-', at most 100, the first a letter or digit, "
        "found 'my first study'; write my_first_study",
    ),
    (
        "  integer: {weight: 1.0}",
        "  integer: 1.0",
        "loss.integer: expected mapping, found 1.0; write {weight: 1}, or a range as its weight",
    ),
    ("lr: 1.0e-3", "lr: '1e-3'", "train.lr: expected number, found '1e-3'; write 1e-3 without quotes"),
    ("epochs: 4", "epochs: 4.0", "train.epochs: expected integer, found 4.0; write 4"),
    (
        "  integer: {weight: 1.0}",
        "  integer: {low: 0.1, high: 10, log: true}",
        "loss.integer: a term is a mapping; write {weight: {low: 0.1, high: 10, log: true}}",
    ),
    (
        "  integer: {weight: 1.0}",
        "  integer: [0.1, 10]",
        "loss.integer: expected mapping, found [0.1, 10]; write its range as the weight: {weight: {low: 0.1, high: 10, "
        "log: true}}",
    ),
    (
        "{abs_rel: minimize}",
        "abs_rel",
        "search.objectives: expected mapping, found 'abs_rel'; write {abs_rel: minimize}",
    ),
    (
        "{abs_rel: minimize}",
        "[abs_rel, a1]",
        "search.objectives: expected mapping, found ['abs_rel', 'a1']; write {abs_rel: minimize, a1: maximize}",
    ),
    (
        "{abs_rel: minimize}",
        "{abs_rel: min}",
        "search.objectives.abs_rel: expected 'minimize' or 'maximize', found 'min'; write minimize",
    ),
    ("resources:", "ray: auto\nresources:", "ray: expected a mapping, found 'auto'; write {address: auto}"),
    ("lr: 1.0e-3", "lr: 1.0e-3, channels_last: yes", "train.channels_last: expected boolean, found 'yes'; write true"),
    ("lr: 1.0e-3", "lr: 1.0e-3, channels_last: off", "train.channels_last: expected boolean, found 'off'; write false"),
    (
        "lr: 1.0e-3",
        "lr: 1.0e-3, optimizer: [adam, sgd]",
        "train.optimizer: expected 'adam', 'adamw' or 'sgd', found ['adam', 'sgd']; for a choice write "
        "{choices: [adam, sgd]}",
    ),
    ("seed: 3", "seed: 3\nseed: 4", "seed: written twice, first in line 2"),
    ("seed: 3", "seed:\t3\n\tx: 1", "not valid YAML: a tab; lines are indented with spaces"),
    (
        "{abs_rel: minimize}",
        "{absrel: minimize}",
        "search.objectives.absrel: unknown metric; did you mean 'abs_rel'? known: abs_rel, sq_rel, rmse, rmse_log, "
        "log10, silog, a1, a2, a3",
    ),
    (
        "{abs_rel: minimize}",
        "{ate: minimize}",
        "search.objectives.ate: cannot be measured with this network and data set; possible: abs_rel, sq_rel, rmse, "
        "rmse_log, log10, silog, a1, a2, a3",
    ),
    (
        "epochs: 4",
        "epochs: 4, early_stopping: {patience: 1, metric: absrel}",
        "train.early_stopping.metric: unknown metric 'absrel'; did you mean 'abs_rel'? known: abs_rel, sq_rel, rmse, "
        "rmse_log, log10, silog, a1, a2, a3",
    ),
    (
        "resources:",
        "ray: {address: 10.0.0.1}\nresources:",
        "ray.address: expected auto or HOST:PORT (such as 10.0.0.1:6379), found '10.0.0.1'",
    ),
    (
        "resources:",
        "ray: {address: 'http://head:8265'}\nresources:",
        "ray.address: expected auto or HOST:PORT (such as 10.0.0.1:6379), found 'http://head:8265'",
    ),
    (
        "storage: sqlite:///tiny.db",
        "storage: sqlite://tiny.db",
        "storage: found sqlite:// with two slashes; write sqlite:///file.db, with a fourth for a path from the root",
    ),
    (
        "storage: sqlite:///tiny.db",
        "storage: sqlite://",
        "storage: a database in memory would be lost; write sqlite:///file.db",
    ),
]


@pytest.mark.parametrize(("piece", "written", "message"), PIECES, ids=[written for _, written, _ in PIECES])
def test_a_piece(tmp_path, monkeypatch, piece, written, message):
    monkeypatch.chdir(tmp_path)
    assert piece in TINY
    assert said(tmp_path, TINY.replace(piece, written, 1)) == message


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "head-1.example:10001", "[::1]:6379"])
def test_addresses_that_ray_takes(tiny, address):
    assert load_study(tiny, [f"ray.address='{address}'"]).ray.address == address


def test_an_address_by_which_ray_would_move_the_driver_is_refused_before_the_run(tiny):
    with pytest.raises(
        ConfigError, match=r"ray\.address: found 'ray://head:10001', .* Ray would move the driver to anoth"
    ):
        load_study(tiny, ["ray.address='ray://head:10001'"])


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_ports_that_do_not_exist_are_refused(tiny, port):
    with pytest.raises(ConfigError, match=r"expected auto or HOST:PORT"):
        load_study(tiny, [f"ray.address='10.0.0.1:{port}'"])


def test_a_name_has_at_most_100_letters(tiny):
    assert load_study(tiny, [f"name={'a' * 100}"]).base.name == "a" * 100
    with pytest.raises(ConfigError, match=r"name: expected a name of .* at most 100"):
        load_study(tiny, [f"name={'a' * 101}"])


def test_a_long_name_is_cut_to_one_that_is_taken(tiny):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, [f"name={'ab ' * 50}"])
    name = str(error.value).rpartition("write ")[2].split()[0]
    assert load_study(tiny, [f"name={name}"]).base.name == name


def test_an_unknown_key_of_which_a_required_one_is_missing_is_told_once(tiny):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, ["train={epoch: 4, lr: 0.1}"])
    assert str(error.value).count("unknown key; did you mean 'epochs'?") == 1
    assert "known: epochs, batch_size" in str(error.value)


def test_the_metrics_of_video_are_offered_where_there_is_video(tiny):
    with pytest.raises(ConfigError) as error:
        load_study(tiny, ["search.objectives={x: minimize}", "data.neighbours=[-1, 1]"])
    assert "abs_rel_moving" in str(error.value)
    assert " ate" not in str(error.value)
    sets = ["data.neighbours=[-1, 1]", "model={name: flow}", "search.objectives={x: minimize}"]
    photometric = ["loss={photometric_flow: {weight: 1.0}, smooth_flow: {weight: {low: 0.1, high: 1}}}"]
    with pytest.raises(ConfigError) as error:
        load_study(tiny, [*sets, *photometric, "search.baselines={}"])
    assert "known: epe, epe_static" in str(error.value)
    assert "abs_rel" not in str(error.value)


class TestHome:
    """`~` is the home folder in every path."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        (tmp_path / "home" / "data").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    def test_in_a_study_file(self, tiny, home):
        config = load_study(
            tiny,
            [
                "storage=sqlite:///~/x.db",
                "resources.run_dir=~/runs",
                "data.root=~/data",
            ],
        )
        assert config.storage == f"sqlite:///{home}/x.db"
        assert config.base.resources.run_dir == f"{home}/runs"
        assert config.base.data.root == f"{home}/data"

    def test_in_lists_and_choices(self, tiny, home):
        (home / "data" / "t.txt").write_text("a.png a.png\n")
        listed = "data={name: file_list, root: ~/data, train: ~/data/t.txt, size: [32, 48], min_depth: 1, max_depth: 6}"
        assert load_study(tiny, [listed]).base.data.options["train"] == f"{home}/data/t.txt"
        for name in ("a", "b"):
            (home / f"{name}.safetensors").write_bytes(b"")
        config = load_study(
            tiny, ["model.weights={choices: [~/a.safetensors, ~/b.safetensors]}", "search.baselines={}"]
        )
        assert config.space["model.weights"].values == (f"{home}/a.safetensors", f"{home}/b.safetensors")

    def test_of_the_cache(self, home, monkeypatch):
        from weightsearch.data.cache import cache_folder

        monkeypatch.setenv("WEIGHTSEARCH_CACHE", "~/cache")
        assert cache_folder() == home / "cache"
        monkeypatch.delenv("WEIGHTSEARCH_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "~/other")
        assert cache_folder() == home / "other" / "weightsearch"


def test_a_long_override_is_named_without_its_value(tiny):
    long = f"data={{name: procedural, size: [32, 48], min_depth: 0.3, max_depth: 6.0, scenes: 2, frames: {'1' * 9}x}}"
    with pytest.raises(ConfigError) as error:
        load_study(tiny, [long])
    assert str(error.value).endswith("(--set data)")
