"""A run that is under way belongs to a stage that somebody runs, or is ended."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from oneshot.tracking import Tracker
from oneshot.writer import is_held, sole_writer
from pipeline.layout import Layout
from pipeline.origin import ORIGIN, has_died, origin

STAGE = "train_supernet@depths"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path)


def test_a_stage_lives_as_long_as_its_lock_is_held(layout: Layout) -> None:
    text = origin(layout, STAGE)
    with sole_writer(layout.lock(STAGE), STAGE):
        assert is_held(layout.lock(STAGE)) and not has_died(layout, text)
        assert has_died(layout, origin(layout, "train_supernet@shapes"))
    assert has_died(layout, text)


def test_to_ask_for_a_lock_leaves_it_as_it_is(layout: Layout) -> None:
    path = layout.lock(STAGE)
    assert not is_held(path) and not path.exists()
    with sole_writer(path, STAGE):
        before = path.read_text()
        assert is_held(path) and path.read_text() == before != ""


def test_a_copy_that_runs_elsewhere_in_the_project_has_a_lock_of_its_own(layout: Layout) -> None:
    copy = Layout(layout.home / ".dvc" / "tmp" / "exps" / "copy", layout.home)
    with sole_writer(copy.lock(STAGE), STAGE):
        assert not has_died(layout, origin(copy, STAGE))
        assert has_died(layout, origin(layout, STAGE))


def test_nothing_is_known_of_other_checkouts(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other", tmp_path / "other")
    assert not has_died(layout, origin(other, STAGE))
    assert not has_died(layout, "no origin") and not has_died(layout, json.dumps({"a": 1}))


def test_runs_of_a_dead_stage_are_ended_as_killed_and_no_others(layout: Layout, empty_database: Path) -> None:
    shutil.copy(empty_database, layout.home / "mlflow.db")
    of_stage = {name: Tracker(layout.home, {ORIGIN: origin(layout, name)}) for name in ("alive", "dead")}
    runs = {name: tracker.start("depths", name, {}) for name, tracker in of_stage.items()}
    runs["unknown"] = Tracker(layout.home).start("depths", "unknown", {})
    runs["finished"] = of_stage["dead"].start("depths", "finished", {})
    of_stage["dead"].end(runs["finished"], "FINISHED")

    with sole_writer(layout.lock("alive"), "alive"):
        tracker = Tracker(layout.home)
        counts = [tracker.end_dead("depths", lambda tags: has_died(layout, tags.get(ORIGIN, ""))) for _ in range(2)]

    client = MlflowClient(f"sqlite:///{layout.home / 'mlflow.db'}")
    statuses = {name: client.get_run(run).info.status for name, run in runs.items()}
    assert statuses == {"alive": "RUNNING", "dead": "KILLED", "unknown": "RUNNING", "finished": "FINISHED"}
    assert counts == [1, 0] and tracker.failure is None
