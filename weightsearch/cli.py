"""The command line: what the commands are and what they call; screen.py says what they show."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.errors import SpecError, WeightsearchError, hide, one_line
from weightsearch.files import write_text
from weightsearch.screen import View, err, out, print_result
from weightsearch.spec import Choices, StudySpec, load_configuration, load_identity, load_study

if TYPE_CHECKING:
    from weightsearch.records import EpochRecord
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

GIVEN_STORAGE = "WEIGHTSEARCH_GIVEN_STORAGE"

Study = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A training configuration, such as best.yaml.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def main() -> None:
    """Entry point: one line and an exit status for whatever the user can mend."""
    sys.path.append(str(Path.cwd()))  # for plug-ins beside the study; last, so that nothing installed is shadowed
    try:
        _keep_password_from_process_list()
        app()
    except SpecError as error:
        for problem in error.problems:
            err.print(str(problem), markup=False)
        sys.exit(error.exit_status)
    except WeightsearchError as error:
        err.print(one_line(str(error)), markup=False)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)


@app.command()
def run(
    study: Study,
    sets: Sets = None,
    quiet: Quiet = False,
    join: Annotated[bool, typer.Option("--join", help="Work beside drivers that run this study already.")] = False,
    force_new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start a new study of this name beside the one that is there.")
    ] = None,
) -> None:
    """Create or continue a study: search until it has all its trials, then compare the best with the baselines."""
    spec = _load_study(study, [*(sets or ()), *([] if force_new is None else [f"name={force_new}"])])
    from weightsearch.search.driver import StudyRun
    from weightsearch.search.status import Status

    view = View(quiet=quiet)
    running = StudyRun(spec, view, join=join, new=force_new is not None)
    try:
        with view.progress("reading frames") as progress:
            running.check(progress)
        view.begin(Status.of(running.summary(), spec.search.trials, spec.base.train.epochs))
        view.line("starting the workers; the first epochs take a while")
        try:
            running.search()
        except BaseException:
            with suppress(WeightsearchError):
                running.export(wait=False)
            raise
        finally:
            view.end()
        for problem in running.compare():
            err.print(problem, markup=False)
        best = running.export()  # now with the test metrics
        summary = running.summary()
        if not quiet:
            print_result(running.store, summary, best)
        if best is None:
            raise _NoResult(f"no trial of {spec.name!r} trained to the end: {_first_reason(summary)}")
    finally:
        running.close()


@app.command()
def validate(study: Study, sets: Sets = None) -> None:
    """Check a study file, build its network and loss, and print what would be searched; no data is read."""
    spec = _load_study(study, sets)
    from weightsearch.losses.criterion import build_criterion
    from weightsearch.search.samplers import check_sampler
    from weightsearch.training.network import build_network

    check_sampler(spec)
    build_network(spec.base)
    build_criterion(spec.base)
    out.print(f"{study}: study {spec.name!r} is valid", markup=False)
    for name, found in spec.space.items():
        if isinstance(found, Choices):
            text = ", ".join(str(value) for value in found.values)
        else:
            text = f"{found.low:g} to {found.high:g}" + (", log" if found.log else "")
            text += f", step {found.step:g}" if found.step not in (None, 1) else ""
        out.print(f"  {name}: {text}", markup=False)
    search = spec.search
    objectives = ", ".join(f"{direction} {name}" for name, direction in search.objectives.items())
    baselines = ", ".join(search.baselines) or "none"
    out.print(
        f"  {search.trials} trials by {search.sampler.name}, pruner {search.pruner.name}; {objectives}; "
        f"baselines: {baselines}",
        markup=False,
    )


@app.command()
def show(
    study: Study, sets: Sets = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Print a study's trials by state, its best one and its baselines."""
    from weightsearch.study.summary import summarise

    with _store(study, sets) as store:
        summary = summarise(store)
        if as_json:
            print(json.dumps(summary.to_plain(), indent=2))
        else:
            print_result(store, summary, None)


@app.command()
def export(
    study: Study,
    sets: Sets = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the best configuration goes.")] = Path(
        "best.yaml"
    ),
    trials: Annotated[Path | None, typer.Option(help="Also write all trials as CSV.")] = None,
) -> None:
    """Write the best configuration as YAML that trains as it is; with --trials also a table of all trials."""
    from weightsearch.study.export import best_configuration, trial_table

    with _store(study, sets) as store:
        if trials is not None:
            _write(trials, trial_table(store).to_csv(index=False))
        _write(output, best_configuration(store))


