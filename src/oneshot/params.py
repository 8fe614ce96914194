"""`params.yaml` as typed, frozen sections. Every number of the project is in that file: no field has a default here.

Anything doubtful (unknown keys, wrong types, numbers out of bounds, layers that do not fit) is refused with one line
per fault, before any work starts.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from oneshot.blocks import AnyLayer, ClassifierLayer, LayerError
from oneshot.catalog import CATALOG, CLASSES
from oneshot.documents import load_document
from oneshot.errors import USAGE, OneshotError, quoted_key
from oneshot.faults import DATASET_NAME, FOLDER, STUDY_NAME, closest, explain, misfit
from oneshot.schema import Section, as_tuple
from oneshot.space import SearchSpace

INPUT_SHAPE = (1, 28, 28)
"""Channels, height, width of the images of every known dataset."""
TRAIN_IMAGES = 60_000

StudyName = Annotated[str, Field(pattern=STUDY_NAME)]
DatasetName = Annotated[str, Field(pattern=DATASET_NAME)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Dataset(Section):
    folder: Annotated[str, Field(pattern=FOLDER)] | None
    """Folder of local IDX files, raw or .gz, tried before any download; null for none."""
    validation_size: int = Field(ge=100, le=59_900)
    """Images for selection and curves, cut from the 60,000 training images; the rest is trained on."""
    split_seed: Seed
    """Which images: the split is a function of this number and the size alone."""


class Compute(Section):
    workers: int = Field(ge=1, le=64)
    """Standalone trainings side by side. Changes no result."""
    supernet_threads: int = Field(ge=1, le=64)
    """Threads of a supernet's training, of its evaluation and of the comparison. Each computes its part of a batch,
    with batch-norm statistics of its own in training: part of the result."""
    standalone_threads: int = Field(ge=1, le=64)
    """The same of one standalone training."""
    precision: Literal["auto", "fp32", "bf16"]
    """auto: bf16 where the processor has it natively."""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: cuda, then mps, then cpu."""


class Sgd(Section):
    name: Literal["sgd"]
    lr: float = Field(gt=0, le=10)
    """The highest learning rate, which the schedule scales."""
    momentum: float = Field(ge=0, lt=1)
    """Share of the last step that is kept; 0 for plain SGD."""
    nesterov: bool
    """Nesterov's form of momentum."""
    weight_decay: float = Field(ge=0, le=1)
    """Pull of every weight towards 0, of the path that a step trains alone."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Sgd":
        if self.nesterov and self.momentum == 0:
            raise misfit(("nesterov", "got true; nesterov needs a momentum above 0; raise it, or set nesterov: false"))
        return self


class Adadelta(Section):
    name: Literal["adadelta"]
    lr: float = Field(gt=0, le=10)
    """Factor of Adadelta's own step, which the schedule scales."""
    rho: float = Field(ge=0, lt=1)
    """Decay of its running averages."""
    weight_decay: float = Field(ge=0, le=1)
    """Pull of every weight towards 0, of the path that a step trains alone."""


class Schedule(Section):
    name: Literal["constant", "linear", "cosine"]
    """How the learning rate falls to 0 after the warm-up; constant: not at all."""
    warmup: float = Field(ge=0, lt=1)
    """Fraction of all steps in which it rises linearly from 0."""


class Recipe(Section):
    """How one network is trained. Both arms are trained by the same loop."""

    epochs: int = Field(ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(ge=1, le=50_000)
    """Images of one step; what is left of an epoch is dropped."""
    optimizer: Annotated[Sgd | Adadelta, Field(discriminator="name")]
    schedule: Schedule


class SupernetRecipe(Recipe):
    sampler: Literal["uniform", "cycle", "strict_fair", "sandwich"]
    """Which architectures a step trains. uniform: one, drawn anew; cycle: one, dealt from a shuffled deck of all;
    strict_fair: as many as give every choice of every block equally many turns; sandwich: the largest, the smallest and
    two others. The step's loss is the mean over them."""
    distillation: bool
    """For sandwich: the largest learns from the labels, the others from the largest's softmax in the same step."""

    @model_validator(mode="after")
    def _distillation_needs_the_largest(self) -> "SupernetRecipe":
        if self.distillation and self.sampler != "sandwich":
            rule = "only sandwich trains the largest in every step, to learn from"
            raise misfit(("distillation", f"got true; {rule}; set sampler: sandwich, or distillation: false"))
        return self


class Evaluate(Section):
    batch_size: int = Field(ge=1, le=50_000)
    """Images scored at once. Part of the result: another size, another rounding."""
    calibration_images: int = Field(ge=1, le=59_900)
    """Training images that batch-norm statistics are recomputed on, per subnet. Their activations are held in memory:
    at 16 channels 25 kB an image in bf16, a few layers at a time."""


class Compare(Section):
    bootstrap_samples: int = Field(ge=100, le=100_000)
    """Resamples of the test images behind the intervals."""
    bootstrap_seed: Seed
    precision_k: int = Field(ge=1, le=100)
    """The k of precision@k: how many of the k best standalones are among the k best subnets. At most all
    architectures count."""
    finetune_steps: int = Field(ge=0, le=1_000_000)
    """Steps that each subnet is trained on alone, by the standalone recipe, to see what of the gap closes; 0: off."""
    latency_batch: int = Field(ge=1, le=10_000)
    """Images of one timed forward pass."""
    latency_repeats: int = Field(ge=10, le=10_000)
    """Timed forward passes of each architecture."""


class Study(Section):
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=100)]
    """One supernet and one standalone of every architecture is trained for each."""
    space: Annotated[tuple[AnyLayer, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=200)]
    training_size: int | None = Field(ge=100, le=59_900)
    """Images that both arms train on; null for all that the validation split leaves."""
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
                raise misfit((f"space[{index}].classes", text))
        try:
            self.search_space()
        except LayerError as error:
            raise _space_misfit(f"space[{error.index}]", error.text) from None
        except ValueError as error:
            raise _space_misfit("space", str(error)) from None
        return self

    def search_space(self) -> SearchSpace:
        return SearchSpace(self.space, INPUT_SHAPE)


