"""How long a network takes for one batch, on one thread of this machine. A measurement: no two are alike."""

import time
from collections.abc import Callable

import numpy
import torch
from torch import Tensor, nn

from oneshot.machine import Machine

WARM_UP = 5  # calls before the first that counts: memory and kernels are chosen then


@torch.inference_mode()
def measure_latency(network: nn.Module, images: Tensor, repeats: int, machine: Machine) -> dict[str, float]:
    """p50 and p95 in milliseconds of a forward pass over images (batch, 1, height, width), in evaluation mode."""
    network.eval()
    finish: Callable[[], None] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
        machine.device, lambda: None
    )
    milliseconds = []
    with machine.autocast():
        for _ in range(WARM_UP + repeats):
            started = time.perf_counter()
            network(images)
            finish()
            milliseconds.append(1000 * (time.perf_counter() - started))
    p50, p95 = numpy.percentile(milliseconds[WARM_UP:], [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}
