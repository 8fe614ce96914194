"""Imports run one way, and each library is used where it belongs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for folder in ("src", "pipeline")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(tree):
    """Every module that a file names, wherever in it the import stands; `from a import b` names `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                "." * node.level + (node.module or ""),
                *(f"{node.module}.{alias.name}" for alias in node.names),
            )


def importers(*modules):
    """The files that import any of the modules, or something inside."""
    return {
        path
        for path, tree in FILES.items()
        for name in imports(tree)
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    }


def loaded(module):
    """What a fresh process has imported after this module."""
    script = f"import sys; sys.argv = ['oneshot']; import {module}; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert module in names
    return set(names)


@pytest.mark.parametrize(
    ("modules", "owners"),
    [
        (["mlflow"], {"src/oneshot/tracking.py"}),
        (["click"], {"src/oneshot/commands.py"}),
        (["ruamel"], {"src/oneshot/documents.py"}),
        (["yaml"], set()),  # PyYAML, whose `load` makes objects, and reads YAML 1.1
        (["pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"], set()),
        (["jinja2", "markupsafe"], {"src/oneshot/report/page.py"}),
        (["oneshot.cli"], set()),
        (["oneshot.commands"], {"src/oneshot/cli.py"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_library_is_imported_by_its_owner_alone(modules, owners):
    assert importers(*modules) <= owners


def test_owners_import_what_they_own():
    assert importers("click") == {"src/oneshot/commands.py"}
    assert importers("ruamel") == {"src/oneshot/documents.py"}


def test_core_knows_the_pipeline_from_the_command_line_alone():
    core = {path for path in importers("pipeline") if path.startswith("src/")}
    assert core == {"src/oneshot/commands.py"}


@pytest.mark.parametrize("path", FILES)
def test_imports_are_absolute(path):
    assert not any(name.startswith(".") for name in imports(FILES[path]))


@pytest.mark.parametrize("path", FILES)
def test_torch_pickles_nothing(path):
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(FILES[path])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert used.isdisjoint({"torch.save", "torch.load"})
    assert {"torch.save", "torch.load", "torch.serialization"}.isdisjoint(imports(FILES[path]))


@pytest.mark.parametrize("module", ["download", "runner", "publish", "show", "sync", "demo", "verify", "doctor"])
def test_command_that_trains_nothing_starts_without_the_heavy_libraries(module):
    assert {"torch", "torchvision", "mlflow", "numpy", "scipy", "matplotlib"}.isdisjoint(loaded(f"pipeline.{module}"))


def test_command_line_starts_without_the_heavy_libraries():
    heavy = {"torch", "torchvision", "mlflow", "dvc", "numpy", "scipy", "matplotlib", "jinja2", "pydantic"}
    assert heavy.isdisjoint(loaded("oneshot.commands"))
    assert "click" not in loaded("oneshot.cli")
