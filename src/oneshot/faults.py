"""What pydantic finds wrong with params.yaml, as lines of: place, what; rule; mend."""

import difflib
import json
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticCustomError

from oneshot.errors import quoted_key
from oneshot.schema import Section

# The names of studies and datasets become folders, and MLflow experiments.
STUDY_NAME, DATASET_NAME = r"^[a-z0-9][a-z0-9-]{0,39}$", r"^[a-z0-9][a-z0-9_]{0,39}$"
FOLDER = r"^(~(/[^\x00-\x1f\x7f]*)?|[^~\x00-\x1f\x7f][^\x00-\x1f\x7f]*)$"


def misfit(*faults: tuple[str, str]) -> PydanticCustomError:
    """Keys that do not go together: for each fault its place below the section, and `what; rule; mend`."""
    return PydanticCustomError("misfit", "{text}", {"faults": faults, "text": " | ".join(text for _, text in faults)})


# What pydantic finds, by its name for it: the rule, the mend.
RULES = {
    "int_type": ("must be a whole number", "write one, without quotes or a point"),
    "int_from_float": ("must be a whole number", "write one, without a point"),
    "float_type": ("must be a number", "write one, without quotes"),
    "bool_type": ("must be true or false", "write one of them, without quotes"),
    "string_type": ("must be text", "put it in quotes, or correct it"),
    "string_unicode": ("must be text", "correct it"),
    "invalid_key": ("keys must be text", "put it in quotes, or correct it"),
    "dict_type": ("must be a mapping of keys to values", "give it keys"),
    "model_type": ("must be a mapping of keys to values", "give it keys"),
    "model_attributes_type": ("must be a mapping of keys to values", "give it keys"),
    "tuple_type": ("must be a list", "put it in [ ]"),
    "finite_number": ("must be a finite number", "change it"),
    "greater_than": ("must be above {gt}", "raise it"),
    "greater_than_equal": ("must be at least {ge}", "raise it"),
    "less_than": ("must be below {lt}", "lower it"),
    "less_than_equal": ("must be at most {le}", "lower it"),
    "too_short": ("must have at least {min_length} entry", "add one"),
    "too_long": ("must have at most {max_length} entries", "shorten it"),
    "value_error": ("{error}", "change it"),
}
PATTERNS = {
    STUDY_NAME: ("a study's name is 1 to 40 of a-z, 0-9 and -, not first a -", "rename it"),
    DATASET_NAME: ("a dataset's name is 1 to 40 of a-z, 0-9 and _, not first a _", "rename it"),
    FOLDER: ("must be null or a path without control characters, at most ~/ for the home folder", "change it"),
}


def explain(fault: Mapping[str, Any], root: type[Section]) -> list[str]:
    """Lines of: place, what is wrong, the rule, the mend."""
    place, expected = _place(fault["loc"], root)
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "misfit":
        return [f"{'.'.join(filter(None, (place, below)))}: {text}" for below, text in context["faults"]]
    if kind == "missing":
        return [f"{place}: missing; every number is in params.yaml, none has a default; add the key"]
    if kind == "extra_forbidden":
        known = _place(fault["loc"][:-1], root)[1].model_fields
        mend = closest(str(fault["loc"][-1]), known, "remove it")
        return [f"{place}: unknown key; the keys here are {', '.join(known)}; {mend}"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = context["discriminator"].strip("'")
        got = f"got {_shown(value[key])}" if key in value else "missing"
        return [f"{place}.{key}: {got}; {_one_of(_members(expected), value.get(key))}"]
    if kind == "literal_error":
        return [f"{place}: got {_shown(value)}; {_one_of(get_args(expected), value)}"]
    rule, mend = PATTERNS[context["pattern"]] if "pattern" in context else RULES.get(kind, ("{msg}", "change it"))
    return [f"{place}: got {_shown(value)}; {rule.format_map({**context, 'msg': fault['msg']})}; {mend}"]


def _place(location: tuple[int | str, ...], root: type[Section]) -> tuple[str, Any]:
    """Dotted place in the file, and the type that is declared for it."""
    place = ""
    kind: Any = root
    for index, part in enumerate(location):
        if members := _members(kind):  # pydantic puts the union's tag into the location; the file has no such level
            kind = members.get(part)
        elif not (part == "[key]" and index == len(location) - 1):  # pydantic's mark of a fault in the key itself
            place += f"[{part}]" if get_origin(kind) is tuple else f".{quoted_key(part)}"
            kind = _below(kind, part)
    return place.removeprefix("."), kind


def _below(kind: Any, part: int | str) -> Any:
    """The declared type of a section's field, a mapping's value or a list's entry."""
    if get_origin(kind) in (dict, tuple):
        kind = get_args(kind)[get_origin(kind) is dict]
    elif hasattr(kind, "model_fields") and part in kind.model_fields:
        kind = kind.model_fields[part].annotation
    else:
        return None
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _members(kind: Any) -> dict[Any, Any]:
    """The sections of a union by the tag that tells them apart; empty for every other type."""
    sections = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    fields = [(section, field) for section in sections for field in getattr(section, "model_fields", {}).values()]
    tags = [(get_args(field.annotation), section) for section, field in fields if _is_literal(field.annotation)]
    return {values[0]: section for values, section in tags if len(values) == 1}


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _one_of(known: Iterable[str], value: Any) -> str:
    """Rule and mend."""
    return f"must be one of {', '.join(known)}; {closest(str(value), known, 'choose one')}"


def closest(name: str, known: Iterable[str], otherwise: str) -> str:
    matches = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean `{matches[0]}`?" if matches else otherwise


def _shown(value: Any) -> str:
    """Roughly as the file has it, on one line, not too long."""
    if isinstance(value, dict | Section):
        return "a mapping" if value else "{}"
    text = f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
