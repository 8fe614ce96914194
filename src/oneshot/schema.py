"""The base of every params section: strict, frozen, no unknown keys, finite numbers only."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def as_tuple(value: Any) -> Any:
    """For a BeforeValidator: a list of the file becomes a tuple, since frozen sections hold no lists."""
    return tuple(value) if isinstance(value, list) else value
