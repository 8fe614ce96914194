"""Files that are whole or absent: written aside, synced, then renamed. Weights travel as safetensors, never pickle."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, OneshotError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".checkpoint"
KEPT_EPOCHS = 2
LARGEST = 1 << 32
"""Bytes of a checkpoint; a larger file is no checkpoint."""


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


@dataclass(frozen=True)
class Checkpoint:
    epoch: int
    tensors: Mapping[str, "Tensor"]
    record: Mapping[str, Any]


class Checkpoints:
    """A training's state after its last two epochs, each a file that is checked before it is believed.

    `fingerprint`: of everything that determines the result; a training of another one never goes on from here.
    """

    def __init__(self, folder: Path, fingerprint: str):
        self._folder, self._fingerprint = folder, fingerprint

    def keep(self, epoch: int, tensors: Mapping[str, "Tensor"], record: Mapping[str, Any]) -> None:
        header = {"fingerprint": self._fingerprint, "epoch": epoch, "record": record}
        body = json.dumps(header).encode() + b"\n" + serialise(tensors)
        write_whole(self._path(epoch), sha256(body).encode() + b"\n" + body)
        self._path(epoch - KEPT_EPOCHS).unlink(missing_ok=True)

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The last one that is whole; a damaged one is set aside, with a warning."""
        own = {path: int(path.stem.partition("-")[2]) for path in self._own()}
        for path in sorted(own, key=lambda path: own[path], reverse=True):
            try:
                return self._read(path, own[path])
            except (OSError, ValueError) as error:
                aside = path.with_suffix(".damaged")
                path.replace(aside)
                warn(f"warning: {aside}: damaged: {error}; it is not used, and what it held is trained again")
        if not own and any(self._folder.glob(f"*{SUFFIX}")):
            warn(f"{self._folder}: checkpoints of other params, data, code or threads; they are not used")
        return None

    def remove(self) -> None:
        for path in self._own():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are there
            self._folder.rmdir()

    def _own(self) -> list[Path]:
        return list(self._folder.glob(f"{self._fingerprint}-*{SUFFIX}"))

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._fingerprint}-{epoch}{SUFFIX}"

    def _read(self, path: Path, epoch: int) -> Checkpoint:
        """Raises ValueError, or OSError, unless it is what was kept."""
        import safetensors.torch

        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size} bytes")
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).encode() != digest:
            raise ValueError(f"its SHA-256 is {sha256(body)}, not {digest[:64].decode(errors='replace')}")
        header, _, weights = body.partition(b"\n")
        content = json.loads(header)
        if (content["fingerprint"], content["epoch"]) != (self._fingerprint, epoch):
            raise ValueError("it is of another training or epoch")
        return Checkpoint(epoch, safetensors.torch.load(weights), content["record"])
