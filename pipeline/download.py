"""Stage download: a dataset's four raw IDX files, verified, the same bytes whatever source they came from."""

from collections.abc import Callable
from pathlib import Path

from oneshot.checkpoint import write_whole
from oneshot.sources import fetch


def run(dataset: str, local_folder: Path | None, destination: Path, say: Callable[[str], None]) -> None:
    # All four are fetched before the first is written.
    for name, content in fetch(dataset, local_folder, say).items():
        write_whole(destination / name, content)
