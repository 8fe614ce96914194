"""Differences between what was expected and what is found, each by its place: of files, of params, of metrics."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.lockfile import Locked

NOTHING = "nothing"


@dataclass(frozen=True)
class Difference:
    """Of a file, by hash, or of a param or metric, by value."""

    name: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        expected, found = (
            value if isinstance(value, str) else json.dumps(value) for value in (self.expected, self.found)
        )
        return f"{self.name}: expected {expected}, found {found}"


def changed_params(document: Mapping[str, Any], locked: Locked) -> list[Difference]:
    """Those of a stage that are no longer what dvc.lock says; `document`: params.yaml."""
    return [
        difference
        for name, value in locked.params.items()
        for difference in differing_values("params.yaml", name, value, param_at(document, name))
    ]


def param_at(document: Mapping[str, Any], name: str) -> Any:
    """By dotted key; None where there is nothing."""
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def differing_values(where: str, place: str, expected: Any, found: Any) -> list[Difference]:
    """Of numbers and texts in mappings and lists, by their place in a file."""
    before, after = ({f"{where}: {name}": leaf for name, leaf in leaves(place, value)} for value in (expected, found))
    return differing(before, after)


def differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[Difference]:
    pairs = ((name, expected.get(name, NOTHING), found.get(name, NOTHING)) for name in {**expected, **found})
    return [Difference(name, before, after) for name, before, after in pairs if before != after]


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from leaves(f"{name}.{key}".lstrip("."), below)
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from leaves(f"{name}[{index}]", below)
    else:
        yield name, value
