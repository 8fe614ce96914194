"""What a network runs on. Device, precision and threads are part of a result, the processor only of its seconds."""

import ctypes
import os
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from oneshot.errors import USAGE, OneshotError

# Names and numbers of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
GIGABYTE = 1 << 30
Model = TypeVar("Model", bound=nn.Module)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Machine:
    device: str
    precision: str
    threads: int

    @classmethod
    def resolve(cls, device: str, precision: str, threads: int) -> "Machine":
        """`auto` made concrete. Raises OneshotError (exit 2) for a device that is not there."""
        present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        if device == "auto":
            device = next(name for name, there in present.items() if there)
        if not present[device]:
            raise OneshotError(
                f"params.yaml: compute.device: `{device}` is not on this machine; use a device that is; set auto", USAGE
            )
        if precision == "auto":
            precision = "bf16" if _has_native_bf16(device) else "fp32"
        return cls(device, precision, threads)

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def place(self, model: Model) -> Model:
        """The model itself, on the device; channels last, which convolutions are fastest on, but for opaque images."""
        model.to(self.device)
        if not self.opaque:
            model.to(memory_format=torch.channels_last)
        return model

    @property
    def opaque(self) -> bool:
        """Whether images are opaque on their way through a network (see layers)."""
        return self.device == "cpu" and self.precision == "bf16" and has_opaque_bf16()

    @property
    def parts(self) -> int:
        """Into how many parts a batch is cut, to be computed side by side: on a CPU, one per thread."""
        return self.threads if self.device == "cpu" else 1

    def map(self, function: Callable[..., Result], *items: Iterable[Any]) -> list[Result]:
        """`function` of each, `parts` at a time, in order; once one has failed, no other is begun.

        The calling thread takes part, since to wake another takes longer than many an operation: `claim` comes first.
        """
        calls = list(zip(*items, strict=False))  # as many as the shortest has, as map does
        results: dict[int, Result] = {}
        numbers = iter(range(len(calls)))  # shared: each thread takes the next

        def work() -> None:
            try:
                for number in numbers:
                    results[number] = function(*calls[number])
            except BaseException:
                list(numbers)  # leaves nothing for the others to take
                raise

        others = [_pool(self.parts - 1).submit(work) for _ in range(min(self.parts, len(calls)) - 1)]
        work()
        for other in others:
            other.result()
        return [results[number] for number in range(len(calls))]

    def claim(self) -> None:
        """Makes this process keep the memory that it frees, and torch run each operation on one thread and take fp32 at
        its word.

        Threads that share one operation wait for each other at its end, some hundred times a step: where a neighbour
        holds one of their cores a step takes ten times as long. Threads with a part of the batch each (see `map`) meet
        once a step.
        """
        torch.set_num_threads(1)
        _keep_freed_memory()
        if (self.device, self.precision) == ("cuda", "fp32"):
            # By default cuDNN's convolutions are of TF32.
            torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]

    def settings(self) -> dict[str, str | int]:
        """What a result's bytes depend on, and so a fingerprint."""
        return asdict(self) | {"torch": torch.__version__}

    def describe(self) -> dict[str, str | int]:
        """What seconds and bytes depend on: the settings, versions and hardware."""
        versions = {name: version(name) for name in ("numpy", "scipy")} | {"python": platform.python_version()}
        processor = torch.cuda.get_device_name() if self.device == "cuda" else _processor()
        return self.settings() | versions | {"processor": processor, "cores": os.cpu_count() or 1}


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "part", torch.set_num_threads, (1,))


def _keep_freed_memory() -> None:
    """Each step frees and asks for the same large buffers. By default glibc returns them to the system and gets them
    back as pages to be zeroed, which costs up to half of a step's time. Elsewhere than on glibc this does nothing."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(option, GIGABYTE)


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model's name where the system tells it, else the architecture's."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def has_opaque_bf16() -> bool:
    """Whether this processor has bfloat16 of its own, and torch has oneDNN."""
    return torch.backends.mkldnn.is_available() and _has_native_bf16("cpu")  # type: ignore[no-untyped-call]


def _has_native_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return False
