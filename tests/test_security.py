"""Nothing gets in that could run, and nothing gets out that is nobody's business."""

import ast
import base64
import functools
import getpass
import hashlib
import html
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import SPACES
from project import ROOT, make_bare_project
from pydantic import TypeAdapter, ValidationError
from report_data import make_project
from servers import bad_server, good_server
from test_report import HOSTILE, Outline, results_of

from oneshot.catalog import CATALOG, FilePin, KnownDataset
from oneshot.commands import main
from oneshot.documents import load_document, rewrite_document, write_document
from oneshot.errors import UNAVAILABLE
from oneshot.params import DatasetName, StudyName, load_params
from oneshot.report.page import ALTERNATIVES, render
from oneshot.tracking import LONGEST_FAILURE, Dataset, Tracker, Unit, load_library
from pipeline.report import run as draw_page

SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for folder in ("src", "pipeline")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
# What runs text, reads objects or unpacks files; whole modules that do are in test_imports.py.
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
CALLS = (
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "subprocess.Popen"),
    *("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "yaml.load", "yaml.unsafe_load"),
    *("torch.jit.load", "torch.jit.script", "torch.export.load", "torch.hub.load", "load_model", "log_model"),
    *("extractall", "unpack_archive", "tempfile.mktemp"),
)
# With comments and order, of what `load_document` has taken; a tag makes no object there either (a test below).
ROUND_TRIPS = {"src/oneshot/documents.py": ["YAML(typ='rt', pure=True)"]}
FLAGS = ("shell=True", "allow_pickle=True", "weights_only=False", "verify=False", "autoescape=False")


def is_fault(call: ast.Call) -> bool:
    name, words = ast.unparse(call.func), [ast.unparse(word) for word in call.keywords]
    unsafe_yaml = name.endswith("YAML") and "typ='safe'" not in words
    return (
        name in BUILTINS
        or f".{name}".endswith(tuple(f".{each}" for each in CALLS))
        or unsafe_yaml
        or any(word in FLAGS for word in words)
    )


def calls(*trees: ast.AST) -> list[ast.Call]:
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES)
def test_no_source_runs_text_reads_objects_or_unpacks_files(path: str) -> None:
    assert [ast.unparse(call) for call in calls(SOURCES[path]) if is_fault(call)] == ROUND_TRIPS.get(path, [])


@pytest.mark.parametrize(
    "text",
    [
        "eval(text)",
        "os.system(text)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "YAML().load(text)",
        "YAML(typ='unsafe').load(text)",
        "tarfile.open(path).extractall(folder)",
        "Environment(autoescape=False)",
        "mlflow.pytorch.load_model(uri)",
    ],
)
def test_what_is_forbidden_would_be_found(text: str) -> None:
    assert any(is_fault(call) for call in calls(ast.parse(text)))


