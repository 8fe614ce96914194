"""dvc.yaml, the modules, the commands and the paths tell one story."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from oneshot.commands import STAGES, main
from oneshot.documents import load_document
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
# What they hold changes no result: values are tracked by `params`, and logging must not retrain.
EXEMPT = {"oneshot.cli", "oneshot.params", "oneshot.tracking", "oneshot.checkpoint", "oneshot.progress"}
# By stage, for any study or dataset where there is one of each.
DVC_STAGES = {name: body.get("do", body) for name, body in load_document(ROOT / "dvc.yaml")["stages"].items()}


def module_file(module: str) -> Path:
    base = ROOT / ("src" if module.startswith("oneshot") else "") / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from runtime_nodes(node)


def imported_modules(module: str) -> set[str]:
    found: set[str] = set()
    for node in runtime_nodes(ast.parse(module_file(module).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] in ("oneshot", "pipeline") and module_file(name).exists()}


def import_closure(module: str) -> set[str]:
    closure, waiting = set(), [module]
    while waiting:
        current = waiting.pop()
        if current not in closure and current not in EXEMPT:
            closure.add(current)
            waiting += imported_modules(current)
    return closure


def is_docstring_only(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


@pytest.mark.parametrize("stage", DVC_STAGES)
def test_deps_are_exactly_the_modules_that_a_stage_imports(stage: str) -> None:
    files = {module_file(module) for module in import_closure(f"pipeline.{stage}")}
    expected = {
        str(file.relative_to(ROOT)) for file in files if not (file.name == "__init__.py" and is_docstring_only(file))
    }
    declared = [dep for dep in DVC_STAGES[stage]["deps"] if dep.endswith(".py")]

    assert sorted(declared) == sorted(expected)


def test_stages_modules_and_commands_have_the_same_names() -> None:
    assert list(DVC_STAGES) == list(STAGES)
    assert set(STAGES) <= set(main.commands)
    assert all(module_file(f"pipeline.{stage}").exists() for stage in STAGES)


@pytest.mark.parametrize("stage", DVC_STAGES)
def test_a_command_takes_no_value_from_params(stage: str) -> None:
    assert DVC_STAGES[stage]["cmd"] == f"oneshot {stage}"
    assert DVC_STAGES[stage]["desc"]


def declared_outs() -> set[str]:
    entries = [
        entry for body in DVC_STAGES.values() for kind in ("outs", "metrics", "plots") for entry in body.get(kind, [])
    ]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_layout_and_dvc_yaml_name_the_same_files() -> None:
    layout = Layout(Path(), Path())
    paths = layout.study("${key}")
    of_study = {
        str(getattr(paths, name)) for name in vars(type(paths)) if isinstance(vars(type(paths))[name], property)
    }
    of_dataset = {
        str(layout.dataset("${key}") / f"{part}-{kind}-ubyte")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    }

    of_page = {str(layout.manifest("${key}")), str(layout.page)}

    assert declared_outs() == of_study | of_dataset | of_page


@pytest.mark.parametrize("stage", ["train_supernet", "evaluate_subnets", "train_standalones"])
def test_only_compare_depends_on_the_test_split(stage: str) -> None:
    assert not [dep for dep in DVC_STAGES[stage]["deps"] if "t10k" in dep]
    assert [dep for dep in DVC_STAGES["compare"]["deps"] if "t10k" in dep]


def test_files_kept_in_git_are_metrics_or_plots_without_cache() -> None:
    for body in DVC_STAGES.values():
        for kind in ("metrics", "plots"):
            assert all(next(iter(entry.values()))["cache"] is False for entry in body.get(kind, []))


def test_the_page_depends_on_its_template_and_on_every_manifest() -> None:
    deps = DVC_STAGES["report"]["deps"]

    assert {f"src/oneshot/report/page.{kind}" for kind in ("html", "css", "js")} <= set(deps)
    assert str(Layout(Path(), Path()).manifest("depths").parent) in deps


def test_the_page_depends_on_no_data_and_no_weights() -> None:
    assert not [dep for dep in DVC_STAGES["report"]["deps"] if dep.startswith("data") or "weights" in dep]


def test_workers_is_a_param_of_no_stage() -> None:
    assert not any("compute.workers" in body["params"] for body in DVC_STAGES.values())
