"""python -m helpers doctor | pi | results: what a participant types."""

import argparse
import ast
import io
import shutil
import signal
import sys

from helpers.paths import folder

PI_ACTIONS = {
    "start": (
        "copy the workbook to a Pi, set it up there, and open JupyterLab on it in the browser here"
    ),
    "run": (
        "run a notebook there, on all Pis at once, and bring the executed notebook "
        "and the records back"
    ),
    "fetch": "bring the records and notebooks back",
    "status": "what is running there",
    "doctor": "check the Pi and say what to do",
    "stop": "end everything of ours there",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 if nothing is wrong."""
    _replace_what_cannot_be_shown()
    options = _parser().parse_args(arguments)
    if options.command == "doctor":
        from helpers.doctor import doctor

        return doctor()
    if options.command == "pi":
        return pi(options)
    return show_results(options.path)


def _replace_what_cannot_be_shown() -> None:
    """Print "?" for a character, such as µ, that the terminal or the output file cannot show."""
    for stream in (sys.stdout, sys.stderr):
        # a notebook or a test may have replaced it by another kind of stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers",
        description="Check this machine, use a Pi, or show what was measured.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor", help="check Python, packages, runtimes, memory and disk, and say what to do"
    )
    on_pi = commands.add_parser("pi", help="use one Pi or many through SSH")
    actions = on_pi.add_subparsers(dest="action", required=True)
    for action, text in PI_ACTIONS.items():
        added = actions.add_parser(action, help=text, description=text)
        if action == "run":
            added.add_argument("notebook", help="such as 08_benchmark_on_the_pi")
            added.add_argument(
                "-p",
                dest="parameters",
                action="append",
                default=[],
                metavar="name=value",
                type=_parameter,
                help="replace a parameter of the notebook",
            )
        if action in ("start", "run"):
            added.add_argument(
                "--no-convert",
                action="store_true",
                help="copy the model files that are here and make none",
            )
        added.add_argument(
            "hosts",
            nargs=1 if action == "start" else "+",
            metavar="host",
            help="such as pi@raspberrypi.local",
        )
    shown = commands.add_parser("results", help="the table of all measurements")
    shown.add_argument(
        "path", nargs="?", default=None, help="a file, folder or pattern (default: build/results)"
    )
    return parser


def _parameter(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not name=value with a number, a list or a 'text'"
        ) from None


def pi(options: argparse.Namespace) -> int:
    """Run one of the pi commands; return 1 if a Pi failed, which is named, else 0."""
    if not shutil.which("ssh"):
        print("OpenSSH's client, the program ssh, is missing: sudo apt install openssh-client")
        return 1
    try:
        from helpers import model_files
        from helpers import pi as on_the_pi
    except ImportError as error:
        print(
            f"this is for the laptop, and its environment is not complete ({error}): "
            "pip install -r requirements.txt"
        )
        return 1
    unreachable = {}
    if not getattr(options, "no_convert", True):
        # conversions take minutes: name the hosts that do not answer before them
        unreachable = on_the_pi.on_all(options.hosts, lambda host, _: host.ask("check"), print)
        options.hosts = [host for host in options.hosts if host not in unreachable]
        if not options.hosts:
            return 1
        try:
            model_files.build_missing()
        except ImportError as error:
            print(f"no model files are made ({error}); those that are here are copied")
    try:
        if options.action == "start":
            for number in (signal.SIGTERM, signal.SIGHUP):  # these close the tunnel, as Ctrl-C does
                signal.signal(number, signal.default_int_handler)
            on_the_pi.start(options.hosts[0])
            return 0
        if options.action == "run":
            failed = on_the_pi.run(options.hosts, options.notebook, dict(options.parameters))
        else:
            failed = getattr(on_the_pi, options.action)(options.hosts)
    except on_the_pi.PiError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("left; what runs on the Pi goes on: give the same command again to follow it")
        return 1
    answered = [host for host in options.hosts if host not in failed]
    if options.action in ("run", "fetch"):
        table = on_the_pi.table(answered)
        if table is not None:
            print(table.to_string(index=False))
    return min(len(failed) + len(unreachable), 1)


def show_results(path: str | None) -> int:
    """Print the table of all records, the fastest first; invalid ones follow with the reason."""
    from helpers import results

    try:
        frame = results.read_results(path or folder("results"))
    except (FileNotFoundError, ValueError) as error:
        print(error)
        return 1
    print(results.summary(frame).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