def test_a_round_trip_makes_no_object_of_a_tag(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("a: !!python/object/apply:os.mkdir ['made']\n")
    seen: list[object] = []
    rewrite_document(tmp_path / "source", tmp_path / "target", lambda document: seen.append(list(document["a"])))

    assert seen == [["made"]]


def test_sub_processes_are_given_lists() -> None:
    trees = SOURCES.values()
    started = [call.args[0] for call in calls(*trees) if ast.unparse(call.func) == "subprocess.run"]
    lists = {
        ast.unparse(node.targets[0])
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    }

    named = {ast.unparse(command) for command in started if not isinstance(command, ast.List)}

    assert len(started) == 2 and named <= lists


def test_mlflow_is_served_to_this_machine_alone() -> None:
    (command,) = re.findall(r"^\t.*\bmlflow (?:ui|server)\b.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert " --host 127.0.0.1 " in command
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in command


def test_every_vulnerability_that_is_ignored_is_answered_for_the_version_that_is_pinned() -> None:
    rows = re.findall(r"^\| ([\w-]+) ([\d.]+) \| ([\w, -]+) \|", (ROOT / "docs/audit.md").read_text(), re.MULTILINE)
    ignored = re.findall(r"--ignore-vuln (\S+)", (ROOT / "Makefile").read_text())
    pins = set(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert sorted(ignored) == sorted(vulnerability for _, _, ids in rows for vulnerability in ids.split(", "))
    assert rows and {(name, version) for name, version, _ in rows} <= pins


def test_no_value_of_params_stands_in_a_command_or_unbounded_in_a_path_of_dvc() -> None:
    stages = load_document(ROOT / "dvc.yaml")["stages"]
    bodies = [body.get("do", body) for body in stages.values()]
    filled = set(re.findall(r"\$\{[^}]*\}", json.dumps([{**body, "cmd": ""} for body in bodies])))

    assert not any("$" in body["cmd"] for body in bodies)
    assert filled == {"${key}", "${item}"}  # names of studies and datasets, which params.py bounds


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a b", "a;b", "$(a)", "-rf", "_a", "a\n", "<b>", "", "a" * 41, "é", "a.b", "\0", "a\\b", "A"],
)
@pytest.mark.parametrize("kind", [StudyName, DatasetName], ids=["study", "dataset"])
def test_no_name_leaves_its_folder_or_means_something_to_a_shell(kind: object, name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(name)


# The page.


def hostile(value: object, keep: tuple[str, ...] = ()) -> object:
    """The same with every text replaced, but of those keys."""
    if isinstance(value, dict):
        return {key: each if key in keep else hostile(each, keep) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [hostile(each, keep) for each in value]
    return HOSTILE if isinstance(value, str) else value


def page_of(**changes: object) -> str:
    """Without figures, whose drawing takes seconds; test_report.py has theirs."""
    study = results_of(SPACES["sum"], **changes)
    vars(study)["figures"] = dict.fromkeys(ALTERNATIVES, "")
    return render([study], {"oneshot": HOSTILE})


PLAIN_PAGE = functools.cache(page_of)


@pytest.mark.parametrize(
    "field", ["dataset", "digests", "params", "summary", "timing", "inputs", "settings", "weights", "rows", "sampling"]
)
def test_no_text_of_params_or_results_is_markup_on_the_page(field: str) -> None:
    plain = results_of(SPACES["sum"])
    keep = ("best_oneshot", "best_standalone") if field == "summary" else ()
    page = page_of(**{field: hostile(getattr(plain, field), keep)})

    assert Outline(page).tags.count("script") == 1
    assert set(Outline(page).tags) == set(Outline(PLAIN_PAGE()).tags)
    assert page.count(html.escape("<script>alert(1)</script>")) > 1


def test_the_page_allows_no_script_but_its_own_and_nothing_from_elsewhere() -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page_of())

    assert "default-src 'none'" in html.unescape(policy)
    assert re.search(r"script-src 'sha256-[\w+/=]+'(;|$)", html.unescape(policy))


def test_the_page_says_nothing_of_the_folder_that_the_data_came_from(tmp_path: Path) -> None:
    layout = make_project(tmp_path, ("depths",))
    document = load_document(layout.params)
    document["datasets"]["mnist"]["folder"] = f"/home/planted/{HOSTILE}"
    write_document(layout.params, document)
    draw_page(load_params(layout.params), layout)

    assert "planted" not in layout.page.read_text()


# What leaves: tracking.

LOGIN, PASSWORD = "planted-login", "planted/pass@word"
UNIT = Unit(
    "depths",
    "standalone 1-1",
    {"stage": "train_standalones"},
    {"lr": "0.1"},
    [{"val/accuracy": 0.5}],
    {"cost/macs": 1.0},
    Dataset("mnist", "digest"),
)
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "GITHUB_TOKEN": "planted-github",
    "MLFLOW_TRACKING_TOKEN": "planted-token",
    "LOGNAME": "planted-user",
    "USER": "planted-user",
    "HOSTNAME": "planted-host",
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Secrets and names in the environment and the command line; a server is asked once and not for long."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ |= PLANTED | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
    monkeypatch.setattr(sys, "argv", ["oneshot", "sync", "--token=planted-argument"])
    yield
    os.environ.clear()
    os.environ |= before


def address_with_login(address: str) -> str:
    return f"http://{LOGIN}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@{address}"


def tells(text: str) -> list[str]:
    """The lines that have one of the secrets, plain or packed."""
    packed = [base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode(), "planted"]
    return [line for line in text.splitlines() if any(secret in line for secret in packed)]


def track(folder: Path) -> Tracker:
    (folder / "curves.csv").write_text("epoch\n1\n")
    tracker = Tracker(folder)
    run = tracker.start("depths", "standalone 1-1", {"stage": "train_standalones"})
    tracker.log_epoch(run or "", 1, {"val/accuracy": 0.5})
    tracker.complete(Unit(**vars(UNIT) | {"artifacts": [(folder / "curves.csv", "")]}), run)
    tracker.mark_current("depths", {run or ""})
    return tracker


def test_a_database_holds_no_secret_and_no_name_of_a_user(
    tmp_path: Path, empty_database: Path, planted: None, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_database, tmp_path)
    tracker = track(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert getpass.getuser() == "planted-user" and tracker.failure is None and len(files) > 2
    assert not [path for path, content in files.items() if b"planted" in content]
    assert capfd.readouterr() == ("", "")
    (run,) = tracker._client.search_runs(["1"])
    assert {tag for tag in run.data.tags if tag.startswith("mlflow.")} <= {
        "mlflow.runName",
        "mlflow.source.git.commit",
    }
    assert run.info.user_id == "unknown"


def test_a_server_is_logged_in_to_but_told_and_shown_no_secret(
    tmp_path: Path, planted: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    with good_server() as heard:
        os.environ["MLFLOW_TRACKING_URI"] = address_with_login(heard.address)
        tracker = track(tmp_path)

    assert tracker.failure is None and len(heard.text) > 8
    assert tracker._client.tracking_uri == f"http://{heard.address}"  # so MLflow has nothing to let slip
    assert heard.logins == {"Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()}
    assert [line for text in heard.text for line in tells(text)] == []
    assert str(tmp_path) not in "".join(heard.text)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "login"),
    [
        ("http://name:word@host:1/path?x=1", ("name", "word")),
        ("https://a%40b:c%2Fd%3A@host:1/path?x=1", ("a@b", "c/d:")),
        ("http://name@host:1/path?x=1", ("own name", "own word")),
        ("http://host:1/path?x=1", ("own name", "own word")),
    ],
)
def test_what_the_address_says_to_log_in_is_kept_apart_from_it(
    planted: None, given: str, login: tuple[str, str]
) -> None:
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    os.environ |= dict(zip(names, ("own name", "own word"), strict=True)) | {"MLFLOW_TRACKING_URI": given}
    load_library()
    load_library()

    assert os.environ["MLFLOW_TRACKING_URI"].partition("//")[2] == "host:1/path?x=1"
    assert tuple(os.environ[name] for name in names) == login


@pytest.mark.parametrize("uri", ["", "sqlite:///a@b.db", "postgresql://name:word@host/database"])
def test_an_address_that_is_no_servers_stays_as_it_is(planted: None, uri: str) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = uri
    load_library()

    assert os.environ["MLFLOW_TRACKING_URI"] == uri


BAD_ADDRESSES = {
    "no port": "http://planted-login:planted-word@127.0.0.1:none",
    "no host": "http://planted-login:planted/word@",
    "open bracket": "http://planted-login:planted-word@[::1",
    "other scheme": "htp://planted-login:planted-word@127.0.0.1",
    "database": "postgresql://planted-login:planted-word@127.0.0.1:1/planted-database@x",
}


@pytest.mark.parametrize(
    "kind", ["refuses", "hangs", "fails", "babbles", "rejects", "redirects", "echoes", *BAD_ADDRESSES]
)
def test_no_warning_has_a_secret_whatever_a_server_answers(
    tmp_path: Path,
    planted: None,
    kind: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        bad_server("refuses" if kind in BAD_ADDRESSES else kind) as address,
        warnings.catch_warnings(record=True) as warned,
    ):
        for token in ("", "planted-token"):
            os.environ["MLFLOW_TRACKING_TOKEN"] = token
            os.environ["MLFLOW_TRACKING_URI"] = BAD_ADDRESSES.get(kind) or address_with_login(address)
            failure = track(tmp_path).failure

            assert failure and failure.isprintable() and len(failure) <= LONGEST_FAILURE
            assert tells(failure) == []
    told = [*capfd.readouterr(), *caplog.messages, *(str(warning.message) for warning in warned)]
    assert [line for text in told for line in tells(text)] == []


def test_sync_says_no_secret(tmp_path: Path, planted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_bare_project(tmp_path / "project", ["depths"])
    for name in ("dvc.lock", "results", "report"):
        (project / name).symlink_to(ROOT / name)
    monkeypatch.chdir(project)
    with bad_server("echoes") as address:
        os.environ["MLFLOW_TRACKING_URI"] = address_with_login(address)
        result = CliRunner().invoke(main, ["sync"])

    assert (result.exit_code, result.stdout) == (UNAVAILABLE, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: MLflow: ") and line.isprintable() and tells(line) == []


def test_a_stage_says_and_leaves_no_secret(
    tmp_path: Path, planted: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project, source = make_bare_project(tmp_path / "project", ["depths"]), tmp_path / "planted-folder"
    source.mkdir()
    pins = {}
    for name in CATALOG["mnist"].files:
        (source / name).write_bytes(name.encode())
        pins[name] = FilePin(len(name), hashlib.sha256(name.encode()).hexdigest())
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", None, pins))
    document = load_document(project / "params.yaml")
    document["datasets"]["mnist"]["folder"] = str(source)
    write_document(project / "params.yaml", document)
    monkeypatch.chdir(project)
    with good_server() as heard:
        os.environ["MLFLOW_TRACKING_URI"] = address_with_login(heard.address)
        result = CliRunner().invoke(main, ["download", "--dataset", "mnist"])

    expected = f"mnist: from folder {source}\nmnist: its four files are as pinned\n"
    assert result.output == expected and result.exit_code == 0, result.output
    assert len(heard.text) > 4 and [line for text in heard.text for line in tells(text)] == []
    assert [line for text in capfd.readouterr() for line in tells(text)] == []
    assert sorted(path.name for path in (project / "data" / "mnist").iterdir()) == sorted(pins)
    files = [path for path in project.rglob("*") if path.is_file() and path.name != "params.yaml"]
    assert not [path for path in files if b"planted" in path.read_bytes()]
