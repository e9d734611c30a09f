"""The study file's format as a JSON Schema, for editors and for the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from weightsearch.config import schema as sections
from weightsearch.config.descriptions import descriptions, first_sentence
from weightsearch.config.names import TERM_NAME
from weightsearch.config.schema import RANGE_SECTIONS, Configuration, Data, Model, Ray, Search, Term
from weightsearch.files import write_text
from weightsearch.plugins import names, options_model, resolve

SCHEMA_FILE: Final = "study.schema.json"
EDITORS: Final = f"# yaml-language-server: $schema={SCHEMA_FILE}"  # a study file's first line: editors find its schema
TITLE: Final = "weightsearch study"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Options that plug-ins take from the data section, or that several of them have with one meaning.
SHARED: Final[Mapping[str, str]] = {
    "root": "Folder of the files.",
    "size": "Height, width in pixels. Default: data.size.",
    "min_depth": "Metres. Default: data.min_depth.",
    "max_depth": "Metres. Default: data.max_depth.",
    "neighbours": "Offsets of neighbouring frames. Default: data.neighbours.",
    "encoder": "Name of a timm model with `features_only`.",
    "weights": "Weights of the encoder: `none` (random), `pretrained` (downloaded by timm) or a file.",
    "space": "Where depth is compared: `depth` in metres, `reciprocal` in 1/m, or `log`.",
}
NAMED: Final = {"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", "description": "package.module:Object of your own."}
EXTENDS: Final = "A shipped study's name, or a study file: this file states only what differs from it."
STORAGE: Final = "URL of the study's database: sqlite:///FILE or postgresql://... Default: sqlite:///NAME.db."


def write_schema(folder: Path) -> Path | None:
    """Write the schema into the folder of a study file. Returns its path, or None if a file of this name from another
    program is there, which is not replaced. Raises WriteError."""
    path = folder / SCHEMA_FILE
    try:
        ours = not path.exists() or f'"title": "{TITLE}"' in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        ours = False
    if not ours:
        return None
    write_text(path, json.dumps(json_schema(), indent=1) + "\n")
    return path


def option_descriptions(kind: str, name: str) -> dict[str, str]:
    """Option -> description, of every option of a plug-in that weightsearch ships."""
    target = resolve(kind, name)
    fields = options_model(target).model_fields
    own = descriptions(target, fields) | {key: field.description for key, field in fields.items() if field.description}
    return {key: own.get(key) or SHARED.get(key, "") for key in fields}


def json_schema() -> dict[str, Any]:
    """The schema of study files and of training configurations."""
    schema = _section(Configuration)
    definitions: dict[str, Any] = schema.pop("$defs")
    properties: dict[str, Any] = schema["properties"]
    properties["data"] = _plugin("data", Data, definitions)
    properties["model"] = _plugin("model", Model, definitions)
    properties["loss"] = {
        "type": "object",
        "description": properties["loss"]["description"],
        "propertyNames": {"pattern": TERM_NAME},
        **_terms(definitions),
    }
    search = _section(Search)
    definitions |= search.pop("$defs", {})
    for kind in ("sampler", "pruner"):
        described = search["properties"][kind].get("description", "")
        long = _plugin(kind, None, definitions)
        search["properties"][kind] = {"description": described, "anyOf": [{"enum": list(names(kind))}, NAMED, long]}
    ray = _section(Ray)
    properties |= {
        "extends": {"type": "string", "description": EXTENDS},
        "storage": {"type": "string", "description": STORAGE},
        "search": {"description": "How the study is searched.", **search},
        "ray": {"description": "The Ray cluster.", **ray},
        "provenance": {"type": "object", "description": "Where an exported configuration comes from; ignored."},
    }
    properties["evaluation"] = _or_preset(properties["evaluation"], definitions)
    baselines = search["properties"]["baselines"]
    inherited = {"type": "null", "description": "Remove a baseline that is inherited."}
    baselines["additionalProperties"] = {"anyOf": [baselines["additionalProperties"], inherited]}
    required = {
        "required": schema.pop("required"),
        "properties": {
            "data": {"required": _section(Data)["required"]},
            "model": {"required": _section(Model)["required"]},
            "train": {"required": definitions["Train"].pop("required")},
            "loss": {
                "properties": {name: {} for name in names("loss")},
                "additionalProperties": {"required": ["term"]},
            },
            "search": {"required": properties["search"].pop("required")},
        },
    }
    schema |= {"if": {"not": {"required": ["extends"]}}, "then": required}  # a file that extends another needs none
    for unused in ("Data", "Model", "Term", "PluginSection"):
        definitions.pop(unused, None)
    definitions["Range"] = RANGE
    for name in RANGE_SECTIONS:
        properties[name] = _with_ranges(properties[name])
    searchable = {
        model.__name__ for name in RANGE_SECTIONS for model in _sections_of(Configuration.model_fields[name].annotation)
    }
    for name, section in definitions.items():
        if name in searchable:
            definitions[name] = _with_ranges(section)
    return {"$schema": DIALECT, **schema, "title": TITLE, "$defs": definitions}


RANGE: Final[dict[str, Any]] = {
    "description": "Values to search: a range, or choices.",
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "low": {"type": "number", "description": "Smallest value."},
                "high": {"type": "number", "description": "Largest value."},
                "log": {"type": "boolean", "description": "Search on a logarithmic scale."},
                "step": {"type": "number", "description": "Distance of neighbouring values."},
            },
            "required": ["low", "high"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"choices": {"type": "array", "minItems": 2, "description": "The values themselves."}},
            "required": ["choices"],
            "additionalProperties": False,
        },
    ],
}


def _sections_of(annotation: Any) -> set[type[BaseModel]]:
    """The sections in a type, with their subsections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        below = (_sections_of(field.annotation) for field in annotation.model_fields.values())
        return {annotation}.union(*below)
    return set().union(*map(_sections_of, get_args(annotation)))


