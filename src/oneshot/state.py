"""A model's weights and buffers as tensors by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer once, whatever shares it, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def restore(model: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Copies stored tensors into the model. Raises ValueError unless names, shapes and types are the model's own and
    all numbers finite."""
    own = tensors(model)
    differing = sorted(own.keys() ^ stored.keys()) or [
        name for name, tensor in own.items() if (tensor.shape, tensor.dtype) != (stored[name].shape, stored[name].dtype)
    ]
    if differing:
        raise ValueError(f"these weights belong to another network: `{differing[0]}` differs")
    for name, tensor in own.items():
        if not stored[name].isfinite().all():
            raise ValueError(f"these weights are damaged: `{name}` holds numbers that are not finite")
        tensor.copy_(stored[name])
