"""The JSON Schema is that of the loader: it takes every shipped study, and refuses what the loader refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import TINY
from weightsearch.config.extends import read_study, shipped
from weightsearch.config.json_schema import json_schema, option_descriptions
from weightsearch.config.yaml_source import parse_yaml, read_yaml
from weightsearch.plugins import PACKAGES, names


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(json.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", list(shipped()))
def test_it_takes_every_shipped_study_as_written_and_merged(validator, name):
    for tree in (read_yaml(shipped()[name]).tree, read_study(shipped()[name]).tree):
        assert [error.message for error in validator.iter_errors(tree)] == []


def tiny(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(parse_yaml(TINY.encode(), "tiny.yaml").tree), **changes}


ALLOWED = [
    {"extends": "transfer"},
    {"train": {"epochs": 4, "lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
    {"train": {"epochs": 4, "lr": 1e-3, "optimizer": {"choices": ["adam", "sgd"]}}},
    {"model": {"name": "my_pkg.nets:Mine", "width": 3}},
    {"data": {"size": [32, 48]}, "extends": "silog"},
    {"evaluation": "nyu"},
    {"evaluation": {"preset": "nyu", "bits": 8}},
    {"loss": {"near": {"term": "mae", "weight": 1, "space": "log"}}},
    {"loss": {"mae": {"term": "ssim", "weight": 1, "window": 7}}},
    {"loss": {"mae": {"weight": {"low": 0.1, "high": 10, "log": True}, "space": {"choices": ["depth", "log"]}}}},
    {"loss": {"inherited": {"weight": 2}, "mae": None}, "extends": "mine.yaml"},
    {"ray": {"address": "auto"}},
]
REFUSED = [
    {"sed": 1},
    {"seed": -1},
    {"train": {"epochs": 0, "lr": 1e-3}},
    {"train": {"epochs": 4, "lr": 1e-3, "optimiser": "adam"}},
    {"train": {"epochs": 4, "lr": {"low": 1e-4}}},
    {"train": {"epochs": 4, "lr": 1e-3, "optimizer": {"choices": ["adam"]}}},
    {"model": {"name": "dual_head", "chanels": 4}},
    {"model": {"name": "dualhead"}},
    {"data": {"name": "procedural", "size": [32], "min_depth": 0.3, "max_depth": 6}},
    {"evaluation": "nyuv2"},
    {"loss": {"integer": {"weight": -1}}},
    {"loss": {"near": {"weight": 1}}},
    {"loss": {"maee": {"weight": 1}}},
    {"loss": {"mae": {"weight": 1, "window": 7}}},
    {"loss": {"mae": {"weight": 1, "spce": "log"}}},
    {"analysis": {"budget": {"low": 0, "high": 1}}},
    {"data": {"size": [32, 48]}},
    {"train": {"lr": 1e-3}},
    {"search": {"objectives": {"abs_rel": "minimize"}}},
]


@pytest.mark.parametrize("changes", ALLOWED, ids=str)
def test_it_allows(validator, changes):
    assert [error.message for error in validator.iter_errors(tiny(**changes))] == []


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_it_refuses(validator, changes):
    assert list(validator.iter_errors(tiny(**changes)))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PACKAGES for name in names(kind)])
def test_every_option_of_every_plug_in_has_a_description(kind, name):
    assert [option for option, text in option_descriptions(kind, name).items() if len(text) < 5] == []


def test_every_field_has_a_description():
    def without(schema: Any, path: str) -> list[str]:
        if isinstance(schema, list):
            return [found for one in schema for found in without(one, path)]
        if not isinstance(schema, dict):
            return []
        fields = schema.get("properties", {}) if isinstance(schema.get("properties"), dict) else {}
        lacking = [
            f"{path}.{name}" for name, one in fields.items() if not one.get("description") and "anyOf" not in one
        ]
        return lacking + [
            found for key, one in schema.items() if key != "then" for found in without(one, f"{path}.{key}")
        ]

    assert without(json_schema(), "") == []
