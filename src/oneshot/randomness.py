"""Randomness as an argument: every stream is derived from a seed and what it is for, never from draw order."""

import hashlib
import json

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that is a function of (seed, purpose) alone, so streams never shift each other."""
    text = json.dumps([seed, *purpose])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *purpose))
