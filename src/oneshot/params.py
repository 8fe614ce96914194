"""`params.yaml` as typed, frozen sections. Every number of the project is in that file: no field has a default here.

Read as YAML 1.2, as DVC does. Anything doubtful (anchors, tags, duplicate or unknown keys, wrong types, numbers out of
bounds, layers that do not fit) is refused with one line per fault, before any work starts.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, ScalarEvent
from ruamel.yaml.reader import ReaderError

from oneshot.blocks import AnyLayer, ClassifierLayer
from oneshot.catalog import CATALOG
from oneshot.errors import MISSING_INPUT, USAGE, OneshotError
from oneshot.schema import Section
from oneshot.space import SearchSpace

INPUT_SHAPE = (1, 28, 28)
"""Channels, height, width of the images of every known dataset."""
CLASSES = 10
TRAIN_IMAGES = 60_000
MAX_BYTES, MAX_DEPTH, MAX_SCALAR = 65_536, 20, 1000

# The names of studies and datasets become folders, and MLflow experiments.
STUDY_NAME, DATASET_NAME = r"^[a-z0-9][a-z0-9-]{0,39}$", r"^[a-z0-9][a-z0-9_]{0,39}$"
FOLDER = r"^(~(/[^\x00-\x1f\x7f]*)?|[^~\x00-\x1f\x7f][^\x00-\x1f\x7f]*)$"
StudyName = Annotated[str, Field(pattern=STUDY_NAME)]
DatasetName = Annotated[str, Field(pattern=DATASET_NAME)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _misfit(*faults: tuple[str, str]) -> PydanticCustomError:
    """Keys that do not go together: for each fault its place below the section, and `what; rule; mend`."""
    return PydanticCustomError("misfit", "{text}", {"faults": faults, "text": " | ".join(text for _, text in faults)})


class Dataset(Section):
    folder: Annotated[str, Field(pattern=FOLDER)] | None
    """Folder of local IDX files, raw or .gz, tried before any download; null for none."""
    training_size: int = Field(ge=100, le=59_900)
    """Images trained on, cut from the 60,000 training images."""
    validation_size: int = Field(ge=100, le=59_900)
    """Images for selection and curves, cut from the same 60,000 and disjoint from the former."""
    split_seed: Seed
    """Which images: the split is a function of these numbers alone."""

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        total = self.training_size + self.validation_size
        if total > TRAIN_IMAGES:
            raise _misfit(
                ("", f"training_size + validation_size = {total}; there are {TRAIN_IMAGES} training images; lower one")
            )
        return self


class Compute(Section):
    workers: int = Field(ge=1, le=64)
    """Standalone trainings side by side. Changes no result."""
    supernet_threads: int = Field(ge=1, le=64)
    """Threads of a supernet's training and of every evaluation. Part of the result: other threads, other rounding."""
    standalone_threads: int = Field(ge=1, le=64)
    """Threads of one standalone training. Part of the result."""
    precision: Literal["auto", "fp32", "bf16"]
    """auto: bf16 where the processor has it natively."""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: cuda, then mps, then cpu."""


class Sgd(Section):
    name: Literal["sgd"]
    lr: float = Field(gt=0, le=10)
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool
    weight_decay: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Sgd":
        if self.nesterov and self.momentum == 0:
            raise _misfit(("nesterov", "got true; nesterov needs a momentum above 0; raise it, or set nesterov: false"))
        return self


class Adadelta(Section):
    name: Literal["adadelta"]
    lr: float = Field(gt=0, le=10)
    rho: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)


class Schedule(Section):
    name: Literal["constant", "linear", "cosine"]
    """How the learning rate falls to 0 after the warm-up; constant: not at all."""
    warmup: float = Field(ge=0, lt=1)
    """Fraction of all steps in which it rises linearly from 0."""


class Recipe(Section):
    """How one network is trained. Both arms are trained by the same loop."""

    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(ge=1, le=50_000)
    optimizer: Annotated[Sgd | Adadelta, Field(discriminator="name")]
    schedule: Schedule


class SupernetRecipe(Recipe):
    sampler: Literal["uniform", "cycle"]
    """Which architecture a step trains. uniform: drawn anew; cycle: dealt from a shuffled deck of all."""


class Evaluate(Section):
    batch_size: int = Field(ge=1, le=50_000)
    """Images scored at once. Part of the result: another size, another rounding."""
    calibration_images: int = Field(ge=1, le=59_900)
    """Training images that batch-norm statistics are recomputed on, per subnet."""


class Compare(Section):
    bootstrap_samples: int = Field(ge=100, le=100_000)
    """Resamples of the test images behind the intervals."""
    bootstrap_seed: Seed


class Study(Section):
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=100)]
    """One supernet and one standalone of every architecture is trained for each."""
    space: Annotated[tuple[AnyLayer, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=200)]
    supernet: SupernetRecipe
    standalone: Recipe
    evaluate: Evaluate
    compare: Compare

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds must differ from each other")
        return seeds

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        for index, layer in enumerate(self.space):
            if isinstance(layer, ClassifierLayer) and layer.classes < CLASSES:
                text = f"got {layer.classes}; the datasets have {CLASSES} classes; give the classifier as many"
                raise _misfit((f"space[{index}].classes", text))
        try:
            self.search_space()
        except ValueError as error:
            # The space names the layer by its index, and may say what to do.
            layer_index, text = re.fullmatch(r"(?:layer (\d+): )?(.*)", str(error)).groups()  # type: ignore[union-attr]
            rule, _, mend = text.partition("; ")
            place = f"space[{layer_index}]" if layer_index else "space"
            raise _misfit((place, f"does not fit; {rule}; {mend or 'change the layers'}")) from None
        return self

    def search_space(self) -> SearchSpace:
        return SearchSpace(self.space, INPUT_SHAPE)


class Params(Section):
    run: Annotated[dict[StudyName, DatasetName], Field(min_length=1)]
    """study: dataset. What `dvc repro` builds; a study not named here is off."""
    datasets: dict[DatasetName, Dataset]
    compute: Compute
    studies: dict[StudyName, Study]

    @model_validator(mode="after")
    def _run_names_what_exists(self) -> "Params":
        if faults := [*self._unknown_names(), *self._sizes_above_the_data()]:
            raise _misfit(*faults)
        return self

    def _unknown_names(self) -> Iterator[tuple[str, str]]:
        for dataset in self.datasets.keys() - CATALOG.keys():
            known = f"unknown dataset; known are {', '.join(CATALOG)}"
            yield f"datasets.{dataset}", f"{known}; {_closest(dataset, CATALOG, 'use one of them')}"
        for study, dataset in self.run.items():
            if study not in self.studies:
                mend = _closest(study, self.studies, "add it there, or correct the name")
                yield f"run.{study}", f"unknown study; a study that is run must stand in `studies`; {mend}"
            if dataset not in self.datasets:
                mend = _closest(dataset, self.datasets, "add it there, or correct the name")
                yield f"run.{study}", f"unknown dataset `{dataset}`; a dataset must stand in `datasets`; {mend}"

    def _sizes_above_the_data(self) -> Iterator[tuple[str, str]]:
        for name, dataset in self.run.items():
            if name in self.studies and dataset in self.datasets:
                study, images = self.studies[name], self.datasets[dataset].training_size
                sizes = {
                    "supernet.batch_size": study.supernet.batch_size,
                    "standalone.batch_size": study.standalone.batch_size,
                    "evaluate.calibration_images": study.evaluate.calibration_images,
                }
                rule = f"it must not be above datasets.{dataset}.training_size, which is {images}"
                for key, size in sizes.items():
                    if size > images:
                        yield f"studies.{name}.{key}", f"got {size}; {rule}; lower it"


def load_document(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The file as plain dicts and lists. Raises OneshotError, naming the line, for what YAML 1.2 or we refuse."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise OneshotError(f"{path.name}: no such file; run this in the project's folder", MISSING_INPUT) from None
    except OSError as error:
        raise OneshotError(f"{path.name}: cannot be read: {error.strerror}; check the file", MISSING_INPUT) from None
    if len(data) > limit:
        raise OneshotError(f"{path.name}: {len(data)} bytes; at most {limit} are read; shorten it", USAGE)
    text = data.decode("utf-8", errors="surrogateescape")  # ruamel.yaml refuses what that leaves
    try:
        _refuse_doubtful_yaml(path.name, text)
        document = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise OneshotError(f"{path.name}{_explain_yaml(error, text)}", USAGE) from None
    if not isinstance(document, dict):
        kind = {"NoneType": "nothing", "list": "a list"}.get(type(document).__name__, "a single value")
        raise OneshotError(f"{path.name}: holds {kind}; the file must be one mapping of keys; see README.md", USAGE)
    return document


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)


def load_params(path: Path) -> Params:
    """Validated params. Raises OneshotError whose lines name each fault's place, rule and mend."""
    document = load_document(path)
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise ParamsError([f"{path.name}: {line}" for fault in error.errors() for line in _explain(fault)]) from None


