"""CSV and JSON as the project writes them: fixed column order, plain numbers, one newline style."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oneshot.checkpoint import write_whole
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_read(path))))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(_read(path))
        return content
    except json.JSONDecodeError as error:
        raise OneshotError(f"{path}: not JSON: {error}; delete it and run `dvc repro`", BAD_DATA) from None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise OneshotError(
            f"{path}: {error.strerror}; an earlier stage writes it; run `dvc repro`", MISSING_INPUT
        ) from None
    except UnicodeDecodeError:
        raise OneshotError(f"{path}: damaged; it must be UTF-8 text; delete it and run `dvc repro`", BAD_DATA) from None
