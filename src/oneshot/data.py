"""IDX files to verified tensors in memory, the train and validation split, and batches.

Images stay uint8 until a batch is used: 47 MB instead of 188.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneshot.catalog import CATALOG, IMAGE_HEADER, LABEL_HEADER, Part, check_content, part_files
from oneshot.errors import MISSING_INPUT, OneshotError
from oneshot.params import Dataset
from oneshot.randomness import generator

SIDE = 28
PIECE = 1000  # images
Bytes = NDArray[numpy.uint8]


@dataclass(frozen=True)
class Examples:
    """images (count, 28, 28) uint8; labels (count,) int64; mean and standard deviation of the training pixels, 0..1."""

    images: Tensor
    labels: Tensor
    mean: float
    deviation: float

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor | slice) -> "Examples":
        # On a CPU brackets copy pixel by pixel, index_select image by image.
        images = self.images[index] if isinstance(index, slice) else self.images.index_select(0, index)
        return Examples(images, self.labels[index], self.mean, self.deviation)

    def to(self, device: str) -> "Examples":
        return Examples(self.images.to(device), self.labels.to(device), self.mean, self.deviation)

    def pixels(self) -> Tensor:
        """Normalised images (count, 1, 28, 28) float32."""
        return self.images.unsqueeze(1).float().mul_(1 / 255).sub_(self.mean).div_(self.deviation)

    def chunks(self, size: int) -> Iterator["Examples"]:
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


def load(folder: Path, part: Part, moments: tuple[float, float] | None = None) -> Examples:
    """One part ("train" or "t10k") of the dataset named by the folder. Raises OneshotError: 66 missing, 65 damaged."""
    contents = {kind: _read(folder / name) for kind, name in part_files(part).items()}
    images = contents["images"][IMAGE_HEADER:].reshape(-1, SIDE, SIDE)
    labels = contents["labels"][LABEL_HEADER:]
    mean, deviation = moments or _moments(images)
    return Examples(torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64), mean, deviation)


def load_split(folder: Path, section: Dataset, training_size: int, device: str = "cpu") -> tuple[Examples, Examples]:
    """Train and validation, cut from the training files; a function of the sizes and the section's seed alone.

    A process loads them once, however many networks it trains; processes forked from it share them.
    """
    training, validation = _load_split(folder, section, training_size)
    return training.to(device), validation.to(device)


@lru_cache(maxsize=1)
def _load_split(folder: Path, section: Dataset, training_size: int) -> tuple[Examples, Examples]:
    everything = load(folder, "train")
    order = torch.randperm(len(everything), generator=generator(section.split_seed, "split"))
    validation, train = order[: section.validation_size], order[section.validation_size :][:training_size]
    # Sorted, so that a split is a set: the order of training is the epochs' business.
    return everything.take(train.sort().values), everything.take(validation.sort().values)


def load_test(folder: Path, like: Examples) -> Examples:
    """The test images, normalised as the training images are. Only `compare` may call this."""
    return load(folder, "t10k", (like.mean, like.deviation))


def verify_training_files(folder: Path) -> dict[str, str]:
    """SHA-256 of the training files. Raises OneshotError as `load` does."""
    names = part_files("train").values()
    for name in names:
        _read(folder / name)
    return {name: CATALOG[folder.name].files[name].sha256 for name in names}


def _read(path: Path) -> Bytes:
    try:
        # One byte more than it must have tells a file that is too long, and no such file fills the memory.
        content = numpy.fromfile(path, numpy.uint8, CATALOG[path.parent.name].files[path.name].size + 1)
    except OSError as error:
        raise OneshotError(
            f"{path}: {error.strerror}; the dataset must be there; run `dvc repro download@{path.parent.name}`",
            MISSING_INPUT,
        ) from None
    check_content(path, content.size, hashlib.sha256(content.data).hexdigest())
    return content


def _moments(images: Bytes) -> tuple[float, float]:
    """Exact mean and standard deviation of all pixels, scaled to 0..1, by integer sums."""
    # Two pixels at a time, as one number of 16 bits, which is half the work. And piece by piece: bincount makes 8 bytes
    # of each number, and a process keeps the most memory that it ever had.
    pairs = numpy.zeros((256, 256), int)
    for start in range(0, len(images), PIECE):
        piece = images[start : start + PIECE].ravel().view(numpy.uint16)
        pairs += numpy.bincount(piece, minlength=pairs.size).reshape(pairs.shape)
    counts = pairs.sum(0) + pairs.sum(1)
    values = numpy.arange(256) / 255
    mean = float((counts * values).sum() / images.size)
    return mean, float(((counts * (values - mean) ** 2).sum() / images.size) ** 0.5)