def _section(model: type[BaseModel]) -> dict[str, Any]:
    """A section's schema with the descriptions of its docstring; the same for its subsections."""
    schema = model.model_json_schema(ref_template="#/$defs/{model}")
    for name, definition in [(model.__name__, schema), *schema.get("$defs", {}).items()]:
        section = getattr(sections, name)
        _describe(definition, descriptions(section, section.model_fields))
    return schema


def _describe(schema: dict[str, Any], texts: Mapping[str, str]) -> None:
    schema.pop("description", None)  # the whole docstring; its parts describe the properties
    for name, entry in schema.get("properties", {}).items():
        if name in texts:
            entry["description"] = texts[name]
        entry.pop("title", None)


def _plugin(kind: str, section: type[BaseModel] | None, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section that names a plug-in: its own keys, and the options of each shipped plug-in."""
    own = {} if section is None else _section(section)
    definitions |= own.pop("$defs", {})
    fixed = {key: entry for key, entry in own.get("properties", {}).items() if key != "name"}
    shipped = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name, "description": first_sentence(resolve(kind, name).__doc__ or "")},
                **fixed,
                **_options(kind, name, definitions),
            },
            "required": ["name"],
            "additionalProperties": False,
        }
        for name in names(kind)
    ]
    other = {"type": "object", "properties": {"name": NAMED, **fixed}, "required": ["name"]}
    unnamed = {"type": "object", "not": {"required": ["name"]}}  # in a file that extends another file
    return {"anyOf": [*shipped, other, unnamed]}


def _terms(definitions: dict[str, Any]) -> dict[str, Any]:
    """The schemas of loss terms: of each shipped term under its own name, and of any other name, whose key `term` names
    the term: the union of all terms' options."""
    own = _section(Term)
    definitions |= own.pop("$defs", {})
    fixed: dict[str, Any] = own["properties"]
    options = {name: _options("loss", name, definitions) for name in names("loss")}
    union = {key: entry for entries in reversed(options.values()) for key, entry in entries.items()}
    any_term = {"type": "object", "properties": {**fixed, **union}}
    removed = {"type": "null", "description": "Remove a term that is inherited."}
    without_term = {key: entry for key, entry in fixed.items() if key != "term"}
    shipped = {
        name: {
            "description": first_sentence(resolve("loss", name).__doc__ or ""),
            "anyOf": [
                {"type": "object", "properties": {**without_term, **entries}, "additionalProperties": False},
                {**any_term, "required": ["term"]},
                removed,
            ],
        }
        for name, entries in options.items()
    }
    return {"properties": shipped, "additionalProperties": {"anyOf": [any_term, removed]}}


def _options(kind: str, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = options_model(resolve(kind, name)).model_json_schema(ref_template="#/$defs/{model}")
    definitions |= schema.get("$defs", {})
    _describe(schema, option_descriptions(kind, name))
    return schema.get("properties", {})  # type: ignore[no-any-return]


def _or_preset(section: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    preset = definitions["Evaluation"]["properties"]["preset"]
    allowed = next(part for part in preset["anyOf"] if "enum" in part)
    return {"description": section.get("description", ""), "anyOf": [allowed, {"$ref": "#/$defs/Evaluation"}]}


def _with_ranges(schema: Any) -> Any:
    """A schema in which every property, except sections, may also be a range."""
    if not isinstance(schema, dict):
        return schema
    result = {
        key: [_with_ranges(alternative) for alternative in value] if key == "anyOf" else value
        for key, value in schema.items()
    }
    if isinstance(extra := schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _with_ranges(extra)
    if "properties" in schema:
        result["properties"] = {name: _or_range(name, entry) for name, entry in schema["properties"].items()}
    return result


def _or_range(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name in ("name", "term") or "$ref" in schema or schema.get("type") == "object":
        return schema
    if any(part.get("type") == "object" for part in schema.get("anyOf", ())):  # a section
        return _with_ranges(schema)  # type: ignore[no-any-return]
    described = {"description": schema["description"]} if "description" in schema else {}
    inner = {key: value for key, value in schema.items() if key not in ("description", "default")}
    default = {"default": schema["default"]} if "default" in schema else {}
    return {**described, **default, "anyOf": [inner, {"$ref": "#/$defs/Range"}]}
