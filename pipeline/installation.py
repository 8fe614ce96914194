"""Part of command doctor: are the tools, packages and code that run those that the project names?"""

import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.dvcfile import CODE, file_md5
from pipeline.layout import Layout

SHOWN = 3
CODE_FOLDERS = ("pipeline", "src/oneshot")


def some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def tool_faults(_: Layout) -> Iterator[str]:
    """DVC runs the stages as `oneshot <stage>`, by name."""
    for tool in ("dvc", "oneshot"):
        if shutil.which(tool) is None:
            yield f"{tool}: not on the PATH; `dvc repro` needs it; run `make env`, then `source .venv/bin/activate`"


def package_faults(layout: Layout) -> Iterator[str]:
    """A project without pins, such as a demo, has none to keep to."""
    from packaging.requirements import InvalidRequirement, Requirement

    path = layout.root / "requirements.lock"
    if not path.exists():
        return
    lines = [line.rstrip("\\ ") for line in path.read_text(errors="replace").splitlines() if line[:1].isalnum()]
    try:
        pins = [Requirement(line) for line in lines]
    except InvalidRequirement as error:
        yield f"requirements.lock: damaged: {str(error).splitlines()[0]}; `make lock` writes it; restore it from git"
        return
    others = []
    for pin in pins:
        if pin.marker is None or pin.marker.evaluate():
            installed = _installed(pin.name)
            if installed is None:
                others.append(f"{pin.name} is not installed")
            elif not pin.specifier.contains(installed, prereleases=True):
                others.append(f"{pin.name} is {installed}, not {pin.specifier}")
    if others:
        yield f"requirements.lock: {some(others)}; results are those of the pinned packages; run `make env`"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def code_faults(layout: Layout) -> Iterator[str]:
    """The console script runs the code that it was installed from; DVC hashes the code of this folder."""
    installed = Path(__file__).parents[1]
    files = [file for folder in CODE_FOLDERS for file in sorted((layout.root / folder).rglob("*"))]
    others = [
        name.as_posix()
        for name in (file.relative_to(layout.root) for file in files if file.suffix in CODE)
        if not (installed / name).is_file() or file_md5(installed / name) != file_md5(layout.root / name)
    ]
    if others:
        rule = "dvc.lock must name the code that runs"
        yield f"{some(others)}: not what is installed, from {installed}; {rule}; run `make env` here"
