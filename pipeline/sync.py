"""Command sync: makes MLflow show every result that dvc.lock names. Idempotent.

DVC skips or restores a stage whose result it knows, and then nothing is logged; a fresh clone has no runs at all.
Results and lock hold all that a run shows, so it is linked if it exists and made if it does not.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator

from oneshot.errors import UNAVAILABLE, OneshotError
from oneshot.params import Params, load_params
from oneshot.tracking import Tracker
from pipeline.dvcfile import CODE, file_md5
from pipeline.layout import Layout, address
from pipeline.lockfile import Locked, built_stages, is_kept_in_cache, read_lock
from pipeline.origin import ORIGIN, has_died, origin
from pipeline.publish import Published, log_compared, publish
from pipeline.units import ARMS, DOWNLOADS, PAGES, Record


def run(warn: Callable[[str], None]) -> str:
    """What was done, in one line."""
    layout = Layout.find()
    params = load_params(layout.params)
    tracker = Tracker(layout.home, {ORIGIN: origin(layout, "sync")})
    current: dict[str, set[str]] = defaultdict(set)
    counts: Counter[bool] = Counter()
    networks: dict[str, list[tuple[Locked, list[Published]]]] = defaultdict(list)
    for stage, key, locked in _entries(layout, params, warn):
        published = list(publish(tracker, layout, _record(stage, key, locked), restored=True))
        for each in published:
            current[each.unit.experiment].add(each.run_id)
            counts[each.made] += 1
            tracker.tag(each.run_id, _lock_tags(locked))
        if stage in ARMS.values():
            networks[key].append((locked, published))
        elif stage == "compare":
            for trained in [each for made, each in networks[key] if _was_compared(made, locked)]:
                deque(log_compared(tracker, layout, key, trained), maxlen=0)
    # Also where nothing is current any more: in studies that `run` no longer names.
    dead = 0
    for experiment in (*params.studies, DOWNLOADS, PAGES):
        tracker.mark_current(experiment, current[experiment])
        dead += tracker.end_dead(experiment, lambda tags: ORIGIN in tags and has_died(layout, tags[ORIGIN])) or 0
    if tracker.failure is not None:
        raise OneshotError(f"MLflow: {tracker.failure}; the sync is not complete; run it again", UNAVAILABLE)
    ended = f"; {dead} that were left under way are ended as killed" * bool(dead)
    return f"MLflow shows all of dvc.lock: {counts[False]} runs were there, {counts[True]} were made from files{ended}"


def _entries(layout: Layout, params: Params, warn: Callable[[str], None]) -> Iterator[tuple[str, str, Locked]]:
    """What dvc.lock says of the stages that params.yaml still builds and whose files are what it says."""
    stages = built_stages(params)
    lock = read_lock(layout.root / "dvc.lock", stages)
    for stage, key in stages:
        if (locked := lock.get(address(stage, key))) is None:
            continue
        if changed := [path for path, md5 in locked.outs.items() if not _as_locked(layout, path, md5)]:
            warn(f"warning: {changed[0]}: not what dvc.lock says; {address(stage, key)} is left out; run `dvc repro`")
            continue
        yield stage, key, locked


def _as_locked(layout: Layout, name: str, md5: str) -> bool:
    path = layout.root / name
    return is_kept_in_cache(layout, path) or path.is_dir() or (path.is_file() and file_md5(path) == md5)


def _record(stage: str, key: str, locked: Locked) -> Record:
    dataset = next((path.split("/")[1] for path in locked.deps if path.startswith("data/")), key)
    code = {path: md5 for path, md5 in sorted(locked.deps.items()) if path.endswith(CODE)}
    return Record(stage, key, dataset, locked.params, code)


def _was_compared(trained: Locked, compare: Locked) -> bool:
    """Not if it was made again since."""
    return all(compare.deps.get(path, md5) == md5 for path, md5 in trained.outs.items())


def _lock_tags(locked: Locked) -> dict[str, str]:
    """Hashes of inputs and outputs, by path; code has a tag of its own."""
    deps = {f"dvc.dep.{path}": md5 for path, md5 in locked.deps.items() if not path.endswith(CODE)}
    return deps | {f"dvc.out.{path}": md5 for path, md5 in locked.outs.items()}
