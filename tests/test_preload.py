"""Trainings side by side have the dataset in memory once: in that of the process that they are forked from."""

import sys

import pytest
from project import Project

from oneshot.data import _load_split
from oneshot.params import load_params
from pipeline.context import Context
from pipeline.inputs import Inputs
from pipeline.layout import STUDY, Layout
from pipeline.preload import load_shared

LOADED = """
from concurrent.futures import ProcessPoolExecutor
from oneshot.jobs import prepare_processes

context = prepare_processes("pipeline.train_standalones", "pipeline.preload")
with ProcessPoolExecutor(1, context) as pool:
    print(pool.submit(eval, "__import__('oneshot.data').data._load_split.cache_info().currsize").result())
"""


@pytest.mark.parametrize(("study", "loaded"), [("depths", "1"), ("none", "0")])
def test_a_training_begins_with_the_dataset_that_its_parent_loaded(finished_project: Project, study, loaded):
    outcome = finished_project.run(sys.executable, "-c", LOADED, **{STUDY: study})
    assert outcome.output.split() == [loaded]


def test_a_training_asks_for_what_was_loaded_ahead(finished_project: Project, machine, monkeypatch):
    monkeypatch.chdir(finished_project.folder)
    layout = Layout.find()
    context = Context("train_standalones", "depths", load_params(layout.params), layout, listener=None)
    _load_split.cache_clear()
    load_shared("depths")
    Inputs.of(context, (), context.study.standalone, machine).load()
    assert _load_split.cache_info()[:2] == (1, 1)  # found once, loaded once
