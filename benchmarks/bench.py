"""Prints one table: how fast the project is, held against what people do today, against the machine, and its floors.

`python -m benchmarks.bench [--quick] [PART ...]`; a full run of all parts writes docs/benchmarks.md as well.
"""

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
HOW = """Each figure was measured beside the one that it is held against: in one run, in turn (A B A B), each in
processes of its own, after a warm-up, but where a round is a whole stage or a whole recipe. Times are medians; a ratio
is the median of the rounds' own, with their range. Accuracies, memory and `dvc repro` are of one run each; scoring by
number of subnets is measured in one process, and its ratios are of medians.

- The usual recipe is `benchmarks/usual.py`: images decoded and normalised one by one in a DataLoader, float32,
  contiguous tensors, `loss.item()` each step, an evaluation pass per subnet; of the kernels both branches are computed
  and one is multiplied by zero. Same networks, batch size, optimizer, schedule and number of images. The DataLoader has
  0 or 2 workers, whichever was faster in the rounds of the row; 0 in the profile and in the accuracies.
- All of it is of the processor, and of the precisions that it multiplies natively: where that is float32 alone, ours
  is float32, too, held to the same ratios, and a share that is asked for of the bfloat16 product is not there.
- A step's FLOPs are 2 x 3 x the forward MACs, as the backward pass takes twice the forward one, less the gradient of
  the images, which nothing asks for.
- The profile says what stands in the way where a training misses its floor. torch's profiler, which takes some time
  itself, looks at as many trainings side by side as a supernet has threads: each with its part of a supernet's batch,
  or, of `kernels-sum` with 128 images, with a standalone's whole batch. "Were it its convolutions alone" is the share
  of the product on as many threads that a step would reach in which nothing else took time; "were it its layers
  alone", without optimizer, data, loss, casts of weights to bfloat16 and Python, is that share, too, and, in a row of
  its own, the ratio to the usual recipe for as many images. More than that takes faster layers. Times are of one of
  the trainings; a gradient's zeros count as pooling. Other operations are those of the data, the loss, casts and the
  optimizer; all else is Python, and the profiler. "Without the profiler, none waiting for another" are the same
  trainings as they are: a batch in parts, which wait for each other, cannot be faster. A step with 8 images takes what
  its calls of PyTorch and oneDNN take, however little they compute.
- What telling MLflow costs is counted in seconds of a core, by the process that tells it, without the git commands
  that it starts: about the most that it can take from a training. In the repository's first stage MLflow's database
  is made as well, once. Standalones are trained side by side: their seconds are divided by the workers. What a stage
  waits for MLflow at its end is in the row of whole commands, which has the import too, and varies by more.
- Accuracies beside the usual recipe's are of one whole training of each network by either, with one seed. The usual
  recipe scores the subnets of `depths` on batch-norm statistics that all of them share; ours have their own.
- The matrix product of a row was measured in that row's rounds. It is a yardstick, no limit: in fp32 convolutions may
  be faster than torch's product. The row of a step that is all product has the time that its FLOPs would take at that
  rate, were there nothing else to do, and the ratio that this would give.
- Threads in every operation are PyTorch's way: a whole batch at once. A part each is how a supernet is trained here,
  trainings side by side, with a thread each, how standalones are.
- `dvc repro -f` runs once alone and once beside a process that never rests, each in a fresh clone, download included.
- Subnets are scored as a tree: a node is a layer behind the same layers, shared by several subnets and computed once.
  The rows by number of subnets have few channels, and say what a node costs beside what it costs with 9.
- A step of an epoch is the mean of 108 that the sampler draws, each subnet equally often, without an evaluation pass.
  A study's training alone is the seconds of its supernet and of its standalones, these divided by the workers that
  train side by side. With scoring it is timed from where either side has its modules and images in memory; the row of
  a start, which is a supernet's, says about what comes before.
- Memory is the proportional set size of all processes of a stage, looked at every 0.2 seconds, in runs of one epoch.
"""


# Imported when they run: every process that a part starts imports this module again.
PARTS = {
    "step": "training.step_rows",
    "epoch": "training.epoch_rows",
    "profile": "profile.profile_rows",
    "cores": "cores.core_rows",
    "study": "study.study_rows",
    "scoring": "scoring.scoring_rows",
    "growth": "scoring.growth_rows",
    "tracking": "tracking.tracking_rows",
    "start": "stages.start_rows",
    "memory": "stages.memory_rows",
    "accuracy": "study.accuracy_rows",
    "repro": "repro.repro_rows",
}
ROUGH = ("step", "epoch", "study", "scoring", "start")
"""What the quick mode measures unless parts are named, to stay within its minutes on a slow processor, too."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="less of everything: under 3 minutes, rougher, and held to no floor"
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless named")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: unknown; the parts are {', '.join(PARTS)}")
    from oneshot.errors import OneshotError

    try:
        failed = _bench(arguments.quick, arguments.parts or (ROUGH if arguments.quick else PARTS))
    except OneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(1 if failed else 0)


def _bench(quick: bool, parts: Collection[str]) -> list[str]:
    """The parts that failed: what the others measured is kept."""
    from benchmarks.machine import describe
    from benchmarks.settings import Settings
    from benchmarks.table import HEADINGS, RULES, Row, markdown

    whole, failed = not quick and list(parts) == list(PARTS), list[str]()
    settings, started = Settings.load(ROOT, quick, whole), time.monotonic()
    machine, table = "\n".join(describe(ROOT, settings.amount(5, 1))), [markdown(HEADINGS), markdown(RULES)]
    print(machine, "", *table, sep="\n", flush=True)
    for part in parts:
        print(f"{time.monotonic() - started:4.0f} s: {part}", file=sys.stderr)
        module, _, function = PARTS[part].partition(".")
        try:
            rows = getattr(importlib.import_module(f"benchmarks.{module}"), function)(settings)
            if quick:  # floors are of the whole work
                rows = [replace(row, at_least=None, at_most=None) for row in rows]
        except Exception:
            traceback.print_exc()
            failed.append(part)
            rows = [Row(f"part `{part}`", "failed", "", None)]
        table += [markdown(row.cells()) for row in rows]
        print(*table[-len(rows) :], sep="\n", flush=True)  # as they come: a full run takes its time
    print(f"{time.monotonic() - started:4.0f} s: done", file=sys.stderr)
    if whole:
        curve = f"![Seconds to score every subnet, by architectures]({settings.figure.name})"
        PAGE.write_text("\n\n".join(("# Benchmarks", "`make bench`:", machine, HOW, "\n".join(table), curve)) + "\n")
    return failed


if __name__ == "__main__":
    main()
