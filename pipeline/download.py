"""Stage download: a dataset's four raw IDX files, verified, the same bytes whatever source they came from."""

from pathlib import Path

from oneshot.checkpoint import write_whole
from oneshot.sources import fetch


def run(dataset: str, local_folder: Path | None, destination: Path) -> None:
    # All four are fetched before the first is written.
    for name, content in fetch(dataset, local_folder).items():
        write_whole(destination / name, content)
