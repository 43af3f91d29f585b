"""The command line: one command, `workbook`. Each subcommand imports its modules when it is called.

Results go to standard output. Errors go to standard error, in a sentence that names the next step.
"""

import argparse
import io
import sys

from modelfiles.errors import EXIT_INTERRUPTED, WorkbookError
from workbook.arguments import Parser
from workbook.commands import accuracy as accuracy_command
from workbook.commands import convert as convert_command
from workbook.commands import networks as networks_command
from workbook.commands import timers as timers_command
from workbook.commands import train as train_command
from workbook.evaluate import command as evaluate_command
from workbook.live import command as live_command
from workbook.pi import commands as pi_commands

EXAMPLES = """
examples:
  workbook doctor                                  check this machine
  workbook pi start pi@raspberrypi.local           JupyterLab on a Pi, in this machine's browser
  workbook pi run 08_benchmark_on_the_pi pi@raspberrypi.local
                                                   measure on a Pi and fetch the records
  workbook train lenet --save-model                train a network, save it as lenet.pt2
  workbook convert lenet.pt2 tflite                write lenet.tflite, and check its answers
  workbook accuracy lenet.tflite                   its time and accuracy on 1,000 images
  workbook evaluate net.onnx digits.npz            race a model of your own in several runtimes
  workbook live                                    a camera's picture with boxes, in the browser
  workbook networks                                sizes of known networks, and published figures
  workbook results                                 the table of all measurements
  workbook book in-place 03_measure_latency        execute a notebook in a fresh kernel

exit status: 0 success, 1 something failed (it is named), 2 wrong arguments, 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status, 0 for success."""
    _replace_what_cannot_be_shown()
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.function:
        parser.print_help()
        return 0
    try:
        return options.function(options)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(
            f"The environment is incomplete ({error}). Run `make`, or on a laptop "
            "pip install -r requirements.txt.",
            file=sys.stderr,
        )
        return WorkbookError.exit_code
    except KeyboardInterrupt:
        print(options.when_interrupted, file=sys.stderr)
        return EXIT_INTERRUPTED


def _replace_what_cannot_be_shown() -> None:
    """Print "?" for a character, such as µ, that the terminal or the output file cannot show."""
    for stream in (sys.stdout, sys.stderr):
        # a notebook or a test may have replaced it by another kind of stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="workbook",
        description="Check this machine, train, convert and measure networks, use a Raspberry Pi, "
        "run the notebooks, show results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=None, when_interrupted="Interrupted.")
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_doctor(commands)
    pi_commands.add_to(commands)
    train_command.add_to(commands)
    convert_command.add_to(commands)
    accuracy_command.add_to(commands)
    evaluate_command.add_to(commands)
    live_command.add_to(commands)
    timers_command.add_to(commands)
    networks_command.add_to(commands)
    _add_results(commands)
    _add_book(commands)
    _add_cpp(commands)
    return parser


def _add_doctor(commands) -> None:
    doctor = commands.add_parser(
        "doctor", help="check Python, packages, runtimes, memory and disk, with advice"
    )
    doctor.set_defaults(function=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    from workbook.doctor import doctor

    return doctor()


def _add_results(commands) -> None:
    results = commands.add_parser("results", help="print the table of all measurements")
    results.add_argument(
        "path", nargs="?", help="a file, a folder or a pattern (default: build/results)"
    )
    results.set_defaults(function=show_results)


def show_results(options: argparse.Namespace) -> int:
    from helpers import results
    from helpers.paths import build_dir

    try:
        frame = results.read_results(options.path or build_dir("results"))
    except (FileNotFoundError, ValueError) as error:
        raise WorkbookError(str(error)) from error
    print(results.summary(frame).to_string(index=False))
    return 0


def _add_book(commands) -> None:
    book = commands.add_parser(
        "book",
        help="run the notebooks in fresh kernels; print them",
        description="Run the notebooks in order, each in a fresh kernel, or print the book.",
    )
    book.add_argument(
        "mode",
        choices=["workbook", "in-place", "figures", "diagrams", "pdf"],
        help="workbook: copies, with a website of them under build/html; "
        "in-place: the notebooks themselves, to commit them; "
        "figures: the long runs of notebooks/figures/; "
        "diagrams: the SVG files of notebooks/figures/; "
        "pdf: nothing is run, the website is printed to build/workbook.pdf",
    )
    book.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    book.set_defaults(function=run_book)


def run_book(options: argparse.Namespace) -> int:
    if options.mode == "pdf":
        return print_book(options.names)
    if options.mode == "diagrams":
        return draw_diagrams(options.names)
    from workbook import book

    if options.mode == "workbook":
        from workbook import book_run

        book_run.run(options.names)
    elif options.mode == "in-place":
        book.run_in_place(options.names)
    else:
        book.run_figures(options.names)
    return 0


def print_book(names: list[str]) -> int:
    from helpers.paths import display_path
    from workbook import site

    if names:
        raise WorkbookError("`workbook book pdf` prints the whole book: name no notebooks.")
    print(f"Printed {display_path(site.pdf())}")
    return 0


def draw_diagrams(names: list[str]) -> int:
    from workbook import diagrams

    if names:
        raise WorkbookError("`workbook book diagrams` draws all of them: name no notebooks.")
    paths = diagrams.write_all()
    print(f"Drew {len(paths)} diagrams in notebooks/figures")
    return 0


def _add_cpp(commands) -> None:
    cpp = commands.add_parser("cpp", help="build the C++ programs that notebook 08 times")
    cpp.set_defaults(function=build_cpp)


def build_cpp(options: argparse.Namespace) -> int:
    from workbook import cpp_build

    cpp_build.command()
    return 0