class ParamsError(OneshotError):
    """All faults of a params file, each a line of its own."""

    def __init__(self, faults: list[str]):
        super().__init__(faults[0], USAGE)
        self.faults = faults


def _refuse_doubtful_yaml(name: str, text: str) -> None:
    """What YAML allows and we do not: the text shall mean what it shows, and be small."""
    depth = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
        documents += isinstance(event, DocumentStartEvent)
        if documents > 1:
            problem = "a second document begins; the file must be one; delete the line that begins it"
        elif isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            problem = "a directive above; the file is read as YAML 1.2 without any; delete the lines that begin with %"
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


def _explain_yaml(error: Exception, text: str) -> str:
    """The line's number where it is known, then what is wrong, the rule, the mend."""
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f":{line}: a byte or character that is not printable text; the file must be UTF-8; retype that line"
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        problem = str(error).partition("\n")[0]
        return f": {problem}; the file must be YAML 1.2; correct it"
    line, problem = error.problem_mark.line + 1, error.problem or error.context or "not YAML"
    if isinstance(error, DuplicateKeyError):
        key = problem.removeprefix('found duplicate key "').partition('" with value')[0]
        return f":{line}: duplicate key {_key(key)}; a section has each key once; delete one of them"
    if "'\\t'" in problem:
        return f":{line}: a tab; YAML is indented with spaces; replace it"
    return f":{line}: {problem.splitlines()[0]}; the file must be YAML 1.2; correct that line"


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


