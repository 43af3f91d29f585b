"""The command line. Each command is a function; what serves it is imported when it is called."""

import argparse


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 if nothing is wrong."""
    options = _parser().parse_args(arguments)
    return options.function(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbook", description="Run the notebooks, and build what they compare."
    )
    commands = parser.add_subparsers(required=True)
    book = commands.add_parser(
        "book",
        help="run the notebooks from fresh kernels, first to last",
        description="Run the notebooks from fresh kernels, first to last.",
    )
    book.add_argument(
        "mode",
        choices=["workbook", "in-place", "figures"],
        help="workbook: copies, with pages and a table of results under build/html; "
        "in-place: the notebooks themselves, as they are committed; "
        "figures: the long runs of notebooks/figures/",
    )
    book.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    book.set_defaults(function=run_book)
    cpp = commands.add_parser("cpp", help="build the C++ programs that notebook 08 times")
    cpp.set_defaults(function=build_cpp)
    return parser


def run_book(options: argparse.Namespace) -> int:
    from workbook import book

    return book.run(options.mode, options.names)


def build_cpp(options: argparse.Namespace) -> int:
    from workbook import cpp_build

    return cpp_build.command()
