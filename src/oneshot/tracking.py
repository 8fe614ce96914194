"""MLflow, and the only import of it. Files are the record; MLflow is a view of them that can be made again.

A run is found again by its key, a digest of everything that it shows. A stage's tracker works beside it, in a process
of its own, and is waited for at the end only: a server that fails costs a warning and seconds, never a training.
"""

import base64
import functools
import hashlib
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from oneshot.git import GitError, ask_git

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Metrics = Mapping[str, float]
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
# MLflow's own defaults wait minutes for a server that is down, report usage home, and print the address of every run.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
SERVER, USER, PASSWORD, TOKEN = (f"MLFLOW_TRACKING_{name}" for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"))
LONGEST_FAILURE = 300
BATCH = 900  # MLflow takes at most 1000 metrics and 100 params in one call
PARAM_BATCH = 90
PATIENCE = 10  # seconds that a stage which has ended waits for its tracker without a sign of life
OUTPUTS = (":!results", ":!report", ":!dvc.lock")  # a run writes them itself
KEY, CURRENT = "oneshot.key", "current"


@dataclass(frozen=True)
class Dataset:
    name: str
    digest: str


@dataclass(frozen=True)
class Unit:
    """One flat run: a supernet, a subnet, a standalone, a comparison, a download or a page."""

    experiment: str
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    curve: Sequence[Metrics] = ()
    """Metrics by epoch, from epoch 1 on."""
    metrics: Mapping[str, float] | None = None
    """Metrics of the whole run."""
    dataset: Dataset | None = None
    artifacts: Sequence[tuple[Path, str]] = ()
    """File or folder, and the artifact folder it goes to ("" for the top). One that is missing is left out."""

    @property
    def key(self) -> str:
        content = asdict(self) | {"artifacts": [folder for _, folder in self.artifacts]}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=list).encode()).hexdigest()


