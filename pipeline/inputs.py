"""What a training is given, wherever it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from oneshot.data import Examples, load_split
from oneshot.machine import Machine
from oneshot.params import Dataset, Evaluate, Recipe
from pipeline.context import Context

Network = TypeVar("Network")
OwnRecipe = TypeVar("OwnRecipe", bound=Recipe)


@dataclass(frozen=True)
class Inputs(Generic[Network, OwnRecipe]):
    """network: what it is built from, a space or a path."""

    network: Network
    recipe: OwnRecipe
    evaluate: Evaluate
    folder: Path
    dataset: Dataset
    training_size: int
    machine: Machine

    @classmethod
    def of(
        cls, context: Context, network: Network, recipe: OwnRecipe, machine: Machine
    ) -> "Inputs[Network, OwnRecipe]":
        evaluate, folder = context.study.evaluate, context.dataset_folder
        return cls(network, recipe, evaluate, folder, context.dataset, context.training_size, machine)

    def load(self) -> tuple[Examples, Examples]:
        """Images for training and for validation."""
        return load_split(self.folder, self.dataset, self.training_size, self.machine.device)
