"""Which stages are stale: whose code, params, dataset or results of other stages are not what dvc.lock says.

Hashes code alone. Whether other files are damaged, `oneshot verify` says.
"""

from collections.abc import Iterator, Mapping

from oneshot.documents import load_document
from oneshot.params import Params
from pipeline.differences import changed_params
from pipeline.dvcfile import CODE
from pipeline.layout import Layout, address
from pipeline.lockfile import Locked, built_stages, content_md5


def stale_stages(layout: Layout, params: Params, lock: Mapping[str, Locked]) -> dict[str, str]:
    """What has changed first of each stage of `lock` that is stale, by address."""
    document = load_document(layout.params)
    made = {path: md5 for locked in lock.values() for path, md5 in locked.outs.items()}
    stale = dict[str, str]()
    for stage, key in built_stages(params):
        name = address(stage, key)
        if name in lock:
            changes = [
                *_changed_files(layout, lock[name], made),
                *_changed_dataset(layout, params, key, lock[name]),
                *(change.name for change in changed_params(document, lock[name])),
            ]
            if changes:
                stale[name] = changes[0]
    return stale


def _changed_files(layout: Layout, locked: Locked, made: Mapping[str, str]) -> Iterator[str]:
    """made: MD5 of every output that dvc.lock names, by path. It differs where the stage behind was not run since."""
    for path, md5 in locked.deps.items():
        now = content_md5(layout.root / path) if path.endswith(CODE) else made.get(path, md5)
        if now != md5:
            yield path


def _changed_dataset(layout: Layout, params: Params, key: str, locked: Locked) -> Iterator[str]:
    """key: a study, where the stage has one."""
    if key in params.run:
        folder = layout.dataset(params.run[key])
        files = [layout.root / path for path in locked.deps]
        if any(file.is_relative_to(folder.parent) and not file.is_relative_to(folder) for file in files):
            yield f"params.yaml: run.{key}"