def _guarded(
    method: Callable[Concatenate["Tracker", Arguments], Answer],
) -> Callable[Concatenate["Tracker", Arguments], Answer | None]:
    """After the first failure the tracker does nothing: results matter more than their view."""

    def guarded(tracker: "Tracker", /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer | None:
        if tracker.failure is not None:
            return None
        try:
            return method(tracker, *arguments, **named)
        except Exception as error:
            tracker.failure = _presentable(error)
            return None

    return guarded


def _presentable(error: Exception) -> str:
    """One line for a terminal. A server writes part of it: neither what it was sent to log in nor a control character
    comes back."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    secrets = {os.environ.get(name, "") for name in (PASSWORD, TOKEN)}
    login = f"{os.environ.get(USER)}:{os.environ.get(PASSWORD)}"
    for secret in secrets - {""} | {base64.b64encode(login.encode()).decode()}:
        line = line.replace(secret, "***")
    line = re.sub(r"//\S*@", "//***@", line)  # of a database, whose address holds them
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:LONGEST_FAILURE]


def _hide_credentials() -> None:
    """MLflow puts the server's address into what it says: user and password in it go where MLflow keeps them apart."""
    address = urlsplit(os.environ.get(SERVER, ""))
    if address.scheme in ("http", "https") and "@" in address.netloc:
        if address.password is not None:
            os.environ[USER], os.environ[PASSWORD] = unquote(address.username or ""), unquote(address.password)
        os.environ[SERVER] = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def load_library() -> type["MlflowClient"]:
    """Takes seconds, so that whoever has time may call it ahead. Touches no file and no server."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _hide_credentials()
    from mlflow import MlflowClient

    if not os.environ.get(SERVER):
        # Else the first call does, for another second, when a stage may have nothing left to do but wait for it.
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what fails is told once, by the tracker
    return MlflowClient


class Tracker:
    """Writes units into MLflow: `MLFLOW_TRACKING_URI` if set, else mlflow.db and mlruns/ in `home`."""

    def __init__(self, home: Path, tags: Mapping[str, str] | None = None):
        """tags: of every run that it starts."""
        self._home, self._tags = home, dict(tags or {})
        self.failure: str | None = None
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, dict[str, Run]] = {}

    @functools.cached_property
    def _client(self) -> "MlflowClient":
        client = load_library()
        uri = os.environ.get(SERVER)
        if not uri:
            uri = f"sqlite:///{self._home / 'mlflow.db'}"
            create_database(self._home / "mlflow.db")
        return client(uri)

    @_guarded
    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """A run that is under way; its id."""
        return self._start(experiment, name, tags)

    def _start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        tags = {**tags, **self._tags, **self._git_tags}
        run = self._client.create_run(self._experiment(experiment), tags=tags, run_name=name)
        return str(run.info.run_id)

    @_guarded
    def log_epoch(self, run_id: str, epoch: int, metrics: Metrics) -> None:
        self._log_metrics(run_id, [(epoch, metrics)])

    @_guarded
    def end(self, run_id: str, status: str) -> None:
        """status: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status)

    @_guarded
    def end_dead(self, experiment: str, has_died: Callable[[Mapping[str, str]], bool]) -> int:
        """Ends as KILLED the runs that nobody will: under way, and by their tags of a dead process. How many."""
        if self._client.get_experiment_by_name(experiment) is None:
            return 0
        dead = [run for run in self._search(experiment) if run.info.status == "RUNNING" and has_died(run.data.tags)]
        for run in dead:
            self._client.set_terminated(run.info.run_id, "KILLED")
        return len(dead)

    @_guarded
    def complete(self, unit: Unit, live_run: str | None = None, restored: bool = False) -> tuple[str, bool]:
        """The unit's run, and whether it had to be made: a run that shows the same is linked; else `live_run` is filled
        up; else a run is made from the unit alone."""
        known = self._known_runs(unit.experiment).get(unit.key)
        if known is not None and live_run is None:
            return str(known.info.run_id), False
        run_id = live_run or self._start(unit.experiment, unit.name, {"restored": "true"} if restored else {})
        if live_run is None:
            self._log_metrics(run_id, enumerate(unit.curve, start=1))
        self._fill(run_id, unit)
        return run_id, live_run is None

    @_guarded
    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._set_tags(run_id, tags)

    @_guarded
    def log_final(self, run_id: str, metrics: Metrics) -> None:
        """Metrics known only after the run has ended; the same again changes nothing."""
        known = self._client.get_run(run_id).data.metrics
        self._log_metrics(run_id, [(0, {name: value for name, value in metrics.items() if known.get(name) != value})])

    @_guarded
    def mark_current(self, experiment: str, run_ids: set[str]) -> None:
        """Exactly these runs of the experiment carry `current=true`."""
        if not run_ids and self._client.get_experiment_by_name(experiment) is None:
            return
        for run in self._search(experiment):
            wanted = "true" if run.info.run_id in run_ids else "false"
            if run.data.tags.get(CURRENT, "false") != wanted:
                self._client.set_tag(run.info.run_id, CURRENT, wanted)

    def _fill(self, run_id: str, unit: Unit) -> None:
        from mlflow.entities import Dataset as LoggedDataset
        from mlflow.entities import DatasetInput, InputTag, Param

        params = [Param(name, value) for name, value in unit.params.items()]
        for start in range(0, len(params), PARAM_BATCH):
            self._client.log_batch(run_id, params=params[start : start + PARAM_BATCH])
        self._log_metrics(run_id, [(0, unit.metrics or {})])  # at step 0: MLflow draws bars
        if unit.dataset:
            logged = LoggedDataset(unit.dataset.name, unit.dataset.digest, "local", f"data/{unit.dataset.name}")
            context = [InputTag("mlflow.data.context", "training")]
            self._client.log_inputs(run_id, [DatasetInput(logged, context)])
        for path, folder in unit.artifacts:
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder or None)
            elif path.exists():
                self._client.log_artifact(run_id, str(path), folder or None)
        self._set_tags(run_id, dict(unit.tags) | {KEY: unit.key})
        self._client.set_terminated(run_id)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _log_metrics(self, run_id: str, points: Any) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for step, values in points for name, value in values.items()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            from mlflow.exceptions import MlflowException

            # Says that it is model training. The page of an experiment may open as a GenAI project all the same.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            location = None if os.environ.get(SERVER) else (self._home / "mlruns" / name).as_uri()
            found = self._client.get_experiment_by_name(name)
            try:
                identity = found.experiment_id if found else self._client.create_experiment(name, location, tags)
            except MlflowException:
                # Another process made it in between.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
                identity = found.experiment_id
            self._experiments[name] = identity
        return self._experiments[name]

    def _known_runs(self, experiment: str) -> dict[str, "Run"]:
        """Runs that show a whole unit, by key, the newest of each; read once."""
        if experiment not in self._runs:
            oldest_first = reversed(list(self._search(experiment)))
            self._runs[experiment] = {run.data.tags[KEY]: run for run in oldest_first if KEY in run.data.tags}
        return self._runs[experiment]

    def _search(self, experiment: str) -> Iterator["Run"]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment(experiment)], max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    @functools.cached_property
    def _git_tags(self) -> dict[str, str]:
        """The commit, and whether tracked files differ from it: in this flow the edit is committed after the run."""
        try:
            commit = ask_git(self._home, "rev-parse", "HEAD").decode().strip()
            changes = ask_git(self._home, "status", "--porcelain", "--untracked-files=no", "--", ".", *OUTPUTS)
        except GitError:
            return {}
        return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changes)).lower()}


def create_database(path: Path) -> None:
    """First use, safe against two at once and against an interruption: MLflow's own table creation is neither, and
    leaves a database that fails for ever. So it is made aside, under a lock, and renamed."""
    if path.exists():
        sqlite3.connect(path).close()  # one that cannot be opened fails here; MLflow would try again for minutes
        return
    from filelock import FileLock

    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        aside = path.with_name(f"{path.name}.new")
        aside.unlink(missing_ok=True)
        load_library()(f"sqlite:///{aside}").search_experiments(max_results=1)
        aside.replace(path)


def newest_schema() -> str:
    """Of databases of the installed MLflow. Takes seconds."""
    load_library()
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]
