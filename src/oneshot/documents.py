"""YAML files as plain data: read as YAML 1.2 by libyaml, as DVC does, and refused where the text would not mean what it
shows."""

import copy
import functools
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, ScalarEvent
from ruamel.yaml.reader import ReaderError

from oneshot.errors import MISSING_INPUT, USAGE, OneshotError, quoted_key

MAX_BYTES, MAX_DEPTH, MAX_SCALAR = 65_536, 20, 1000
OPENED = {
    "while parsing a flow sequence": "a [",
    "while parsing a flow mapping": "a {",
    "while scanning a quoted scalar": "a quotation mark",
}
"""ruamel.yaml's words for what it was within, which may have begun far above the line where it stopped."""


def load_document(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The file as plain dicts and lists. Raises OneshotError, naming the line, for what YAML 1.2 or we refuse."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)  # never all of what is too long
            size = max(len(data), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise OneshotError(f"{path.name}: no such file; run this in the project's folder", MISSING_INPUT) from None
    except OSError as error:
        raise OneshotError(f"{path.name}: cannot be read: {error.strerror}; check the file", MISSING_INPUT) from None
    if size > limit:
        raise OneshotError(f"{path.name}: {size} bytes; at most {limit} are read; shorten it", USAGE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OneshotError(f"{path.name}{_not_text(data, error.start)}", USAGE) from None
    return copy.deepcopy(_parse(path.name, text))


@functools.lru_cache  # a stage reads its files before and after its work, and a parse takes a while
def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        _refuse_doubtful_yaml(name, text)
        document = YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        raise OneshotError(f"{name}{_explain_yaml(error, text)}", USAGE) from None
    if not isinstance(document, dict):
        kind = {"NoneType": "nothing", "list": "a list"}.get(type(document).__name__, "a single value")
        raise OneshotError(f"{name}: holds {kind}; the file must be one mapping of keys; see README.md", USAGE)
    return document


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)


def rewrite_document(source: Path, target: Path, change: Callable[[Any], None]) -> None:
    """Writes what `change` makes of a document that `load_document` takes; comments and order stay."""
    editor = YAML(typ="rt", pure=True)
    editor.width = 1000  # wraps no line
    document = editor.load(source)
    change(document)
    editor.dump(document, target)


def set_off(document: Any, key: str) -> None:
    """An empty line before a key of what `rewrite_document` changes."""
    document.yaml_set_comment_before_after_key(key, before="\n")


def dump_document(document: Mapping[str, Any]) -> str:
    """As text, keys in their own order."""
    writer = YAML(typ="safe", pure=True)
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    writer.dump(document, text)
    return text.getvalue()


def _refuse_doubtful_yaml(name: str, text: str) -> None:
    """What YAML allows and we do not: the text shall mean what it shows, and be small."""
    depth = documents = 0
    for event in YAML(typ="safe").parse(text):
        depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
        documents += isinstance(event, DocumentStartEvent)
        if documents > 1:
            problem = "a second document begins; the file must be one; delete the line that begins it"
        elif isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            problem = "a directive; the file is read as YAML 1.2 without any; delete the lines that begin with %"
        elif isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            problem = "an anchor or alias; `dvc exp run -S` would lose edits below it; write the values out"
        elif isinstance(event, ScalarEvent) and event.value == "<<":
            problem = "a merge key; `dvc exp run -S` would lose edits below it; write the values out"
        elif getattr(event, "tag", None):
            problem = "a tag; values are plain; delete it"
        elif isinstance(event, ScalarEvent) and len(event.value) > MAX_SCALAR:
            problem = f"a value of {len(event.value)} characters; at most {MAX_SCALAR} are read; shorten it"
        elif depth > MAX_DEPTH:
            problem = f"too deep; at most {MAX_DEPTH} levels are read; flatten it"
        else:
            continue
        raise OneshotError(f"{name}:{event.start_mark.line + 1}: {problem}", USAGE)


def _not_text(data: bytes, position: int) -> str:
    line = data.count(b"\n", 0, position) + 1
    return f":{line}: a byte or character that is not printable text; the file must be UTF-8; retype that line"


def _explain_yaml(error: Exception, text: str) -> str:
    """The line's number where it is known, then what is wrong, the rule, the mend."""
    if isinstance(error, ReaderError):
        return _not_text(text.encode(), error.position)
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        problem = str(error).partition("\n")[0]
        return f": {problem}; the file must be YAML 1.2; correct it"
    line, problem = error.problem_mark.line + 1, error.problem or error.context or "not YAML"
    if error.context in OPENED and error.context_mark and (begun := error.context_mark.line + 1) < line:
        opened = f"{OPENED[error.context]} is opened here, and not closed before line {line}"
        return f":{begun}: {opened}; what is opened must be closed; close it, or correct line {line}"
    if isinstance(error, DuplicateKeyError):
        key = problem.removeprefix('found duplicate key "').partition('" with value')[0]
        return f":{line}: duplicate key {quoted_key(key)}; a section has each key once; delete one of them"
    if text.startswith("\t", error.problem_mark.index):
        return f":{line}: a tab; YAML is indented with spaces; replace it"
    if error.context == "while scanning a simple key" and error.context_mark:
        line = error.context_mark.line + 1  # it looks for the colon on the next one, too
    return f":{line}: {problem.splitlines()[0]}; the file must be YAML 1.2; correct that line"
