"""The dataset of a study, in the memory of whoever imports this: the process that the study's trainings are forked
from, so that they share it.

The study's name comes by the environment, since modules are all that such a process can be told to import.
"""

import contextlib
import os

import torch

from oneshot.data import load_split
from oneshot.params import load_params
from pipeline.layout import STUDY, Layout


def load_shared(study: str) -> None:
    """Makes the study's next `load_split` find what it asks for. Raises OneshotError as that does."""
    layout = Layout.find()
    params = load_params(layout.params)
    dataset = params.run[study]
    load_split(layout.dataset(dataset), params.datasets[dataset], params.training_size(study))


torch.set_num_threads(1)  # a fork must not inherit a pool of threads
with contextlib.suppress(Exception):  # each training tries again, and tells what is wrong
    load_shared(os.environ[STUDY])
