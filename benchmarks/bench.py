"""Prints one table: how fast the project is, held against what people do today, against the machine, and its floors.

`python -m benchmarks.bench [--quick] [PART ...]`; a full run of all parts writes docs/benchmarks.md as well.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.scoring import draw_growth, growth_rows, measure_growth, scoring_rows
from benchmarks.settings import Settings
from benchmarks.stages import memory_rows, recorded_rows, start_rows, tracking_rows
from benchmarks.study import study_rows
from benchmarks.table import Row, markdown
from benchmarks.training import busy_rows, epoch_rows, step_rows
from oneshot.data import verify_training_files
from oneshot.errors import OneshotError
from oneshot.params import load_params

ROOT = Path(__file__).parents[1]
FIGURE, PAGE = ROOT / "docs" / "scoring.png", ROOT / "docs" / "benchmarks.md"
HOW = """Each figure was measured beside the one that it is held against: in one run, in turn (A B A B), each in a
process of its own, after a warm-up. Times are medians; a ratio is the median of the rounds' own ratios, with their range.

- The usual recipe is `benchmarks/usual.py`: images decoded and normalised one by one in a DataLoader, float32,
  contiguous tensors, `loss.item()` each step, an evaluation pass per subnet; of the kernels both branches are computed
  and one is multiplied by zero. Same networks, batch size, optimizer, schedule and number of images. The DataLoader has
  0 or 2 workers, whichever was faster.
- A step's FLOPs are 2 x 3 x the forward MACs: the backward pass counts twice the forward one.
- A step of an epoch is what an epoch takes divided by its steps, over the first steps that the sampler draws.
"""


def _growth(settings: Settings) -> list[Row]:
    growths = measure_growth(settings)
    if not settings.quick:
        FIGURE.write_bytes(draw_growth(growths))
    return growth_rows(growths)


PARTS: Mapping[str, Callable[[Settings], list[Row]]] = {
    "step": step_rows,
    "epoch": epoch_rows,
    "busy": busy_rows,
    "study": study_rows,
    "scoring": scoring_rows,
    "growth": _growth,
    "tracking": tracking_rows,
    "start": start_rows,
    "memory": memory_rows,
    "repro": recorded_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: under 3 minutes, and rougher")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless named")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: unknown; the parts are {', '.join(PARTS)}")
    try:
        settings = Settings(ROOT, load_params(ROOT / "params.yaml"), arguments.quick)
        verify_training_files(settings.dataset)
        _bench(settings, arguments.parts or list(PARTS))
    except OneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _bench(settings: Settings, parts: list[str]) -> None:
    started = time.monotonic()
    machine, rows = "\n".join(describe(ROOT)), list[Row]()
    for part in parts:
        print(f"{time.monotonic() - started:4.0f} s: {part}", file=sys.stderr)
        rows += PARTS[part](settings)
    print(machine, "\n\n", markdown(rows), sep="")
    print(f"{time.monotonic() - started:4.0f} s: done", file=sys.stderr)
    if not settings.quick and parts == list(PARTS):
        curve = f"![Seconds to score every subnet, by architectures]({FIGURE.name})"
        PAGE.write_text(f"# Benchmarks\n\n`make bench`\n\n{machine}\n\n{HOW}\n{markdown(rows)}\n\n{curve}\n")


if __name__ == "__main__":
    main()
