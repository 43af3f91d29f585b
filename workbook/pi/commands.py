"""`workbook pi ACTION`: each action is a function beside its help."""

import argparse
import ast
import shutil
import signal

from modelfiles.errors import WorkbookError

STILL_RUNNING = "Interrupted. The job is still running on the Pi; run the same command to reattach."


def add_to(commands) -> None:
    """Add `pi` and its actions to the commands of `workbook`."""
    pi = commands.add_parser("pi", help="use one Raspberry Pi or many through SSH")
    actions = pi.add_subparsers(metavar="ACTION", required=True)
    start = _add(
        actions, "start", run_start, "copy the workbook to a Pi and open JupyterLab on it here"
    )
    _add_no_convert(start)
    start.add_argument(
        "--torch",
        action="store_true",
        help="install PyTorch and ExecuTorch there, too; the workbook does not need them on a Pi",
    )
    start.add_argument("hosts", nargs=1, metavar="HOST", help="such as pi@raspberrypi.local")
    run = _add(
        actions, "run", run_notebook, "run a notebook on all Pis at once and fetch what it made"
    )
    run.add_argument("notebook", metavar="NOTEBOOK", help="such as 08_benchmark_on_the_pi")
    run.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_parameter,
        help="replace a parameter of the notebook",
    )
    _add_no_convert(run)
    run.set_defaults(when_interrupted=STILL_RUNNING)
    fetch = _add(actions, "fetch", run_fetch, "fetch the records and the notebooks")
    status = _add(actions, "status", run_status, "show what is running there")
    doctor = _add(actions, "doctor", run_doctor, "check a Pi, with advice")
    stop = _add(actions, "stop", run_stop, "stop all workbook processes there")
    for action in (run, fetch, status, doctor, stop):
        action.add_argument("hosts", nargs="+", metavar="HOST", help="such as pi@raspberrypi.local")


def _add(actions, name: str, function, text: str) -> argparse.ArgumentParser:
    def run(options: argparse.Namespace) -> int:
        require_openssh()
        return function(options)

    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(function=run)
    return parser


def _add_no_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-convert",
        action="store_true",
        help="copy only the model files that exist, without converting the missing ones",
    )


def _parameter(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not name=value with a number, a list or a 'text'"
        ) from None


def run_start(options: argparse.Namespace) -> int:
    from workbook.pi import jupyter

    unreachable = _convert(options)
    if unreachable:
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):  # these close the tunnel, as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    jupyter.start(options.hosts[0], torch=options.torch)
    return 0


def run_notebook(options: argparse.Namespace) -> int:
    from workbook.pi import fleet

    unreachable = _convert(options)
    hosts = [host for host in options.hosts if host not in unreachable]
    if not hosts:
        return 1
    failed = fleet.run(hosts, options.notebook, dict(options.parameters))
    _print_results(hosts, failed)
    return _status({**unreachable, **failed})


def run_fetch(options: argparse.Namespace) -> int:
    from workbook.pi import fleet

    failed = fleet.fetch(options.hosts)
    _print_results(options.hosts, failed)
    return _status(failed)


def run_status(options: argparse.Namespace) -> int:
    from workbook.pi import fleet

    return _status(fleet.status(options.hosts))


def run_doctor(options: argparse.Namespace) -> int:
    from workbook.pi import fleet

    return _status(fleet.doctor(options.hosts))


def run_stop(options: argparse.Namespace) -> int:
    from workbook.pi import fleet

    return _status(fleet.stop(options.hosts))


def require_openssh() -> None:
    """WorkbookError if there is no program ssh."""
    if not shutil.which("ssh"):
        raise WorkbookError(
            "OpenSSH's client, the program ssh, is missing: sudo apt install openssh-client"
        )


def _convert(options: argparse.Namespace) -> dict[str, Exception]:
    """Convert the model files that are missing; return the hosts that cannot be reached.

    Conversions take minutes, so hosts that do not answer are named before them.
    """
    if options.no_convert:
        return {}
    from helpers import model_files
    from workbook.pi import fleet

    unreachable = fleet.on_all(options.hosts, lambda pi, say: pi.ask("check"), print)
    if len(unreachable) < len(set(options.hosts)):
        try:
            model_files.build_missing()
        except ImportError as error:
            print(f"No model files are converted; existing ones are copied. {error}")
    return unreachable


def _print_results(hosts: list[str], failed: dict[str, Exception]) -> None:
    from workbook.pi import fetch

    table = fetch.table([host for host in hosts if host not in failed])
    if table is not None:
        print(table.to_string(index=False))


def _status(failed: dict[str, Exception]) -> int:
    """1 if a host failed: its error was printed when it happened."""
    return 1 if failed else 0
