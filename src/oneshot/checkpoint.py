"""Files that are whole or absent: written aside, synced, then renamed. Weights travel as safetensors, never pickle."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, TRAINING, OneshotError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".checkpoint"
KEPT_EPOCHS = 2
LARGEST = 1 << 32
"""Bytes of a checkpoint; a larger file is no checkpoint."""
MARK = b'{"__metadata__":{"sha256":"'
"""How the header of weights begins, behind the eight bytes of its length: then comes the SHA-256, in hexadecimal, of
all that follows it, so that any reader of safetensors reads them and we can check them first."""
HASH_LINE = 65
"""Bytes of its first line: the SHA-256 of the rest, in hexadecimal."""

# What a disk that refuses needs.
MENDS = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "allow yourself to write there",
    errno.EPERM: "allow yourself to write there",
}


def write_whole(path: Path, content: bytes) -> None:
    """Raises OneshotError (exit 74) when the disk refuses; the file is then the earlier one, or none."""
    with _beside(path, len(content)) as aside:
        _write(aside, content)
        aside.replace(path)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A folder that appears with all its files at once. One that is already there is replaced: a process that dies
    meanwhile leaves the old one, the new one or none. Raises as `write_whole` does."""
    with _beside(path, sum(map(len, files.values()))) as aside:
        old, new = aside / "old", aside / "new"
        new.mkdir(parents=True)
        for name, content in files.items():
            _write(new / name, content)
        _sync(new)
        try:
            if path.exists():
                path.replace(old)
            new.replace(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.replace(path)
            raise


@contextlib.contextmanager
def _beside(path: Path, size: int) -> Iterator[Path]:
    """A free name in the folder of `path`, to write `size` bytes to and to rename; whatever is left there goes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield aside
        _sync(path.parent)
    except OSError as error:
        mend = MENDS.get(error.errno or 0, "mend the disk or the path")
        raise OneshotError(
            f"{path}: cannot be written: {error.strerror or error}; {size} bytes are needed there; {mend}", IO
        ) from None
    finally:
        _remove(aside)


def _write(path: Path, content: bytes) -> None:
    # Neither a file nor a link that is already there.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Makes the names in it last, as `fsync` of a file does its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it to folders
            raise
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Of writers of `path` that were killed: what they wrote beside it is named by their process."""
    name = re.compile(rf"\.{re.escape(path.name)}\.([1-9][0-9]{{0,8}})")
    with contextlib.suppress(OSError):  # whoever may not list a folder may write there
        for neighbour in path.parent.iterdir():
            if (match := name.fullmatch(neighbour.name)) and not _is_another(int(match[1])):
                _remove(neighbour)


def _is_another(process: int) -> bool:
    """Whether it lives and is not this one."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return process != os.getpid()


def _remove(path: Path) -> None:
    """File, folder or nothing; as well as it goes, since what matters is what stands at the final name."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def serialise(tensors: Mapping[str, "Tensor"]) -> bytes:
    """Equal tensors give equal bytes: sorted names, plain layout, a hash. Raises OneshotError (exit 1) unless all
    numbers are finite: the last step of an epoch may have ruined what its loss did not show."""
    import safetensors.torch  # imports torch, which takes seconds

    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    if ruined := [name for name, tensor in plain.items() if not tensor.isfinite().all()]:
        raise OneshotError(
            f"`{ruined[0]}` holds numbers that are not finite; no such state is kept; "
            "lower optimizer.lr or lengthen schedule.warmup in params.yaml",
            TRAINING,
        )
    content = safetensors.torch.save(plain, {"sha256": "0" * 64})
    hashed = content[8 + len(MARK) + 64 :]
    return content[:8] + MARK + sha256(hashed).encode() + hashed


def read_weights(path: Path) -> dict[str, "Tensor"]:
    """Checked, then mapped, not read: of a file that is too large, nothing but the names and shapes comes into memory
    before they are compared. Raises OneshotError: 66 if the file is missing, 65 if it is not what was written."""
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        _check_hash(path)
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
        return tensors
    except OSError:
        what = "cannot be read" if path.exists() else "no such file"
        raise OneshotError(f"{path}: {what}; the stage before writes it; run `dvc repro`", MISSING_INPUT) from None
    except (SafetensorError, ValueError) as error:
        raise OneshotError(
            f"{path}: damaged: {error}; it must be as its stage wrote it; delete it and run `dvc checkout`", BAD_DATA
        ) from None


def _check_hash(weights: Path) -> None:
    """Raises ValueError, or OSError, unless it is right. Nothing is parsed, or held in memory."""
    with weights.open("rb") as file:
        file.seek(8)
        if file.read(len(MARK)) != MARK:
            raise ValueError("it does not begin as weights with a hash do")
        written = file.read(64).decode(errors="replace")
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if written != found:
        raise ValueError(f"its SHA-256 is {found}, not {written!r}")


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
        own = self._own()
        for path in sorted(own, key=lambda path: own[path], reverse=True):
            try:
                return self._read(path, own[path])
            except (OSError, ValueError) as error:
                aside = path.with_suffix(".damaged")
                _remove(aside)
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

    def _own(self) -> dict[Path, int]:
        """This training's files, with their epochs."""
        name = re.compile(rf"{re.escape(self._fingerprint)}-([1-9][0-9]{{0,8}}){re.escape(SUFFIX)}")
        matches = {path: name.fullmatch(path.name) for path in self._folder.glob(f"*{SUFFIX}")}
        return {path: int(match[1]) for path, match in matches.items() if match}

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._fingerprint}-{epoch}{SUFFIX}"

    def _read(self, path: Path, epoch: int) -> Checkpoint:
        """Raises ValueError, or OSError, unless it is what was kept. Nothing is parsed, or held in memory, before its
        hash is found right."""
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError("no file, or one too large")
        with path.open("rb") as file:
            digest = file.readline(HASH_LINE)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != found.encode() + b"\n":
                raise ValueError(f"its SHA-256 is {found}, not {digest.strip()!r}")
            file.seek(HASH_LINE)
            return self._parse(file.readline(), file.read(), epoch)

    def _parse(self, header: bytes, weights: bytes, epoch: int) -> Checkpoint:
        import safetensors.torch
        from safetensors import SafetensorError

        try:
            content = json.loads(header)
            if (content["fingerprint"], content["epoch"]) != (self._fingerprint, epoch):
                raise ValueError("it is of another training or epoch")
            return Checkpoint(epoch, safetensors.torch.load(weights), content["record"])
        except (LookupError, TypeError, RecursionError, SafetensorError) as error:
            raise ValueError(f"not what was kept: {error}") from None
