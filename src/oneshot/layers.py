"""Layers as PyTorch has them, in the memory layouts that are fastest on a processor.

Channels last; or, in bfloat16 where a processor has it natively, oneDNN's own: from the first convolution to the
flattening, images are opaque tensors (Tensor.to_mkldnn). Max pooling and its gradient take a third of the time there,
batch norm and ReLU two thirds. Convolution, max pooling and ReLU give the same numbers, bit for bit. Batch norm rounds
otherwise; the variance that it trains by is the more exact one. The global average adds in another order, so that one
in some hundred thousand comes out a rounding apart.

oneDNN's max pooling and ReLU make numbers of what is none, so a loss may be finite where weights are not.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from oneshot.machine import has_opaque_bf16


class Convolution(nn.Conv2d):
    """nn.Conv2d, padded with zeros, of batches; what it gives is opaque where that is faster."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, in_channels, height, width) -> (batch, out_channels, height, width)."""
        if not _is_faster_opaque(images):
            return super().forward(images)
        if not images.is_mkldnn:
            images = images.bfloat16().to_mkldnn()
        # Not conv2d, which refuses an opaque tensor beside weights that are none. oneDNN rounds the weights itself.
        bias = None if self.bias is None else self.bias.bfloat16()
        padding = cast(tuple[int, int], self.padding)
        return torch.mkldnn_convolution(images, self.weight, bias, padding, self.stride, self.dilation, self.groups)


class GlobalAveragePool(nn.Module):
    """nn.AdaptiveAvgPool2d(1), with a gradient that is laid out as the images are.
    The gradient of a ReLU before it takes ten times as long with another layout."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, channels, height, width) -> (batch, channels, 1, 1), opaque if they are."""
        if images.is_mkldnn:
            return adaptive_avg_pool2d(images, 1)
        return images.permute(0, 2, 3, 1).flatten(1, 2).mean(1)[:, :, None, None]


class Flatten(nn.Module):
    """nn.Flatten, with a gradient laid out as that of GlobalAveragePool, and for its reason."""

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, channels, height, width), opaque or not -> (batch, channels x height x width)."""
        if images.is_mkldnn:
            return images.to_dense().flatten(1)
        if images.requires_grad:
            images.register_hook(_to_channels_last)  # type: ignore[no-untyped-call]
        return images.flatten(1)


def _to_channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _is_faster_opaque(images: Tensor) -> bool:
    return images.device.type == "cpu" and torch.is_autocast_enabled("cpu") and has_opaque_bf16()
