"""Whatever is wrong with a study file or its URL, the password in it is in no message."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TINY
from weightsearch.config import load_identity, load_study
from weightsearch.config.yaml_source import parse_yaml
from weightsearch.errors import WeightsearchError, hide, one_line
from weightsearch.study.url import parse_url, shown

SECRET = "hunter2Secret"
URL = f"postgresql://ann:{SECRET}@db.example:5432/studies"
STUDY = TINY.replace("sqlite:///tiny.db", URL)
SIGNS = st.text(alphabet=" \t\n:@/?#%[]{}&*!|>'\"`,-=$\\", min_size=1, max_size=4)
FORMS = [
    f"*{SECRET}",
    f"&{SECRET} &{SECRET} x",
    f"!{SECRET} x",
    f"!!{SECRET} x",
    f"%{SECRET}",
    f"@{SECRET}",
    f"`{SECRET}",
    f"'{SECRET}",
    f'"{SECRET}\\q"',
    f"{{{SECRET}",
    f"[{SECRET}",
    f"{{{SECRET}: x}}",
    f"x: {SECRET}: y",
    f"- {SECRET}",
    f"? {SECRET}",
    f"|{SECRET}",
    f"postgresql://ann:${{{SECRET}}}@h/d",
    f"postgresql://ann:${{{SECRET}@h/d",
    f"postgresql://ann:{SECRET}/d",
    f"postgresql://ann:{SECRET}",
    f"postgresql://ann:{SECRET}%zz@h/d",
    f"postgresql://ann:%{SECRET}@h:9x/d",
    f"postgresql://ann:{SECRET}@h:99999999/d",
    f"postgresql://ann:1/{SECRET}@h/d",
    f"postgresql://ann:1?{SECRET}@h/d",
    f"postgresql://ann:1#{SECRET}@h/d",
    f"postgresql://ann:p@{SECRET}@h/d",
    f"postgresql://ann:my {SECRET}@h/d",
    f"postgresql://h/d?password={SECRET}&x=%",
    f"postgresql:/ann:{SECRET}@h/d",
    f"postgres://ann:{SECRET}@h/d",
    f"mysql://ann:{SECRET}@h/d",
    f"postgresql+psycopg2://ann:{SECRET}@h/d",
    f"postgresql://ann:{SECRET}@[::1/d",
    f"sqlite://ann:{SECRET}@h/d",
    f"!!python/name:{SECRET} x",
    f"{{url: 'postgresql://ann:{SECRET}@h/d'}}",
]


def messages(text: str, folder) -> Iterable[str]:
    """The message of every command that reads the file."""
    path = folder / "study.yaml"
    path.write_text(text)
    for load in (load_study, load_identity):
        try:
            found = load(path)
        except WeightsearchError as error:
            yield str(error)
            yield one_line(str(error))
            continue
        yield repr(found)
        try:
            yield shown(parse_url(found.storage))
        except WeightsearchError as error:
            yield str(error)


@pytest.mark.parametrize("form", FORMS)
def test_a_storage_that_is_mistaken(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    for text in (TINY.replace("sqlite:///tiny.db", form), STUDY.replace(f"storage: {URL}", f"stroage: {form}")):
        for said in messages(text, tmp_path):
            assert SECRET not in said


FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, suppress_health_check=FIXTURE)
@given(data=st.data())
def test_a_file_that_is_changed_anywhere_but_in_the_password(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    text = STUDY
    for _ in range(data.draw(st.integers(1, 3))):
        secret = text.index(SECRET)
        near = st.integers(max(0, secret - 30), min(len(text), secret + 45))
        at = data.draw(near | st.integers(0, len(text)))
        removed = data.draw(st.integers(0, 6))
        end = min(at + removed, len(text))
        if at < secret + len(SECRET) and end > secret:
            continue
        text = text[:at] + data.draw(SIGNS | st.just("")) + text[end:]
    for said in messages(text, tmp_path):
        assert SECRET not in said


@settings(max_examples=150, deadline=None)
@given(before=SIGNS, after=SIGNS)
def test_urls_with_signs_around_the_password(before, after):
    for url in (f"postgresql://ann:{before}{SECRET}{after}@h/d", f"postgresql://ann:{before}{SECRET}@h/d{after}"):
        try:
            parsed = parse_url(url)
        except WeightsearchError as error:
            assert SECRET not in str(error)
        else:
            assert SECRET not in shown(parsed)


def test_a_password_in_the_place_of_the_user_is_not_shown():
    assert shown(parse_url(f"postgresql://{SECRET}@db:5432/d")) == "postgresql+psycopg://db:5432/d"


def test_addresses_without_a_password_stay():
    for text in (
        "http://127.0.0.1:8080/x",
        "cannot start Ray at ray.address ray://head:10001: Connection refused",
        "(see http://head:8265).",
        "postgresql://ann@db:5432/d",
        "sqlite:///a:b.db",
        "expected ray://HOST:PORT, found 'x'",
        "/usr/bin:/bin:/sbin",
        "http://[::1]:8080/",
    ):
        assert hide(text) == text


def test_a_mistake_of_yaml_is_told_without_the_text():
    with pytest.raises(WeightsearchError) as error:
        parse_yaml(f"storage: *{SECRET}\n".encode(), "x.yaml")
    assert str(error.value) == (
        "not valid YAML: text that begins with * names an anchor, and there is none of that name; in a value, put the "
        "whole value into quotes (x.yaml:1)"
    )