def _explain(fault: Mapping[str, Any]) -> list[str]:
    """Lines of: place, what is wrong, the rule, the mend."""
    place, expected = _place(fault["loc"])
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "misfit":
        return [f"{'.'.join(filter(None, (place, below)))}: {text}" for below, text in context["faults"]]
    if kind == "missing":
        return [f"{place}: missing; every number is in params.yaml, none has a default; add the key"]
    if kind == "extra_forbidden":
        known = _place(fault["loc"][:-1])[1].model_fields
        mend = _closest(str(fault["loc"][-1]), known, "remove it")
        return [f"{place}: unknown key; the keys here are {', '.join(known)}; {mend}"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = context["discriminator"].strip("'")
        got = f"got {_shown(value[key])}" if key in value else "missing"
        return [f"{place}.{key}: {got}; {_one_of(_members(expected), value.get(key))}"]
    if kind == "literal_error":
        return [f"{place}: got {_shown(value)}; {_one_of(get_args(expected), value)}"]
    rule, mend = PATTERNS[context["pattern"]] if "pattern" in context else RULES.get(kind, ("{msg}", "change it"))
    return [f"{place}: got {_shown(value)}; {rule.format_map({**context, 'msg': fault['msg']})}; {mend}"]


def _place(location: tuple[int | str, ...]) -> tuple[str, Any]:
    """Dotted place in the file, and the type that is declared for it."""
    place = ""
    kind: Any = Params
    for index, part in enumerate(location):
        if members := _members(kind):  # pydantic puts the union's tag into the location; the file has no such level
            kind = members.get(part)
        elif not (part == "[key]" and index == len(location) - 1):  # pydantic's mark of a fault in the key itself
            place += f"[{part}]" if get_origin(kind) is tuple else f".{_key(part)}"
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
    return f"must be one of {', '.join(known)}; {_closest(str(value), known, 'choose one')}"


def _closest(name: str, known: Iterable[str], otherwise: str) -> str:
    matches = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean `{matches[0]}`?" if matches else otherwise


def _key(key: Any) -> str:
    """As it is if it is plain, else in quotes, so that no key forges a line, a dot or a colour."""
    return str(key) if re.fullmatch(r"[\w-]+", str(key), re.ASCII) else json.dumps(str(key))


def _shown(value: Any) -> str:
    """Roughly as the file has it, on one line, not too long."""
    if isinstance(value, dict | Section):
        return "a mapping"
    text = f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