def _space_misfit(place: str, text: str) -> PydanticCustomError:
    rule, _, mend = text.partition("; ")  # the space may say what to do
    return misfit((place, f"does not fit; {rule}; {mend or 'change the layers'}"))


class Params(Section):
    run: Annotated[dict[StudyName, DatasetName], Field(min_length=1)]
    """study: dataset. What `dvc repro` builds; a study not named here is off."""
    datasets: dict[DatasetName, Dataset]
    compute: Compute
    studies: dict[StudyName, Study]

    @model_validator(mode="after")
    def _run_names_what_exists(self) -> "Params":
        if faults := [*self._unknown_names(), *self._sizes_above_the_data()]:
            raise misfit(*faults)
        return self

    def _unknown_names(self) -> Iterator[tuple[str, str]]:
        for dataset in self.datasets.keys() - CATALOG.keys():
            known = f"unknown dataset; known are {', '.join(CATALOG)}"
            yield f"datasets.{dataset}", f"{known}; {closest(dataset, CATALOG, 'use one of them')}"
        for study, dataset in self.run.items():
            if study not in self.studies:
                mend = closest(study, self.studies, "add it there, or correct the name")
                yield f"run.{study}", f"unknown study; a study that is run must stand in `studies`; {mend}"
            if dataset not in self.datasets:
                mend = closest(dataset, self.datasets, "add it there, or correct the name")
                yield f"run.{study}", f"unknown dataset `{dataset}`; a dataset must stand in `datasets`; {mend}"

    def training_size(self, study: str) -> int:
        """Images that a study of `run` trains on."""
        return self.studies[study].training_size or TRAIN_IMAGES - self.datasets[self.run[study]].validation_size

    def _sizes_above_the_data(self) -> Iterator[tuple[str, str]]:
        for name, dataset in self.run.items():
            if name in self.studies and dataset in self.datasets:
                study, left = self.studies[name], TRAIN_IMAGES - self.datasets[dataset].validation_size
                if (study.training_size or 0) > left:
                    rule = f"datasets.{dataset}.validation_size leaves {left} of the {TRAIN_IMAGES} training images"
                    yield f"studies.{name}.training_size", f"got {study.training_size}; {rule}; lower one"
                    continue
                images = self.training_size(name)
                sizes = {
                    "supernet.batch_size": study.supernet.batch_size,
                    "standalone.batch_size": study.standalone.batch_size,
                    "evaluate.calibration_images": study.evaluate.calibration_images,
                }
                for key, size in sizes.items():
                    if size > images:
                        rule = f"it must not be above the {images} images that the study trains on"
                        yield f"studies.{name}.{key}", f"got {size}; {rule}; lower it"


def load_params(path: Path) -> Params:
    """Validated params. Raises OneshotError whose lines name each fault's place, rule and mend."""
    document = load_document(path)
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise ParamsError(
            [f"{path.name}: {line}" for fault in error.errors() for line in explain(fault, Params)]
        ) from None


class ParamsError(OneshotError):
    """All faults of a params file, each a line of its own."""

    def __init__(self, faults: list[str]):
        super().__init__(faults[0], USAGE)
        self.faults = faults


def check_known(names: Iterable[str], section: str, known: Collection[str]) -> None:
    """Raises OneshotError (exit 2) for the first name that this section of params.yaml does not have."""
    for name in names:
        if name not in known:
            there = f"known: {', '.join(known)}; use one of them"
            raise OneshotError(f"{quoted_key(name)}: not in `{section}` of params.yaml; {there}", USAGE)
