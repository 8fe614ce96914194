"""A job that finished once is never trained again, and how many run side by side changes no byte."""

import dataclasses

import pytest
import torch
from conftest import SPACES, random_examples

from oneshot.checkpoint import Checkpoints
from oneshot.curves import follow, mean_loss
from oneshot.errors import TRAINING, OneshotError
from oneshot.jobs import RECORD, WEIGHTS, Job, Trained, makespan, order, run_jobs
from oneshot.machine import Machine
from oneshot.params import Recipe, Schedule, Sgd
from oneshot.space import architecture_id, canonical
from oneshot.supernet import build_standalone
from oneshot.training import Trainer, run_whole


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self):
        self.images, self.epochs, self.reused = 0, 0, []

    def begin(self, jobs):
        pass

    def tick(self, job, images):
        self.images += images

    def epoch(self, job, rows):
        self.epochs += 1

    def note(self, job, text):
        pass

    def finish(self, finished):
        self.reused.append(finished.reused)


def make_job(name, inputs, **identity):
    return Job("stage@study", name, 0, 1, 24, 1, {"name": name} | identity, inputs)


def count_up(job, reporter, checkpoints):
    """Leaves a trace of each call; fails where a file named like the job says so."""
    with (job.inputs / "calls").open("a") as calls:
        calls.write(f"{job.name}\n")
    if (job.inputs / f"fail-{job.name}").exists():
        raise OneshotError("the loss is nan", TRAINING)
    return Trained({"weight": torch.full((3,), float(len(job.name)))}, {"curve": []})


def train_small(job, reporter, checkpoints):
    """A real standalone training; without a network, a failure."""
    if job.inputs is None:
        raise OneshotError("the loss is nan", TRAINING)
    machine, examples = Machine("cpu", "fp32", 1), random_examples()
    machine.claim()
    network = machine.place(build_standalone(job.inputs, job.seed))
    optimizer = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)
    recipe = Recipe(epochs=2, batch_size=8, optimizer=optimizer, schedule=Schedule(name="cosine", warmup=0.0))
    trainer = Trainer(network, run_whole, lambda step: ["a"], recipe, examples, job.seed, machine)

    def score(epoch):
        return {"curve": [{"epoch": epoch.number, "train_loss": mean_loss(epoch.losses["a"])}]}

    return follow(trainer, score, reporter, checkpoints)


def calls(folder):
    return (folder / "calls").read_text().split()


def test_finished_job_is_not_trained_again(tmp_path):
    jobs, listener = [make_job(name, tmp_path) for name in "ab"], Recorder()
    first = run_jobs(count_up, jobs, 1, tmp_path / "store", listener)
    again = run_jobs(count_up, jobs, 1, tmp_path / "store", listener)
    assert calls(tmp_path) == ["a", "b"]
    assert listener.reused == [False, False, True, True]
    assert [(f.weights, f.record) for f in again] == [(f.weights, f.record) for f in first]


def test_only_new_jobs_are_trained_and_results_keep_the_jobs_order(tmp_path):
    run_jobs(count_up, [make_job("bb", tmp_path)], 1, tmp_path / "store", Recorder())
    jobs = [make_job(name, tmp_path) for name in ("ccc", "bb", "a")]
    results = run_jobs(count_up, jobs, 1, tmp_path / "store", Recorder())
    assert calls(tmp_path) == ["bb", "ccc", "a"]
    assert [finished.job.name for finished in results] == ["ccc", "bb", "a"]


