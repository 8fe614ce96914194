"""Files are whole or absent, and equal tensors are equal bytes."""

import errno
import hashlib
import io
import itertools
import json
import os
import resource
import shutil
import signal
import stat
import struct

import psutil
import pytest
import safetensors.torch
import torch

from oneshot.checkpoint import MARK, Checkpoints, read_weights, serialise, write_folder, write_whole
from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, TRAINING, OneshotError
from oneshot.state import restore


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


OLD, NEW = b"old", b"new, and longer"
WRITERS = {
    "file": write_whole,
    "folder": lambda path, content: write_folder(path, {"first": content, "second": content[::-1]}),
}
ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES]
CHANGES, REMOVALS = ("mkdir", "open", "fsync", "replace"), ("unlink", "rmdir")


class Disk:
    """Does something else instead of the n-th operation that it is asked for, or of each from the n-th on."""

    def __init__(self, monkeypatch, operations=CHANGES):
        self.healthy()
        for name in operations:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: io.BufferedWriter(Halting(descriptor, mode, self)))

    def healthy(self):
        self.number = self._first = 0

    def fail(self, at, fault, for_ever=False):
        self.number, self._first, self._fault, self._for_ever = 0, at, fault, for_ever

    def step(self):
        self.number += 1
        if self._first and (self.number == self._first or (self._for_ever and self.number > self._first)):
            self._fault()

    def _counted(self, operation):
        def counted(*arguments, **named):
            self.step()
            return operation(*arguments, **named)

        return counted


