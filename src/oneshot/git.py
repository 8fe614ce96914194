"""What git says of a folder, where there is git."""

import subprocess
from pathlib import Path

SECONDS = 10


class GitError(Exception):
    """There is no git, or it has no answer; the text says why."""


def ask_git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=SECONDS)  # noqa: S603, S607
    except OSError as error:
        raise GitError(f"git: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git: no answer in {SECONDS} s") from None
    if done.returncode:
        raise GitError((done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"])[0])
    return done.stdout