def test_jobs_of_one_fingerprint_are_trained_once_and_keep_their_names(tmp_path):
    twins = [Job("stage@study", name, 0, 1, 24, 1, {"network": "same"}, tmp_path) for name in ("1-2", "2-1")]
    results = run_jobs(count_up, twins, 1, tmp_path / "store", Recorder())
    assert len(calls(tmp_path)) == 1
    assert [finished.job.name for finished in results] == ["1-2", "2-1"]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Two workers train two networks beside a job that fails: (the jobs, their store, the error, the listener)."""
    space, store, listener = SPACES["prefix-norm"], tmp_path_factory.mktemp("store"), Recorder()
    paths = {architecture_id(architecture): canonical(space.path(architecture)) for architecture in space.architectures}
    jobs = [make_job(name, paths.get(name)) for name in ("1-1", "bad", "1-2")]
    with pytest.raises(OneshotError) as error:
        run_jobs(train_small, jobs, 2, store, listener)
    return jobs, store, error.value, listener


def test_results_do_not_depend_on_workers(beside, tmp_path):
    jobs, store, _, listener = beside
    trained, heard = [jobs[0], jobs[2]], Recorder()
    alone = run_jobs(train_small, trained, 1, tmp_path, heard)
    kept = run_jobs(train_small, trained, 1, store, Recorder())
    assert [finished.reused for finished in (*alone, *kept)] == [False, False, True, True]
    assert [(f.weights, f.record["curve"]) for f in alone] == [(f.weights, f.record["curve"]) for f in kept]
    assert (heard.images, heard.epochs) == (listener.images, listener.epochs) == (2 * 2 * 24, 2 * 2)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("macs", [[1], [5, 5, 5], [47, 45, 42, 37, 35, 32, 27, 25, 22], list(range(1, 30))])
def test_jobs_go_in_an_order_that_is_done_no_later_than_longest_first(macs, workers):
    jobs = [dataclasses.replace(make_job(str(number), None), macs=each) for number, each in enumerate(macs)]
    ordered = order(jobs, workers)
    longest_first = sorted(jobs, key=lambda job: -job.macs)
    assert sorted(job.name for job in ordered) == sorted(job.name for job in jobs)
    assert max(max(macs), sum(macs) / workers) <= makespan(ordered, workers) <= makespan(longest_first, workers)


def test_no_process_idles_at_the_end_where_another_order_than_longest_first_avoids_it():
    jobs = [dataclasses.replace(make_job(str(macs), None), macs=macs) for macs in (47, 45, 42, 37, 35, 32, 27, 25, 22)]
    assert makespan(sorted(jobs, key=lambda job: -job.macs), 2) == 166
    assert makespan(order(jobs, 2), 2) == 156  # of 312 in all


def test_failing_worker_takes_no_finished_job_with_it(beside):
    jobs, store, error, _ = beside
    assert str(error) == "stage@study: bad, seed 0: the loss is nan"
    assert error.exit_code == TRAINING
    assert {folder.name for folder in store.iterdir()} - {"checkpoints"} == {jobs[0].fingerprint, jobs[2].fingerprint}


def test_failing_job_takes_no_finished_one_with_it(tmp_path):
    jobs = [make_job(name, tmp_path) for name in "abc"]
    (tmp_path / "fail-b").touch()
    with pytest.raises(OneshotError, match="b, seed 0: the loss is nan") as error:
        run_jobs(count_up, jobs, 1, tmp_path / "store", Recorder())
    assert error.value.exit_code == TRAINING
    (tmp_path / "fail-b").unlink()
    results = run_jobs(count_up, jobs, 1, tmp_path / "store", Recorder())
    assert [finished.reused for finished in results] == [True, False, True]


@pytest.mark.parametrize("name", [WEIGHTS, RECORD])
@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"!", lambda content: content[:9], lambda _: b""])
def test_damaged_result_is_not_reused(name, damage, tmp_path):
    job = make_job("a", tmp_path)
    (first,) = run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    file = tmp_path / "store" / job.fingerprint / name
    file.write_bytes(damage(file.read_bytes()))
    (second,) = run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    assert calls(tmp_path) == ["a", "a"]
    assert (second.weights, second.reused) == (first.weights, False)


def test_missing_file_is_not_reused(tmp_path):
    job = make_job("a", tmp_path)
    run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    (tmp_path / "store" / job.fingerprint / WEIGHTS).unlink()
    run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    assert calls(tmp_path) == ["a", "a"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.2}, {"network": [["Conv", 5]]}, {"data": None}])
def test_fingerprint_differs_where_the_identity_differs(change):
    identity = {"seed": 0, "lr": 0.1, "network": [["Conv", 3]]}
    assert make_job("a", None, **identity).fingerprint != make_job("a", None, **identity | change).fingerprint


def test_fingerprint_depends_on_the_identity_alone():
    job = make_job("a", None, x=1, y=2)
    other = dataclasses.replace(job, name="b", inputs="elsewhere", identity={"y": 2, "x": 1, "name": "a"})
    assert other.fingerprint == job.fingerprint


def test_checkpoints_of_a_job_that_is_finished_go(tmp_path):
    job = make_job("a", tmp_path)
    run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    folder = tmp_path / "store" / "checkpoints" / job.stage / "a, seed 0"
    Checkpoints(folder, job.fingerprint).keep(1, {"weight": torch.ones(3)}, {})
    run_jobs(count_up, [job], 1, tmp_path / "store", Recorder())
    assert not folder.exists()
