"""Files are whole or absent, and equal tensors are equal bytes."""

import errno
import os

import pytest
import torch

from oneshot.checkpoint import read_weights, serialise, write_folder, write_whole
from oneshot.errors import BAD_DATA, IO, MISSING_INPUT, OneshotError


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


def test_written_file_is_whole_and_alone_in_folders_that_appear(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, b"content")
    assert contents(path.parent) == {"file": b"content"}
    assert path.stat().st_mode & 0o777 == 0o644


def test_full_disk_leaves_the_old_file_and_no_other(tmp_path, full_disk):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OneshotError, match="file: cannot be written: No space left on device; 3 bytes") as error:
        write_whole(tmp_path / "file", b"new")
    assert error.value.exit_code == IO == 74
    assert contents(tmp_path) == {"file": b"old"}


def test_full_disk_leaves_no_file_where_none_was(tmp_path, full_disk):
    with pytest.raises(OneshotError):
        write_whole(tmp_path / "file", b"new")
    assert contents(tmp_path) == {}


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


def test_full_disk_leaves_the_old_folder(tmp_path, request):
    write_folder(tmp_path / "job", {"a": b"1"})
    request.getfixturevalue("full_disk")
    with pytest.raises(OneshotError):
        write_folder(tmp_path / "job", {"a": b"2"})
    assert contents(tmp_path / "job") == {"a": b"1"}


def test_equal_tensors_give_equal_bytes_whatever_their_order_and_layout():
    weight, bias = torch.arange(24.0).reshape(2, 3, 2, 2), torch.ones(2)
    first = serialise({"weight": weight, "bias": bias})
    channels_last = weight.clone(memory_format=torch.channels_last).requires_grad_()
    assert serialise({"bias": bias.clone(), "weight": channels_last}) == first
    assert serialise({"bias": bias, "weight": weight + 1}) != first


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


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"not weights" * 9, lambda content: content[:-1]])
def test_damaged_weights_are_bad_data(damage, tmp_path):
    (tmp_path / "weights").write_bytes(damage(serialise({"weight": torch.ones(3)})))
    with pytest.raises(OneshotError, match="weights: damaged") as error:
        read_weights(tmp_path / "weights")
    assert error.value.exit_code == BAD_DATA == 65
