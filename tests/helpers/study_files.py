"""Strategies for values and paths of study files."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["none", "tpe", "integer", "${HOME}", "${NOT_SET_AT_ALL}", "math:nothing", "a:b:c", ":", "1e-3", ".nan"]
    ),
)


RANGES = st.one_of(
    st.fixed_dictionaries({"choices": st.lists(SCALARS, max_size=3)}),
    st.fixed_dictionaries({"low": SCALARS, "high": SCALARS}, optional={"log": SCALARS, "step": SCALARS}),
)


VALUES = st.recursive(
    st.one_of(SCALARS, RANGES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def paths(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(path for key, value in items for path in paths(value, (*at, key)))]
