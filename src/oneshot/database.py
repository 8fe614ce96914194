"""MLflow's SQLite database, looked at without MLflow and without changing it: is it whole, of which schema, and where
do its runs keep their artifacts?"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

AGAIN = "move the file away and run `oneshot sync`, which makes another from the results"
BUSY_SECONDS = 2
# New runs go where their experiment says. MLflow makes the one numbered 0 for itself.
LOCATIONS = """
SELECT 'experiment ' || name, artifact_location FROM experiments WHERE lifecycle_stage = 'active' AND experiment_id != 0
UNION ALL SELECT 'run ' || run_uuid, artifact_uri FROM runs WHERE lifecycle_stage = 'active'
"""


def database_faults(path: Path, artifacts: Path, newest_schema: Callable[[], str]) -> Iterator[str]:
    """Lines of: place, what is wrong, the rule, the mend. `artifacts`: the folder that all must lie in."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", BUSY_SECONDS, uri=True)) as connection:
            (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (schema,) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
            locations = connection.execute(LOCATIONS).fetchall()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            yield f"{path.name}: another process writes to it; one at a time has it; run this again when that is done"
            return
        yield f"{path.name}: damaged: {error}; it must be a whole MLflow database; {AGAIN}"
        return
    if damage != "ok":
        yield f"{path.name}: damaged: {' '.join(damage.split())}; it must be a whole MLflow database; {AGAIN}"
    if schema != (newest := newest_schema()):
        mend = (
            f"copy the file, then run `mlflow db upgrade sqlite:///{path.name}`, or `make env` if MLflow is the older"
        )
        yield f"{path.name}: schema {schema}; the installed MLflow's is {newest}, and it opens no other; {mend}"
    if astray := [(name, place) for name, place in locations if not _lies_in(artifacts, place)]:
        name, place = astray[0]
        yield (
            f"{path.name}: {len(astray)} runs or experiments keep their artifacts elsewhere, {name} in {place}; MLflow "
            f"notes whole paths, and they must lie in {artifacts}; move the folder back, or {AGAIN}"
        )


def _lies_in(folder: Path, location: str | None) -> bool:
    parts = urlsplit(location or "")
    return parts.scheme in ("", "file") and Path(unquote(parts.path)).resolve().is_relative_to(folder.resolve())
