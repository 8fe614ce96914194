"""Python's garbage collector, in a process that begins with large imports."""

import gc


def collect_rarely() -> None:
    """Once in 100,000 new objects instead of 700, as long as the process lives: an import makes hundreds of thousands
    that stay, and to look through them again and again takes a fifth of its time."""
    gc.set_threshold(100_000)
