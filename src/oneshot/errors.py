"""The one error a user sees: a line that names the place, the rule and the mend, and an exit code.

Exit codes (sysexits.h where it has one): 1 training failed, 2 usage or params, 65 bad data,
66 missing input, 69 no source or service, 71 a worker process died, 74 input or output failed, 75 another
process is at it.
"""

import json
import re
from typing import Any

TRAINING, USAGE, BAD_DATA, MISSING_INPUT, UNAVAILABLE, PROCESS, IO, BUSY = 1, 2, 65, 66, 69, 71, 74, 75


class OneshotError(Exception):
    """Printed as `error: <message>`; the process ends with `exit_code`."""

    def __init__(self, message: str, exit_code: int):
        # Both go to Exception, so that the error survives pickling on its way out of a worker process.
        super().__init__(message, exit_code)
        self.message = " ".join(message.split())
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


def quoted_key(key: Any) -> str:
    """As it is if it is plain, else in quotes, so that no key forges a line, a dot or a colour."""
    return str(key) if re.fullmatch(r"[\w-]+", str(key), re.ASCII) else json.dumps(str(key))
