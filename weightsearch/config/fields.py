"""The building blocks of sections: types of fields, and sections with fixed keys or with a plug-in's options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from weightsearch.config.names import TERM_NAME

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=16, le=4096)]
Probability = Annotated[float, Field(ge=0, le=1)]
Reach = Annotated[float, Field(ge=0, lt=1)]
TermName = Annotated[str, Field(pattern=TERM_NAME)]


def named(value: object) -> object:
    """The long form of a plug-in's section: `tpe` is short for `{name: tpe}`, and null means `none`."""
    if value is None:
        return {"name": "none"}
    return {"name": value} if isinstance(value, str) else value


def as_tuple(value: object) -> object:
    """A list as a tuple. Pydantic converts JSON's lists itself, but not after a validator of the whole section."""
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(as_tuple)]


class Section(BaseModel):
    """A section with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class PluginSection(BaseModel):
    """A section that names a plug-in and holds its options beside the keys that every plug-in of the kind has."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not the section's own: the arguments of the plug-in's constructor."""
        return dict(self.model_extra or {})


Named = Annotated[PluginSection, BeforeValidator(named)]