class Halting(io.FileIO):
    """Writes half of what it is given at a time."""

    def __init__(self, descriptor, mode, disk):
        super().__init__(descriptor, mode)
        self._disk = disk

    def write(self, data):
        self._disk.step()
        return super().write(data[: (len(data) + 1) // 2])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A real sync waits for the disk, hundreds of times here."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def disk(monkeypatch):
    """Removing what was written aside is no operation of it: where that fails too, nothing can be promised."""
    disk, remove = Disk(monkeypatch), shutil.rmtree

    def remove_untroubled(*arguments, **named):
        number, disk._first, first = disk.number, 0, disk._first
        remove(*arguments, **named)
        disk.number, disk._first = number, first

    monkeypatch.setattr(shutil, "rmtree", remove_untroubled)
    return disk


def stand(path):
    """What a final name holds."""
    return contents(path) if path.is_dir() else path.read_bytes() if path.exists() else None


def stands(writer, folder):
    """What it may hold: before there was anything, before and after the new content."""
    WRITERS[writer](folder / "old", OLD)
    WRITERS[writer](folder / "new", NEW)
    return None, stand(folder / "old"), stand(folder / "new")


def neighbours(path):
    return {each.name for each in path.parent.iterdir()} if path.parent.exists() else set()


def attempts(disk, writer, folder, fault, there=True, for_ever=False):
    """Writes with a fault at the first operation, the second, until there is none left: each path, and what it gave."""
    for at in itertools.count(1):
        path, error = folder / f"results-{at}" / "out", None
        if there:
            WRITERS[writer](path, OLD)
        disk.fail(at, fault, for_ever)
        try:
            WRITERS[writer](path, NEW)
        except (OneshotError, KeyboardInterrupt) as caught:
            error = caught
        failed = disk.number >= at
        disk.healthy()
        yield path, error
        if not failed:
            assert error is None and at > 5
            return


def refusing(code):
    def refuse():
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.faults
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_any_operation_may_fail_and_the_old_or_the_new_content_is_there_alone(
    tmp_path, disk, writer, there, code, record_property
):
    nothing, old, new = stands(writer, tmp_path)
    size, failed = len(NEW) * (2 if writer == "folder" else 1), 0
    for path, error in attempts(disk, writer, tmp_path, refusing(code), there):
        failed += error is not None
        if error:
            assert error.exit_code == IO == 74
            assert str(error).startswith(
                f"{path}: cannot be written: {os.strerror(code)}; {size} bytes are needed there;"
            )
        assert stand(path) in ((old if there else nothing, new) if error else (new,))
        assert neighbours(path) <= {"out"}
    record_property("writer whose n-th operation failed", failed)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fails_for_good_leaves_nothing_that_the_next_writer_does_not_remove(tmp_path, disk, writer):
    nothing, old, new = stands(writer, tmp_path)
    allowed = (old, new) if writer == "file" else (old, new, nothing)
    for path, _ in attempts(disk, writer, tmp_path, refusing(errno.EROFS), for_ever=True):
        assert stand(path) in allowed
        WRITERS[writer](path, NEW)
        assert stand(path) == new and neighbours(path) == {"out"}


@pytest.mark.parametrize("writer", WRITERS)
def test_an_interruption_leaves_nothing_beside_the_old_or_the_new_content(tmp_path, disk, writer):
    def interrupt():
        raise KeyboardInterrupt

    _, old, new = stands(writer, tmp_path)
    for path, error in attempts(disk, writer, tmp_path, interrupt):
        assert stand(path) in ((old, new) if error else (new,)) and neighbours(path) == {"out"}


@pytest.mark.parametrize("writer", WRITERS)
def test_content_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch, writer):
    WRITERS[writer](tmp_path / "out", OLD)
    done, sync, replace = [], os.fsync, os.replace

    def record_sync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def record_replace(source, target):
        done.append("final name" if target == tmp_path / "out" else "old aside")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    WRITERS[writer](tmp_path / "out", NEW)
    before = ["file"] if writer == "file" else ["file", "file", "folder", "old aside"]
    assert done == [*before, "final name", "folder"]


def test_a_file_system_that_cannot_sync_folders_is_no_fault(tmp_path, monkeypatch):
    sync = os.fsync

    def refuse_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_whole(tmp_path / "file", NEW)
    assert contents(tmp_path) == {"file": NEW}


def dies_at(at, writer, path):
    """Whether a process dies at that operation of writing: at once, with what it has open."""
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as monkeypatch:
            try:
                Disk(monkeypatch, CHANGES + REMOVALS).fail(at, lambda: os._exit(9))
                WRITERS[writer](path, NEW)
                os._exit(0)
            finally:
                os._exit(1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, 9)
    return ended == 9


@pytest.mark.faults
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_dies_at_any_operation_leaves_the_old_or_the_new_content(
    tmp_path, writer, there, record_property
):
    nothing, old, new = stands(writer, tmp_path)
    # A folder cannot be exchanged for another at once: in between there is none.
    allowed = [new, old if there else nothing, *([nothing] if writer == "folder" else [])]
    for at in itertools.count(1):
        path = tmp_path / f"results-{at}" / "out"
        if there:
            WRITERS[writer](path, OLD)
        died = dies_at(at, writer, path)
        assert stand(path) in allowed
        WRITERS[writer](path, NEW)
        assert stand(path) == new and neighbours(path) == {"out"}
        if not died:
            assert at > 8
            record_property("writer dead at its n-th operation", at - 1)
            return


def test_what_a_living_writer_has_beside_a_file_is_left_alone(tmp_path):
    beside = tmp_path / f".out.{os.getppid()}"
    others = [
        tmp_path / name for name in (".out.new", ".out.0", ".other.1234", "out.1234", ".out.12345678901234567890")
    ]
    for path in (beside, *others):
        path.write_bytes(b"")
    write_whole(tmp_path / "out", NEW)
    assert all(path.exists() for path in (beside, *others))


def test_a_real_limit_of_the_system_is_told_and_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "file", OLD)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OneshotError, match="file: cannot be written: File too large; 4096 bytes are needed there"):
            write_whole(tmp_path / "file", bytes(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert contents(tmp_path) == {"file": OLD}


def test_written_file_is_whole_and_alone_in_folders_that_appear(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, b"content")
    assert contents(path.parent) == {"file": b"content"}


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_written_file_is_open_to_whom_the_user_lets(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_link_that_waits_beside_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_bytes(OLD)
    (tmp_path / f".out.{os.getpid()}").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "out", NEW)
    assert contents(tmp_path) == {"victim": OLD, "out": NEW}


def test_file_in_the_place_of_a_folder_is_an_input_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OneshotError) as error:
        write_whole(tmp_path / "file" / "inner", b"new")
    assert error.value.exit_code == IO


def test_folder_is_replaced_as_a_whole(tmp_path):
    write_folder(tmp_path / "job", {"a": b"1", "b": b"2"})
    write_folder(tmp_path / "job", {"b": b"3"})
    assert contents(tmp_path / "job") == {"b": b"3"}
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_equal_tensors_give_equal_bytes_whatever_their_order_and_layout():
    weight, bias = torch.arange(24.0).reshape(2, 3, 2, 2), torch.ones(2)
    first = serialise({"weight": weight, "bias": bias})
    channels_last = weight.clone(memory_format=torch.channels_last).requires_grad_()
    assert serialise({"bias": bias.clone(), "weight": channels_last}) == first
    assert serialise({"bias": bias, "weight": weight + 1}) != first


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_state_that_is_not_finite_is_not_kept(value, tmp_path):
    checkpoints = Checkpoints(tmp_path, "f")
    checkpoints.keep(1, {"weight": torch.ones(2)}, {})
    with pytest.raises(OneshotError, match="`weight` holds numbers that are not finite") as error:
        checkpoints.keep(2, {"weight": torch.tensor([1.0, value])}, {})
    assert error.value.exit_code == TRAINING
    assert checkpoints.newest(pytest.fail).epoch == 1


def test_read_weights_are_those_written(tmp_path):
    tensors = {"weight": torch.randn(3, 2), "count": torch.tensor(7)}
    write_whole(tmp_path / "weights", serialise(tensors))
    read = read_weights(tmp_path / "weights")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_missing_weights_are_a_missing_input(tmp_path):
    with pytest.raises(OneshotError, match="dvc repro") as error:
        read_weights(tmp_path / "weights")
    assert error.value.exit_code == MISSING_INPUT == 66


def sparse(path, header_length, header, size):
    """A file of a gigabyte that takes no space."""
    path.write_bytes(struct.pack("<Q", header_length) + header)
    os.truncate(path, 8 + len(header) + size)
    return path


def resident():
    return psutil.Process().memory_info().rss


def test_weights_that_are_too_large_are_told_by_their_shape_and_never_read(tmp_path):
    size, model = 1 << 30, torch.nn.Linear(2, 2)
    shape = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}})
    header = MARK + b"0" * 64 + b'"},' + shape[1:].encode()
    path = sparse(tmp_path / "weights", len(header), header, size)
    with path.open("r+b") as file:
        file.seek(8 + len(MARK) + 64)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(8 + len(MARK))
        file.write(digest.encode())
    before = resident()
    with pytest.raises(ValueError, match="belong to another network"):
        restore(model, read_weights(path))
    assert resident() - before < size / 8


