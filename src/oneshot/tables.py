"""CSV and JSON as the project writes them: fixed column order, plain numbers, one newline style."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from oneshot.checkpoint import write_whole
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError

LARGEST = 1 << 30
"""Bytes of a table; a larger file is none of ours."""


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Raises OneshotError: 66 if the file is missing, 65 if it is no table with a cell for each column in each row."""
    reader = csv.DictReader(io.StringIO(_read(path)), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise _damaged(path, str(error)) from None
    if not reader.fieldnames or any(None in row or None in row.values() for row in rows):
        raise _damaged(path, "it must be a table with a cell for each column in each row")
    return rows


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Raises OneshotError: 66 if the file is missing, 65 if it is no JSON mapping of finite numbers."""
    try:
        content = json.loads(_read(path), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _damaged(path, "it must be a mapping")
    return content


@contextmanager
def of_one_run(address: str) -> Iterator[None]:
    """Raises OneshotError (65) where files of results lack what their stage writes."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        lack = f"{type(error).__name__} {error}"[:60]
        raise OneshotError(
            f"{address}: its results are damaged ({lack}); they must be as the stage wrote them; restore them from "
            f"git, or run `dvc repro -f {address}`",
            BAD_DATA,
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise _damaged(path, f"it must not have more than {LARGEST} bytes")
        return path.read_text()
    except OSError as error:
        raise OneshotError(
            f"{path}: {error.strerror}; an earlier stage writes it; run `dvc repro`", MISSING_INPUT
        ) from None
    except UnicodeDecodeError:
        raise _damaged(path, "it must be UTF-8 text") from None


def _damaged(path: Path, what: str) -> OneshotError:
    return OneshotError(f"{path}: damaged; {what}; delete it and run `dvc repro`", BAD_DATA)
