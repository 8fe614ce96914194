"""Layers as PyTorch has them, in the memory layouts that are fastest on a processor.

Channels last, as Machine.place has it. Or, where a processor computes in bfloat16 natively, oneDNN's own: from the
first convolution to the flattening, images are opaque tensors (Tensor.to_mkldnn). Max pooling and its gradient take a
third of the time there, batch norm and ReLU two thirds. All numbers stay the same, bit for bit, but those of batch
norm, whose variance is the more exact one.

oneDNN's max pooling and ReLU make numbers of what is none. So a loss may be finite where its gradients are not.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from oneshot.machine import has_native_bf16


class Convolution(nn.Conv2d):
    """nn.Conv2d; what it gives is opaque where that is faster."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, in_channels, height, width) -> (batch, out_channels, height, width)."""
        if not _is_faster_opaque(images):
            return super().forward(images)
        if not images.is_mkldnn:
            images = images.bfloat16().to_mkldnn()
        # Not conv2d, which refuses an opaque tensor beside weights that are none. oneDNN rounds the weights itself.
        weights = self.weight, None if self.bias is None else self.bias.bfloat16()
        where: tuple[Any, ...] = self.padding, self.stride, self.dilation, self.groups
        return torch.mkldnn_convolution(images, *weights, *where)


class GlobalAveragePool(nn.Module):
    """nn.AdaptiveAvgPool2d(1), with a gradient that is laid out as the images are.
    The gradient of a ReLU before it takes ten times as long with another layout."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, channels, height, width), opaque or not -> (batch, channels, 1, 1)."""
        return to_strided(images).permute(0, 2, 3, 1).flatten(1, 2).mean(1)[:, :, None, None]


class Flatten(nn.Module):
    """nn.Flatten, with a gradient laid out as that of GlobalAveragePool, and for its reason."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, channels, height, width), opaque or not -> (batch, channels x height x width)."""
        if images.is_mkldnn:
            return images.to_dense().flatten(1)
        if images.requires_grad:
            images.register_hook(_to_channels_last)  # type: ignore[no-untyped-call]
        return images.flatten(1)


def to_strided(images: Tensor) -> Tensor:
    """An opaque tensor as a usual one."""
    return _to_channels_last(images.to_dense()) if images.is_mkldnn else images


def _to_channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _is_faster_opaque(images: Tensor) -> bool:
    return images.device.type == "cpu" and torch.is_autocast_enabled("cpu") and _has_onednn_bf16()


@lru_cache
def _has_onednn_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and has_native_bf16("cpu")  # type: ignore[no-untyped-call]
