"""A machine's settings are part of a result; its hardware is told with the seconds alone."""

import threading
import time
from pathlib import Path

import pytest
import torch

from oneshot import machine as machines
from oneshot.machine import Machine
from oneshot.params import load_params
from pipeline import identity
from pipeline.context import Context
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
MACHINE = Machine("cpu", "fp32", 3)
CPUINFO = "processor\t: 0\nvendor_id\t: Maker\nmodel name\t: Maker Model 5: fast\nmodel name\t: another core\n"


def test_description_is_the_settings_and_the_hardware():
    described = MACHINE.describe()
    assert described.keys() - MACHINE.settings().keys() == {"numpy", "scipy", "python", "processor", "cores"}
    assert {key: described[key] for key in ("device", "precision", "threads")} == {
        "device": "cpu",
        "precision": "fp32",
        "threads": 3,
    }
    assert described["processor"] and described["cores"] >= 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_map_keeps_the_order_of_its_items(threads):
    machine = Machine("cpu", "fp32", threads)
    assert machine.map(lambda first, second: (first, second), range(9), "abcdefghi") == list(
        zip(range(9), "abcdefghi", strict=True)
    )


def test_parts_are_computed_side_by_side_on_one_thread_each():
    both = threading.Barrier(2, timeout=30)
    assert Machine("cpu", "fp32", 2).map(lambda _: both.wait() >= 0 and torch.get_num_threads(), "ab") == [1, 1]


@pytest.mark.parametrize("here", [True, False])
def test_once_a_part_has_failed_no_other_is_begun(here):
    begun = []

    def fail(number):
        begun.append(number)
        both.wait()
        if (threading.current_thread() is threading.main_thread()) == here:
            raise ZeroDivisionError
        time.sleep(1)  # in which the one that fails does

    both = threading.Barrier(2, timeout=30)
    with pytest.raises(ZeroDivisionError):
        Machine("cpu", "fp32", 2).map(fail, range(9))
    time.sleep(1.5)
    assert sorted(begun) == [0, 1]


def test_a_batch_is_cut_into_parts_on_a_processor_alone():
    assert [Machine(device, "fp32", 3).parts for device in ("cpu", "cuda", "mps")] == [3, 1, 1]


@pytest.mark.parametrize(
    ("content", "name"),
    [(CPUINFO, "Maker Model 5: fast"), ("Hardware: board\n", "of the system"), (None, "of the system")],
)
def test_processor_is_the_model_where_the_system_tells_it(content, name, tmp_path, monkeypatch):
    monkeypatch.setattr(machines.platform, "processor", lambda: "of the system")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert machines._processor(tmp_path / "cpuinfo") == name


def test_processor_without_any_name_is_the_kind_of_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machines.platform, "processor", lambda: "")
    monkeypatch.setattr(machines.platform, "machine", lambda: "kind")
    assert machines._processor(tmp_path / "absent") == "kind"


def test_a_gpu_is_named_and_its_float32_is_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Maker 9")
    monkeypatch.setattr(torch.backends, "fp32_precision", torch.backends.fp32_precision)
    gpu = Machine("cuda", "fp32", 1)
    gpu.claim()
    assert gpu.describe()["processor"] == "Maker 9"
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_hardware_is_no_part_of_a_fingerprint(monkeypatch):
    monkeypatch.setattr(identity, "verify_training_files", lambda folder: {})
    context = Context("train_supernet", "depths", load_params(ROOT / "params.yaml"), Layout(ROOT, ROOT), listener=None)
    before = identity.stage_identity(context, MACHINE), MACHINE.describe()
    monkeypatch.setattr(machines, "_processor", lambda: "another")
    monkeypatch.setattr(machines.os, "cpu_count", lambda: 999)
    assert identity.stage_identity(context, MACHINE) == before[0]
    assert MACHINE.describe() != before[1]
