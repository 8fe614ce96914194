"""A project with small params in a scratch folder."""

import re

import pytest
from project import ROOT

from oneshot.params import load_params
from pipeline.demo import EPOCHS, TRAINING_SIZE, make_small_project
from pipeline.layout import Layout

COMMENT = re.compile(r"(?:^|\s)#.*")


@pytest.mark.parametrize(
    "studies", [("depths",), ("kernels-sum", "depths"), tuple(load_params(ROOT / "params.yaml").run)]
)
def test_the_params_of_a_demo_keep_their_comments_and_order(tmp_path, studies):
    make_small_project(Layout(ROOT, ROOT), tmp_path / "demo", studies)
    before, after = ((folder / "params.yaml").read_text() for folder in (ROOT, tmp_path / "demo"))
    assert COMMENT.findall(after) == COMMENT.findall(before)
    keys = [re.findall(r"^ *([a-z_-]+):", text[text.index("\nstudies:") :], re.MULTILINE) for text in (before, after)]
    assert keys[0] == keys[1]


def test_a_demo_runs_the_named_studies_and_is_small(tmp_path):
    make_small_project(Layout(ROOT, ROOT), tmp_path / "demo", ["depths"])
    params = load_params(tmp_path / "demo" / "params.yaml")
    assert params.run == {"depths": "mnist"}
    for study in params.studies.values():
        assert study.training_size == TRAINING_SIZE
        assert {arm: getattr(study, arm).epochs for arm in EPOCHS} == EPOCHS
