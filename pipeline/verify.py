"""Command verify: is all that dvc.lock names, by its bytes, what was committed, and are the metrics the same?

DVC believes the hashes that it has noted, and cached files that cannot be written. This believes nothing and
only hashes.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from oneshot.documents import load_document
from oneshot.errors import OneshotError
from oneshot.git import GitError, ask_git
from oneshot.params import load_params
from oneshot.tables import read_json
from pipeline.differences import NOTHING, Difference, changed_params, differing, differing_values, leaves
from pipeline.layout import Layout, address
from pipeline.lockfile import (
    Locked,
    built_stages,
    cached_listing,
    content_md5,
    is_kept_in_cache,
    list_folder,
    read_lock,
)

SHOWN = 10
"""Differences of a stage that are told one by one. An edit of a recipe changes a hundred metrics."""


@dataclass
class Findings:
    """Of one stage."""

    inputs: list[Difference] = field(default_factory=list)
    """Files and params."""
    outputs: list[Difference] = field(default_factory=list)
    metrics: list[Difference] = field(default_factory=list)
    compared: int = 0
    """How many metrics were held against the committed ones."""
    measured: list[str] = field(default_factory=list)
    """Outputs that hold seconds, or hashes of such, and are others: they are others after every run."""
    absent: list[str] = field(default_factory=list)
    """Weights and data that are not here, as in a fresh clone."""

    @property
    def differences(self) -> list[Difference]:
        return self.inputs + self.outputs + self.metrics


def run(say: Callable[[str], None]) -> bool:
    """A line per stage, then one per difference, each told once, at most SHOWN of a stage; whether there was none."""
    layout = Layout.find()
    stages = built_stages(load_params(layout.params))
    expected, source, same = _expected_lock(layout, stages)
    say(f"held against {source}")
    verifier, told, counts = Verifier(layout), set[str](), Counter[str]()
    for stage, key in stages:
        name = address(stage, key)
        if name not in expected:
            say(f"{name}: not in it; nothing to hold it against; run `dvc repro`, and commit where there is git")
            continue
        findings = verifier.verify(stage, key, expected[name])
        new = [line for line in map(str, findings.differences) if line not in told]
        shown, more = new[:SHOWN], len(new[SHOWN:])
        say(f"{name}: {_summary(findings, len(findings.differences) - len(new), same)}")
        for line in [*shown, f"and {more} more"] if more else shown:
            say(f"  {line}")
        told.update(shown)
        counts["differ" if findings.differences else same] += 1
    say(f"{counts[same]} stages {same}, {counts['differ']} differ")
    return not told


def _expected_lock(layout: Layout, stages: Sequence[tuple[str, str]]) -> tuple[dict[str, Locked], str, str]:
    """The committed dvc.lock, else the one of the folder; which it is, and how to call what is as it says."""
    try:
        commit = ask_git(layout.root, "rev-parse", "--short", "HEAD").decode().strip()
        content = ask_git(layout.root, "show", "HEAD:./dvc.lock")
    except GitError:
        lock = read_lock(layout.root / "dvc.lock", stages)
        return lock, "the dvc.lock of this folder; git has none", "as dvc.lock says"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "dvc.lock"
        path.write_bytes(content)
        return read_lock(path, stages), f"the dvc.lock of commit {commit}", "as committed"


def _summary(findings: Findings, told: int, same: str) -> str:
    kinds = {"input": len(findings.inputs), "output": len(findings.outputs), "metric": len(findings.metrics)}
    counts = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds.items() if count]
    parts = [f"differs: {', '.join(counts)}" if counts else same]
    if told:
        parts.append(f"{told} of them told above")
    if findings.compared:
        parts.append(f"{findings.compared} metrics compared")
    if findings.measured:
        parts.append(f"measured anew, as in every run: {', '.join(findings.measured)}")
    if findings.absent:
        parts.append(f"absent, as in a fresh clone: {', '.join(findings.absent)}")
    return "; ".join(parts)


class Verifier:
    """Reads every file once."""

    def __init__(self, layout: Layout):
        self._layout = layout
        self._params = load_document(layout.params)
        self._md5 = cache(content_md5)

    def verify(self, stage: str, key: str, locked: Locked) -> Findings:
        findings = Findings()
        for path, expected in locked.deps.items():
            found = self._md5(self._layout.root / path)
            if found != expected and not self._is_excused(key, path, found):
                findings.inputs += self._differing_files(path, expected, found)
        findings.inputs += changed_params(self._params, locked)
        for path, expected in locked.outs.items():
            found = self._md5(self._layout.root / path)
            if found == expected:
                continue
            if self._is_excused(key, path, found):
                (findings.measured if found else findings.absent).append(path)
            else:
                findings.outputs += self._differing_files(path, expected, found)
        if stage == "compare":
            self._compare_metrics(key, findings)
        return findings

    def _is_excused(self, study: str, name: str, found: str | None) -> bool:
        """Absent, as what only the cache holds may be; or there, and of measured seconds."""
        layout, path = self._layout, self._layout.root / name
        if found is None:
            return is_kept_in_cache(layout, path)
        paths = layout.study(study)
        timings = (paths.timing, paths.supernet_timing, paths.standalone_timing)
        return path in timings or path.is_relative_to(layout.page.parent)

    def _differing_files(self, path: str, expected: str, found: str | None) -> list[Difference]:
        """Of a folder those inside, if DVC's cache still knows what it held."""
        before = cached_listing(self._layout.home, expected)
        if before is None or not (self._layout.root / path).is_dir():
            return [Difference(path, expected, found or NOTHING)]
        return differing(
            {f"{path}/{name}": md5 for name, md5 in before.items()},
            {f"{path}/{name}": md5 for name, md5 in list_folder(self._layout.root / path).items()},
        )

    def _compare_metrics(self, study: str, findings: Findings) -> None:
        path = self._layout.study(study).comparison
        name = path.relative_to(self._layout.root).as_posix()
        try:
            before, after = json.loads(ask_git(self._layout.root, "show", f"HEAD:./{name}")), read_json(path)
        except (GitError, ValueError, OneshotError):
            return  # none were committed, or the file is damaged: then its hash differs
        findings.compared = len(dict(leaves("", before)))
        findings.metrics += differing_values(name, "", before, after)
