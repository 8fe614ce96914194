"""Files that are whole or absent: written aside, synced, then renamed. Weights travel as safetensors, never pickle."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, OneshotError

if TYPE_CHECKING:
    from torch import Tensor


def write_whole(path: Path, content: bytes) -> None:
    """Raises OneshotError (exit 74) when the disk refuses; an earlier file stays as it was."""
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        aside = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)  # mkstemp gives 0600
        aside.replace(path)
    except OSError as error:
        if aside:
            aside.unlink(missing_ok=True)
        raise OneshotError(
            f"{path}: cannot be written: {error.strerror}; {len(content)} bytes are needed; free the space or the path",
            IO,
        ) from None


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A folder that appears with all its files at once; one that is already there is replaced."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    for name, content in files.items():
        write_whole(aside / name, content)
    shutil.rmtree(path, ignore_errors=True)
    aside.replace(path)


def serialise(tensors: Mapping[str, "Tensor"]) -> bytes:
    """Equal tensors give equal bytes: sorted names, plain layout, no metadata."""
    import safetensors.torch  # imports torch, which takes seconds

    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    return safetensors.torch.save(plain)


def read_weights(path: Path) -> dict[str, "Tensor"]:
    """Raises OneshotError: 66 if the file is missing, 65 if it is not whole."""
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise OneshotError(
            f"{path}: {error.strerror}; the stage before writes it; run `dvc repro`", MISSING_INPUT
        ) from None
    except SafetensorError as error:
        raise OneshotError(
            f"{path}: damaged: {error}; it must be a whole safetensors file; delete it and run `dvc checkout`", BAD_DATA
        ) from None


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
