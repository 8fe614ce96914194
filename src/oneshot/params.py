"""`params.yaml` as typed, frozen sections. Every number of the project is in that file: no field has a default here.

Read as YAML 1.2, as DVC does. Anything doubtful (anchors, tags, duplicate or unknown keys, wrong types, numbers out of
bounds, layers that do not fit) is refused with one line per fault, before any work starts.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent

from oneshot.blocks import AnyLayer, ClassifierLayer
from oneshot.catalog import CATALOG
from oneshot.errors import MISSING_INPUT, USAGE, OneshotError
from oneshot.schema import Section
from oneshot.space import SearchSpace

INPUT_SHAPE = (1, 28, 28)
"""Channels, height, width of the images of every known dataset."""
CLASSES = 10
TRAIN_IMAGES = 60_000
MAX_BYTES, MAX_DEPTH = 65_536, 20

# The names of studies and datasets become folders, and MLflow experiments.
StudyName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Dataset(Section):
    folder: str | None
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
            raise ValueError(f"training_size + validation_size = {total}; at most the {TRAIN_IMAGES} training images")
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
            raise ValueError("nesterov needs a momentum above 0")
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

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from each other")
        classifier = self.space[-1]
        if isinstance(classifier, ClassifierLayer) and classifier.classes < CLASSES:
            raise ValueError(f"space: the classifier needs at least the {CLASSES} classes of the datasets")
        try:
            self.search_space()
        except ValueError as error:
            raise ValueError(f"space: {error}") from None
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
        for dataset in self.datasets:
            if dataset not in CATALOG:
                raise ValueError(f"datasets: `{dataset}` is not one of {', '.join(CATALOG)}; use a known dataset")
        for study, dataset in self.run.items():
            if study not in self.studies:
                raise ValueError(f"run: study `{study}` is not in `studies`; {_closest(study, self.studies)}")
            if dataset not in self.datasets:
                raise ValueError(f"run: dataset `{dataset}` is not in `datasets`; {_closest(dataset, self.datasets)}")
            self._check_sizes(study, self.datasets[dataset].training_size)
        return self

    def _check_sizes(self, study: str, images: int) -> None:
        section = self.studies[study]
        sizes = {
            "supernet.batch_size": section.supernet.batch_size,
            "standalone.batch_size": section.standalone.batch_size,
            "evaluate.calibration_images": section.evaluate.calibration_images,
        }
        for key, size in sizes.items():
            if size > images:
                raise ValueError(f"studies.{study}.{key}: {size} is more than the {images} training images")


def load_document(path: Path) -> dict[str, Any]:
    """The file as plain dicts and lists. Raises OneshotError, naming the line, for what YAML 1.2 or we refuse."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise OneshotError(f"{path.name}: no such file; run this in the project's folder", MISSING_INPUT) from None
    except OSError as error:
        raise OneshotError(f"{path.name}: cannot be read: {error.strerror}; check the file", MISSING_INPUT) from None
    if len(data) > MAX_BYTES:
        raise OneshotError(f"{path.name}: {len(data)} bytes; at most {MAX_BYTES} are read; shorten it", USAGE)
    try:
        _refuse_doubtful_yaml(path.name, data)
        document = YAML(typ="safe", pure=True).load(data)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = (error.problem or error.context or "not YAML").splitlines()[0]
        raise OneshotError(
            f"{path.name}{line}: {problem}; the file must be YAML 1.2; correct that line", USAGE
        ) from None
    except (YAMLError, UnicodeError, ValueError) as error:
        problem = str(error).strip().splitlines()[0]
        raise OneshotError(f"{path.name}: not YAML 1.2: {problem}; correct it", USAGE) from None
    if not isinstance(document, dict):
        kind = type(document).__name__.replace("NoneType", "an empty file")
        raise OneshotError(f"{path.name}: found {kind}; the file must be one mapping; see README", USAGE)
    return document


def load_params(path: Path) -> Params:
    """Validated params. Raises OneshotError whose lines name each fault's place, rule and mend."""
    document = load_document(path)
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        faults = [f"{path.name}: {_explain(fault, document)}" for fault in error.errors()]
        raise ParamsError(faults) from None


class ParamsError(OneshotError):
    """All faults of a params file, each a line of its own."""

    def __init__(self, faults: list[str]):
        super().__init__(faults[0], USAGE)
        self.faults = faults


def _refuse_doubtful_yaml(name: str, data: bytes) -> None:
    """Anchors and aliases (`dvc exp run -S` loses edits below them), merge keys, tags, deep nesting."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(data):
        depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
        where = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise OneshotError(f"{where}: YAML anchors and aliases are refused; write the values out", USAGE)
        if isinstance(event, ScalarEvent) and event.value == "<<":
            raise OneshotError(f"{where}: YAML merge keys are refused; write the values out", USAGE)
        if getattr(event, "tag", None):
            raise OneshotError(f"{where}: YAML tags are refused; write a plain value", USAGE)
        if depth > MAX_DEPTH:
            raise OneshotError(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it", USAGE)


def _explain(fault: Mapping[str, Any], document: Any) -> str:
    """One line: place, what is wrong, the rule, the mend."""
    place, siblings = _place(fault["loc"], document)
    kind, message, value = fault["type"], fault["msg"], fault["input"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key; {_closest(place.rpartition('.')[2], _known_keys(), 'remove it')}"
    if kind == "missing":
        return f"{place}: missing; every number is in params.yaml, none has a default; add the key"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = fault["ctx"]
        key = context["discriminator"].strip("'")
        found = f"got `{siblings.get(key)}`" if isinstance(siblings, dict) and key in siblings else "it is missing"
        expected = context.get("expected_tags", "one of the known kinds")
        return f"{place}.{key}: {found}; must be one of {expected or 'the known kinds'}; choose one"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        shown = "" if isinstance(value, dict | Section) else f", got {_shown(value)}"
        return f"{place + ': ' if place else ''}{message}{shown}; change it"
    if kind == "string_pattern_mismatch":
        message = "Names are 1 to 40 of a-z, 0-9 and - (studies) or _ (datasets)"
    rule = message[0].lower() + message[1:]
    return f"{place}: {rule}, got {_shown(value)}; change it"


def _place(location: tuple[int | str, ...], document: Any) -> tuple[str, Any]:
    """Dotted place in the file, and the node there. pydantic mixes union tags into a location; those are left out."""
    node, place = document, ""
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(part, int) and isinstance(node, list) and part < len(node):
            node, place = node[part], f"{place}[{part}]"
        elif isinstance(node, dict) and (part in node or (last and part != "[key]")):
            node, place = node.get(part), f"{place}.{part}"
    return place.removeprefix("."), node


def _known_keys(section: type[Section] = Section) -> set[str]:
    """Every key of every section."""
    return set(section.model_fields).union(*(_known_keys(child) for child in section.__subclasses__()))


def _closest(name: str, known: Any, otherwise: str = "add it or correct the name") -> str:
    matches = difflib.get_close_matches(name, [str(key) for key in known], 1)
    return f"did you mean `{matches[0]}`?" if matches else otherwise


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
