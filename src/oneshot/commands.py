"""The commands of `oneshot`: one per DVC stage, and a few for people.

Thin: parses, calls, and turns failures into lines and exit codes. Imports inside the commands, so that
`--help` is instant.
"""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from oneshot.errors import IO, MISSING_INPUT, USAGE, OneshotError

WRONG = 1  # of verify and doctor
STAGES = {
    "download": "Fetch a dataset's four IDX files and verify them.",
    "train_supernet": "Train the weight-sharing supernet.",
    "evaluate_subnets": "Score every subnet on the validation split.",
    "train_standalones": "Train every architecture from scratch.",
    "compare": "Compare one-shot with standalone on the test set.",
    "report": "Write the page over all studies, report/index.html.",
}


class ErrorLines(click.Group):
    """Turns every expected failure into `error: ...` lines on stderr and the documented exit code."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **named)
        except click.UsageError as error:
            _exit_on_usage(error)
        except OSError as error:
            _exit_on_io(error)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.UsageError as error:
            _exit_on_usage(error)
        except OneshotError as error:
            for line in getattr(error, "faults", [str(error)]):
                click.echo(f"error: {line}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            _exit_on_io(error)


def _exit_on_usage(error: click.UsageError) -> NoReturn:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    command = error.ctx.command_path if error.ctx else "oneshot"
    click.echo(f"error: {command}: {error.format_message().rstrip('.')}; see `{command} --help`", err=True)
    sys.exit(USAGE)


def _exit_on_io(error: OSError) -> NoReturn:
    if not isinstance(error, BrokenPipeError):  # whoever was told had heard enough
        click.echo(
            f"error: {error.filename or 'input/output'}: {error.strerror or error}; mend it and run again", err=True
        )
    sys.exit(IO)


@click.group(cls=ErrorLines, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="oneshot")
def main() -> None:
    """One-shot neural architecture search, compared with training every architecture standalone.

    The stages are run by `dvc repro`; run one by hand with --study (download: --dataset).
    """
    if "DVC_STAGE" in os.environ:
        from oneshot.writer import end_with_starter

        # Left alone, it would write beside the stage that the next `dvc repro` starts.
        end_with_starter("DVC_STAGE")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _stage_command(name: str, summary: str) -> None:
    if name == "report":

        @main.command(name, help=summary)
        def report() -> None:
            _run_stage(name, "")

        return
    option = "dataset" if name == "download" else "study"

    @main.command(name, help=summary)
    @click.option(
        f"--{option}", "key", metavar="NAME", help=f"Which {option} of params.yaml; under DVC the stage says it."
    )
    def command(key: str | None) -> None:
        _run_stage(name, key or _key_from_dvc(name, option))


def _run_stage(name: str, key: str) -> None:
    from pipeline.ending import describe_result
    from pipeline.runner import run_stage

    run_stage(name, key, _say)
    if text := describe_result(name, key):
        click.echo(text)


def _key_from_dvc(name: str, option: str) -> str:
    """DVC names the stage it runs, `<stage>@<key>`, so no value from params.yaml reaches a shell."""
    stage, _, key = os.environ.get("DVC_STAGE", "").partition("@")
    if stage != name or not key:
        raise click.UsageError(f"no {option} is named; give --{option} NAME")
    return key


for _name, _summary in STAGES.items():
    _stage_command(_name, _summary)


@main.command()
def check() -> None:
    """Validate params.yaml; change nothing."""
    from oneshot.params import load_params
    from pipeline.layout import Layout

    params = load_params(Layout.find().params)
    if params.compute.device != "auto" or params.compute.precision == "bf16":
        from pipeline.doctor import emulation  # imports torch, which takes seconds

        for line in emulation(params):
            _say(f"warning: {line}")
    for study, dataset in params.run.items():
        space = params.studies[study].search_space()
        click.echo(f"{study}: {len(space.architectures)} architectures on {dataset}")


@main.command()
def sync() -> None:
    """Make MLflow show every result of dvc.lock. Links runs, and logs again those it lacks."""
    from pipeline.sync import run

    click.echo(run(_say))


@main.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--markdown", is_flag=True, help="Print them as the README has them.")
def show(studies: tuple[str, ...], markdown: bool) -> None:
    """Print the tables of all studies, or of these."""
    from pipeline.show import run

    sys.exit(0 if run(markdown, studies, _say) else MISSING_INPUT)


@main.command()
def verify() -> None:
    """Tell whether the results are as committed.

    Hashes all that dvc.lock names: the committed one, or, where there is no git, the one that is here. Exit 1 if
    anything differs.
    """
    from pipeline.verify import run

    sys.exit(0 if run(click.echo) else WRONG)


@main.command()
def doctor() -> None:
    """Look for what is wrong here, and say how to mend it. Exit 1 if anything is."""
    from pipeline.doctor import run

    sys.exit(0 if run(click.echo) else WRONG)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--study", "studies", multiple=True, default=("kernels-sum", "depths"), help="Repeat for several.")
def demo(folder: Path, studies: tuple[str, ...]) -> None:
    """Copy the project, with small params, into FOLDER. Run it there with `dvc repro`."""
    from pipeline.demo import make_small_project
    from pipeline.layout import Layout

    make_small_project(Layout.find(), folder, studies)


@main.command()
def clean() -> None:
    """Empty .work/. Finished jobs are trained again when they are needed again."""
    import shutil
    from contextlib import ExitStack

    from oneshot.writer import sole_writer
    from pipeline.layout import Layout

    layout = Layout.find()
    store = layout.store
    with ExitStack() as locks:
        for lock in layout.lock("").parent.glob("*.lock"):
            locks.enter_context(sole_writer(lock, lock.stem))
        size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        if store.exists():
            shutil.rmtree(store)
    click.echo(f"{store.name}/ is empty; {size / 1e6:.1f} MB are free again")
