from __future__ import annotations

from pathlib import Path

import pytest

from weightsearch.config import load_study
from weightsearch.config.extends import read_study, shipped
from weightsearch.errors import ConfigError


def study(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problem(path: Path, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(path, sets)
    return str(caught.value)


def test_a_study_states_what_differs_and_inherits_the_rest(tmp_path):
    base = load_study(shipped()["silog"])
    path = study(tmp_path, "name: mine\nextends: silog\ntrain: {epochs: 2}\nloss: {silog: {variance_focus: 0.5}}\n")
    found = load_study(path)
    assert (found.name, found.storage) == ("mine", "sqlite:///mine.db")  # never the base's
    assert found.base.train == base.base.train.model_copy(update={"epochs": 2})
    assert list(found.space) == ["loss.mae.weight", "loss.gradient_matching.weight"]
    assert found.base.loss["silog"].options["variance_focus"] == 0.5
    assert found.search == base.search


def test_a_range_a_list_and_a_baseline_are_replaced_whole(tmp_path):
    text = (
        "name: mine\nextends: dualhead\n"
        "data: {size: [32, 48]}\n"
        "loss: {fractional: {weight: {choices: [1, 10]}}, consistency: {weight: {low: 1, high: 2}}}\n"
        "search: {baselines: {published: {loss.fractional.weight: 1, loss.consistency.weight: 1}, depth_only: null}}\n"
    )
    tree = read_study(study(tmp_path, text)).tree
    assert tree["data"]["size"] == [32, 48]
    assert tree["loss"]["fractional"] == {"weight": {"choices": [1, 10]}}
    assert tree["loss"]["consistency"]["weight"] == {"low": 1, "high": 2}  # not log any more
    assert tree["search"]["baselines"] == {
        "published": {"loss.fractional.weight": 1, "loss.consistency.weight": 1},
        "equal": {"loss.fractional.weight": 1, "loss.consistency.weight": 1},
    }


NEW_TERM = "extends: dualhead\nname: mine\nloss:\n  edge: {weight: {low: 0.1, high: 10, log: true}}\n"


def test_an_inherited_baseline_gives_a_new_loss_term_weight_0(tmp_path):
    baselines = load_study(study(tmp_path, NEW_TERM)).search.baselines
    assert baselines["published"] == {
        "loss.fractional.weight": 10,
        "loss.consistency.weight": 0.5,
        "loss.edge.weight": 0,
    }
    assert {values["loss.edge.weight"] for values in baselines.values()} == {0}


def test_other_searched_options_of_a_new_term_get_any_value_in_inherited_baselines(tmp_path):
    text = "extends: dualhead\nname: mine\nloss:\n  berhu: {weight: 1, space: {choices: [log, depth]}}\n"
    baselines = load_study(study(tmp_path, text)).search.baselines
    assert baselines["equal"]["loss.berhu.weight"] == 0
    assert baselines["equal"]["loss.berhu.space"] == "log"


def test_a_term_that_the_next_file_removes_leaves_no_trace_in_baselines(tmp_path):
    study(tmp_path, NEW_TERM, "second.yaml")
    third = study(tmp_path, "extends: second.yaml\nname: third\nloss: {edge: null}\n", "third.yaml")
    assert load_study(third).search.baselines["equal"] == {"loss.fractional.weight": 1, "loss.consistency.weight": 1}


def test_a_weight_that_an_inherited_baseline_states_stays(tmp_path):
    """The second file has the term and a baseline for it; only baselines of the first file get weight 0."""
    own = "search: {baselines: {with_edge: {loss.fractional.weight: 1, loss.consistency.weight: 1, loss.edge.weight: 2}}}\n"
    study(tmp_path, NEW_TERM + own, "second.yaml")
    third = study(tmp_path, "extends: second.yaml\nname: third\nloss: {mae: {weight: 0.5}}\n", "third.yaml")
    baselines = load_study(third).search.baselines
    assert (baselines["with_edge"]["loss.edge.weight"], baselines["with_edge"]["loss.mae.weight"]) == (2, 0)
    assert (baselines["equal"]["loss.edge.weight"], baselines["equal"]["loss.mae.weight"]) == (0, 0)


def test_a_loss_with_another_term_in_place_of_an_inherited_one_is_another_loss(tmp_path):
    """Its baselines get no weight of 0, which would leave out the replaced term."""
    text = "extends: dualhead\nname: mine\nloss: {integer: null, whole: {term: integer, weight: 1}}\n"
    text += "search: {baselines: {depth_only: null}}\n"
    baselines = load_study(study(tmp_path, text)).search.baselines
    assert baselines["equal"] == {"loss.fractional.weight": 1, "loss.consistency.weight": 1}


def test_an_inherited_baseline_loses_its_values_for_a_term_that_is_removed(tmp_path):
    path = study(
        tmp_path, "extends: silog\nname: mine\nloss: {gradient_matching: null}\nsearch: {baselines: {mae_only: null}}\n"
    )
    config = load_study(path)
    assert set(config.search.baselines) == set(load_study(shipped()["silog"]).search.baselines) - {"mae_only"}
    assert all(set(values) <= {*config.space, "loss.silog.weight"} for values in config.search.baselines.values())


def test_a_fault_of_an_inherited_baseline_stands_in_the_file_that_inherits_it(tmp_path):
    path = study(tmp_path, "name: mine\nextends: dualhead\nloss: {consistency: null}\n")
    assert problem(path) == (
        "search.baselines.depth_only: every loss weight is 0; nothing can be learned; the baseline is inherited: to "
        f"leave it out, write search: {{baselines: {{depth_only: null}}}} ({path}:2)"
    )


def test_a_baseline_without_any_weight_is_refused(tmp_path):
    own = (
        "search: {baselines: {none: {loss.integer.weight: 0, loss.fractional.weight: 0, loss.consistency.weight: 0}}}\n"
    )
    path = study(tmp_path, "extends: dualhead\nname: mine\n" + own)
    assert problem(path) == f"search.baselines.none: every loss weight is 0; nothing can be learned ({path}:3)"


def test_a_baseline_of_the_file_itself_must_give_a_new_loss_term_a_value(tmp_path):
    own = "search: {baselines: {equal: {loss.fractional.weight: 1, loss.consistency.weight: 1}}}\n"
    path = study(tmp_path, NEW_TERM + own)
    assert problem(path) == (
        "search.baselines.equal: gives no value for the searched loss.edge.weight; add loss.edge.weight: VALUE "
        f"({path}:5)"
    )


def test_an_inherited_baseline_without_a_value_is_an_error_of_the_file_that_searches_the_parameter(tmp_path):
    path = study(tmp_path, "extends: dualhead\nname: mine\ntrain: {lr: {low: 1e-4, high: 1e-2, log: true}}\n")
    assert problem(path) == (
        "train.lr: is searched, but the inherited baseline 'published' gives no value for train.lr; in "
        "search.baselines write published: {loss.fractional.weight: 10, loss.consistency.weight: 0.5, "
        f"train.lr: VALUE}}, or published: null to leave it out ({path}:3)"
    )


def test_objectives_are_those_that_are_stated(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("extends: silog\nname: s\nsearch: {objectives: {rmse: minimize}}\n")
    assert load_study(path).search.objectives == {"rmse": "minimize"}


def test_another_plug_in_does_not_inherit_the_options_of_the_base(tmp_path):
    text = "name: mine\nextends: cotraining\ndata: {name: seven_scenes, root: /x}\nsearch: {pruner: {name: none}}\n"
    tree = read_study(study(tmp_path, text)).tree
    assert tree["data"] == {
        "name": "seven_scenes",
        "root": "/x",
        "size": [64, 96],
        "min_depth": 2.0,
        "max_depth": 80.0,
        "neighbours": [-1, 1],
    }
    assert tree["search"]["pruner"] == {"name": "none"}
    assert tree["model"]["name"] == "co_training"


def test_files_extend_files_and_errors_name_the_line_that_holds_the_value(tmp_path):
    study(tmp_path, "name: base\nextends: dualhead\ntrain:\n  epochs: -1\n", "base.yaml")
    path = study(tmp_path, "name: mine\nextends: base.yaml\ntrain: {lr: 0.1}\n")
    message = problem(path)
    assert message.startswith("train.epochs: ")
    assert message.endswith("base.yaml:4)")
    assert load_study(path, ["train.epochs=3"]).base.train.epochs == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dualhed", "extends: no shipped study 'dualhed'; did you mean 'dualhead'?"),
        ("nowhere.yaml", "extends: nowhere.yaml: cannot read the study file: No such file or directory"),
        ("mine.yaml", "extends: mine.yaml extends this file in turn"),
        ("[dualhead]", "extends: expected a shipped study's name or a file, found ['dualhead']"),
    ],
)
def test_what_cannot_be_extended_is_named_with_its_line(tmp_path, value, message):
    found = problem(study(tmp_path, f"name: mine\nextends: {value}\n"))
    assert found.startswith(message)
    assert found.endswith("mine.yaml:2)")


def test_it_cannot_be_set_from_outside(tmp_path):
    path = study(tmp_path, "name: mine\nextends: dualhead\n")
    assert problem(path, ("extends=silog",)).startswith("extends: can only stand in the file itself")


def test_every_shipped_study_can_be_extended(tmp_path):
    """The merged sections are those of the base, but for its name and storage."""
    for name, path in shipped().items():
        base = read_study(path).tree
        found = read_study(study(tmp_path, f"name: mine\nextends: {name}\n")).tree
        assert found == {**{key: value for key, value in base.items() if key != "storage"}, "name": "mine"}
