from __future__ import annotations

import pytest

from weightsearch.config.extends import read_study
from weightsearch.config.yaml_source import MAX_DEPTH, parse_yaml, read_yaml
from weightsearch.errors import ConfigError


def parse(text: str):
    return parse_yaml(text.encode(), "study.yaml")


def message(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert len(error.value.problems) == 1
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2.0e-4", 2e-4),
        ("-.5", -0.5),
        ("10", 10),
        ("0x1f", 31),
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("none", "none"),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parse(f"x: {text}").tree["x"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line():
    yaml_source = parse("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - 4\n")
    assert yaml_source.place(("a",)) == "study.yaml:1"
    assert yaml_source.place(("b", "c")) == "study.yaml:3"
    assert yaml_source.place(("b", "d", "1")) == "study.yaml:6"
    assert yaml_source.place(("b", "missing", "deep")) == "study.yaml:2"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a: written twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, "a.b: written twice"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML: a tab; lines are indented with spaces"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "is not allowed"),
        ("a: !mine 3\n", 1, "text that begins with ! is a tag, which is not allowed"),
        ("a: 1\n3: 2\n", 2, "is not text"),
        ("a: *nowhere\n", 1, "not valid YAML"),
        ("a: &x [*x]\n", 1, "nested deeper"),
        ("a: 99999999999999999999999\n", 1, "beyond 64 bits"),
        ("- 1\n- 2\n", 1, "a study is a mapping"),
        ("", 1, "empty"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: \x07\n", 1, "not valid YAML"),
        ("? [a]\n: 1\n", 1, "is not text"),
        ("a: !!binary aGk=\n", 1, "not allowed"),
    ],
)
def test_malformed_files_are_located(text, line, words):
    found = message(text)
    assert words in found
    assert found.endswith(f"(study.yaml:{line})")


def test_deep_and_wide_documents_are_refused_before_they_cost_anything():
    assert f"deeper than {MAX_DEPTH}" in message("a: " + "[" * 5000 + "]" * 5000)
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "more than" in message(bomb)


def test_bytes_that_are_not_utf_8_are_located():
    with pytest.raises(ConfigError, match=r"byte 6 is not UTF-8 \(study.yaml:2\)"):
        parse_yaml(b"a: 1\nb\xff: 2\n", "study.yaml")


def test_merge_keys_give_way_to_own_keys():
    tree = parse("base: &b {x: 1, y: 2}\nmine: {<<: *b, y: 3}\n").tree
    assert tree["mine"] == {"x": 1, "y": 3}


def test_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the study file: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_yaml(tmp_path)


class TestOverrides:
    def read(self, tmp_path, *overrides):
        path = tmp_path / "s.yaml"
        path.write_text("a: {b: 1, c: {low: 1, high: 2}}\nlist: [1, 2]\npruner: median\n")
        return read_study(path, overrides)

    def test_replace_create_and_keep(self, tmp_path):
        tree = self.read(tmp_path, "a.b=2.5", "a.c=7", "new.deep.key=[1, x]").tree
        assert tree["a"] == {"b": 2.5, "c": 7}
        assert tree["new"] == {"deep": {"key": [1, "x"]}}

    def test_below_a_short_plugin_name(self, tmp_path):
        assert self.read(tmp_path, "pruner.warmup_epochs=2").tree["pruner"] == {"name": "median", "warmup_epochs": 2}

    def test_the_override_is_the_place_of_its_value(self, tmp_path):
        yaml_source = self.read(tmp_path, "a.c=7")
        assert yaml_source.place(("a", "c")) == "--set a.c=7"
        assert yaml_source.place(("a", "c", "low")) == "--set a.c=7"

    @pytest.mark.parametrize(
        "override", ["a.b", "=3", "a..b=3", "list.0=5", "a.b.c=3", "a.b=[1", "a.b=!!python/name:os 3"]
    )
    def test_mistakes_name_the_override(self, tmp_path, override):
        with pytest.raises(ConfigError) as error:
            self.read(tmp_path, override)
        assert f"--set {override}" in str(error.value)
        assert "\n" not in str(error.value)