def test_weights_with_an_endless_header_are_bad_data_and_never_read(tmp_path):
    path = sparse(tmp_path / "weights", 1 << 29, b"{", 1 << 30)
    before = resident()
    with pytest.raises(OneshotError, match=r"weights: damaged: "):
        read_weights(path)
    assert resident() - before < 1 << 27


def test_weights_in_use_do_not_change_with_their_file(tmp_path):
    write_whole(tmp_path / "weights", serialise({"weight": torch.ones(1000)}))
    read = read_weights(tmp_path / "weights")
    write_whole(tmp_path / "weights", serialise({"weight": torch.zeros(1000)}))
    assert torch.equal(read["weight"], torch.ones(1000))


def test_any_flipped_bit_of_weights_is_found_before_they_are_parsed(tmp_path, monkeypatch):
    content = serialise({"weight": torch.ones(3), "bias": torch.zeros(1)})
    monkeypatch.setattr(safetensors.torch, "load_file", lambda _: pytest.fail("parsed"))
    message = r"weights: damaged: it(s SHA-256 is \w{64}, not '.{64}'| does not)"
    for place in range(8, len(content)):  # before that stands the length, which must fit what was hashed
        (tmp_path / "weights").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(OneshotError, match=message) as error:
            read_weights(tmp_path / "weights")
        assert error.value.exit_code == BAD_DATA


@pytest.mark.parametrize("place", range(8))
def test_weights_whose_header_is_said_to_be_longer_or_shorter_are_bad_data(place, tmp_path):
    content = serialise({"weight": torch.ones(3)})
    for bit in range(8):
        flipped = bytes([content[place] ^ 1 << bit])
        (tmp_path / "weights").write_bytes(content[:place] + flipped + content[place + 1 :])
        with pytest.raises(OneshotError, match="weights: damaged") as error:
            read_weights(tmp_path / "weights")
        assert error.value.exit_code == BAD_DATA


def test_weights_are_read_by_any_reader_of_safetensors(tmp_path):
    write_whole(tmp_path / "weights", serialise({"weight": torch.ones(3)}))
    assert torch.equal(safetensors.torch.load_file(tmp_path / "weights")["weight"], torch.ones(3))


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"not weights" * 9, lambda content: content[:-1]])
def test_damaged_weights_are_bad_data(damage, tmp_path):
    (tmp_path / "weights").write_bytes(damage(serialise({"weight": torch.ones(3)})))
    with pytest.raises(OneshotError, match="weights: damaged") as error:
        read_weights(tmp_path / "weights")
    assert error.value.exit_code == BAD_DATA == 65
