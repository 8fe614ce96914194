"""What a stage of a study is given: its params section, its paths, its space, and who listens."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from oneshot.data import Examples, load_split
from oneshot.machine import Machine
from oneshot.params import Dataset, Params, Study
from oneshot.space import SearchSpace, architecture_id
from pipeline.layout import Layout, StudyLayout, address

if TYPE_CHECKING:  # stages that train nothing need not depend on it
    from oneshot.jobs import Listener


@dataclass(frozen=True)
class Context:
    stage: str
    key: str
    """The study's name."""
    params: Params
    layout: Layout
    listener: "Listener"

    @property
    def address(self) -> str:
        return address(self.stage, self.key)

    @property
    def study(self) -> Study:
        return self.params.studies[self.key]

    @property
    def dataset_name(self) -> str:
        return self.params.run[self.key]

    @property
    def dataset(self) -> Dataset:
        return self.params.datasets[self.dataset_name]

    @property
    def dataset_folder(self) -> Path:
        return self.layout.dataset(self.dataset_name)

    @property
    def training_size(self) -> int:
        return self.params.training_size(self.key)

    @property
    def paths(self) -> StudyLayout:
        return self.layout.study(self.key)

    @cached_property
    def space(self) -> SearchSpace:
        return self.study.search_space()

    @property
    def names(self) -> list[str]:
        """The architectures' ids, in the space's order."""
        return [architecture_id(architecture) for architecture in self.space.architectures]

    def machine(self, threads: int) -> Machine:
        compute = self.params.compute
        return Machine.resolve(compute.device, compute.precision, threads)

    def load_split(self, machine: Machine) -> tuple[Examples, Examples]:
        """Images for training and for validation, on the machine's device."""
        return load_split(self.dataset_folder, self.dataset, self.training_size, machine.device)
