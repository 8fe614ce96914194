"""Replicas of a model end with it, and their own end is told."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import SPACES, random_examples
from torch import nn

from oneshot.checkpoint import serialise
from oneshot.errors import PROCESS, OneshotError
from oneshot.machine import Machine
from oneshot.params import Recipe, Schedule, Sgd
from oneshot.replicas import share_weights
from oneshot.state import tensors
from oneshot.supernet import SuperNet
from oneshot.training import Trainer, run_whole

RECIPE = Recipe(
    epochs=2,
    batch_size=8,
    optimizer=Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0),
    schedule=Schedule(name="constant", warmup=0.0),
)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}


def trainer(threads):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    machine = Machine("cpu", "fp32", threads)
    return Trainer(network, run_whole, lambda step: ["a"], RECIPE, random_examples(), 0, machine)


def processes(trainer):
    return [replica.process for replica in trainer.replicas]


def is_gone(pid):
    """Within ten seconds."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_there_is_a_replica_for_each_part_but_the_first(threads):
    assert len(trainer(threads).replicas) == threads - 1


def test_a_replica_that_is_killed_ends_training_with_one_line():
    several = trainer(3)
    epochs = several.epochs(lambda images: None)
    next(epochs)
    (process, _) = processes(several)
    process.kill()
    process.join()
    with pytest.raises(OneshotError, match=r"process .* died") as error:
        next(epochs)
    assert error.value.exit_code == PROCESS == 71


def test_replicas_end_with_their_trainer():
    several = trainer(3)
    next(several.epochs(lambda images: None))
    pids = [process.pid for process in processes(several)]
    del several
    gc.collect()
    assert all(map(is_gone, pids))


def test_a_process_with_a_trainer_ends_at_once():
    script = "import sys; from test_replicas import *; t = trainer(2); next(t.epochs(lambda images: None)); sys.exit(3)"
    assert subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, timeout=60).returncode == 3


def test_replicas_end_with_a_process_that_is_killed():
    script = "from test_replicas import *; t = trainer(2); print(processes(t)[0].pid, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as killed:
        pid = int(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
    assert is_gone(pid)


@pytest.mark.parametrize("space", SPACES)
def test_shared_weights_are_the_same_in_the_same_layout_and_move_with_the_block(space):
    supernet = Machine("cpu", "fp32", 1).place(SuperNet(SPACES[space], 0))
    before, layouts = serialise(tensors(supernet)), [weight.stride() for weight in supernet.parameters()]
    block = share_weights(supernet)
    assert serialise(tensors(supernet)) == before
    assert [weight.stride() for weight in supernet.parameters()] == layouts
    block.zero_()
    assert not any(torch.any(weight) for weight in supernet.parameters())