@app.command()
def train(
    config: Config,
    sets: Sets = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for checkpoint, config and metrics.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one configuration. Given again, it goes on from its checkpoint."""
    configuration = load_configuration(_located(config), sets or ())
    from weightsearch.training.device import choose_device
    from weightsearch.training.run import train as train_configuration

    folder = out_dir or Path(configuration.resources.run_dir) / configuration.name / "train"
    view = View(quiet=quiet)

    def on_epoch(record: EpochRecord) -> None:
        shares = " ".join(f"{name} {term.contribution:.1%}" for name, term in record.terms.items())
        view.line(
            f"epoch {record.epoch}/{configuration.train.epochs}  loss {record.train_loss:.4f}  "
            f"abs_rel {record.metrics['abs_rel']:.4f}  rmse {record.metrics['rmse']:.4f}  "
            f"contributions {shares}  {record.seconds:.1f} s"
        )

    with view.progress("reading frames") as progress:
        result = train_configuration(
            configuration,
            folder,
            choose_device(configuration, device),
            progress=progress,
            on_epoch=on_epoch,
            on_resume=lambda epoch: view.line(f"going on after epoch {epoch}, from the checkpoint in {folder}"),
        )
    view.line(_metrics_line(result["metrics"], "validation"))
    view.line(f"{folder}: checkpoint.pt, config.yaml, metrics.json")


@app.command()
def evaluate(
    config: Config,
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint that train wrote.")],
    sets: Sets = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print a checkpoint's metrics on a split, with their protocol."""
    from weightsearch.data.split import SPLITS
    from weightsearch.training.evaluate import evaluate_checkpoint

    if split not in SPLITS:
        raise WeightsearchError(f"--split: expected {', '.join(SPLITS)}, found {split!r}")
    configuration = load_configuration(_located(config), sets or ())
    metrics, protocol = evaluate_checkpoint(configuration, checkpoint, split, device)
    if as_json:
        print(json.dumps({"metrics": metrics, "protocol": protocol.to_plain()}, indent=2))
    else:
        out.print(_metrics_line(metrics, split), markup=False)
        details = ", ".join(f"{name} {value}" for name, value in protocol.to_plain().items() if name != "split")
        out.print(f"protocol: {details}", markup=False)


@app.command()
def dashboard(
    study: Study,
    sets: Sets = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own asks for a token.")] = (
        "127.0.0.1"
    ),
    write: Annotated[bool, typer.Option("--write", help="Allow notes, deletions and other changes.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name it is reached by, such as a proxy's.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder of the study's artifacts.", exists=True, file_okay=False)
    ] = None,
) -> None:
    """Show the study's database in optuna-dashboard: read-only, on this machine alone, unless told otherwise.

    The token is that of the environment variable WEIGHTSEARCH_DASHBOARD_TOKEN; without it, a new one is printed where
    one is needed.
    """
    from weightsearch.dashboards.door import is_loopback
    from weightsearch.dashboards.serve import make_dashboard

    identity = load_identity(study, sets or ())
    token = os.environ.get("WEIGHTSEARCH_DASHBOARD_TOKEN") or None
    way = "" if token is None else "?token= and the value of WEIGHTSEARCH_DASHBOARD_TOKEN"
    if token is None and (allow_host or not is_loopback(host)):
        token = secrets.token_urlsafe(24)
        way = f"?token={token}"
    server = make_dashboard(
        identity.storage,
        port=port,
        host=host,
        write=write,
        token=token,
        allow_hosts=allow_host or (),
        artifacts=artifacts,
    )
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    out.print(f"http://{shown}:{server.server_port}/{way}  (Ctrl-C ends it)", markup=False)
    if not is_loopback(host):
        out.print("this is not encrypted: beyond a trusted network, use a tunnel or a proxy with TLS", markup=False)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def _keep_password_from_process_list() -> None:
    """A command line is everybody's to read: start again with a password in `--set storage=...` moved to the
    environment. Raises WeightsearchError for passwords elsewhere."""
    words = list(sys.orig_argv)
    for place, word in enumerate(words):
        if hide(word) == word or re.search(r":\$\{\w+\}@", word):
            continue
        found = re.fullmatch(r"((?:--set=)?)\s*storage\s*=(.*)", word, re.DOTALL)
        if found is None:
            raise WeightsearchError(
                "a password stands in the command line, where everybody can read it; write the URL into the study "
                "file's storage, with ${VARIABLE} for the password"
            )
        value = found.group(2).strip().strip("'\"")
        os.environ[GIVEN_STORAGE] = re.sub(
            r"\$\{(\w+)\}", lambda name: os.environ.get(name.group(1), name.group()), value
        )
        words[place] = f"{found.group(1)}storage=${{{GIVEN_STORAGE}}}"
    if words != sys.orig_argv:
        os.execv(sys.executable, words)  # noqa: S606 - the same program again, without a shell


class _NoResult(WeightsearchError):
    exit_status = 1


def _located(path: Path) -> Path:
    """Let plug-ins be found beside the study file."""
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return path


def _load_study(study: Path, sets: list[str] | None) -> StudySpec:
    return load_study(_located(study), sets or ())


@contextmanager
def _store(study: Path, sets: list[str] | None) -> Iterator[StudyStore]:
    from weightsearch.study.store import StudyStore

    identity = load_identity(study, sets or ())
    store = StudyStore.open(identity.storage, identity.name)
    try:
        yield store
    finally:
        store.close()


def _first_reason(summary: StudySummary) -> str:
    return next((trial.reason for trial in summary.trials if trial.reason), "every trial was pruned")


def _metrics_line(metrics: dict[str, float], split: str) -> str:
    return f"{split}: " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _write(path: Path, text: str) -> None:
    write_text(path, text)
    out.print(f"written: {path}", markup=False)


if __name__ == "__main__":
    main()
