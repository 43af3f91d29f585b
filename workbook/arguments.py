"""What the commands share: a parser of arguments, the error for wrong ones, and common checks."""

import argparse
from collections.abc import Sequence
from typing import Any

from modelfiles.errors import WorkbookError

LEAST_ROUNDS = 6  # of a comparison: fewer give no interval
MOST_THREADS = 256


class UsageError(WorkbookError):
    """An argument is missing or impossible."""

    exit_code = 2


def check_threads(threads: int) -> None:
    """UsageError for an impossible value of --threads."""
    if not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads must be from 1 to {MOST_THREADS}")


def check_rounds(rounds: int) -> None:
    """UsageError for an impossible value of --rounds."""
    if rounds < LEAST_ROUNDS:
        raise UsageError(f"--rounds must be at least {LEAST_ROUNDS}: fewer give no interval")


class Parser(argparse.ArgumentParser):
    """`COMMAND MODEL --threads 2 DATA` works if DATA may be missing.

    Before 3.13, Python's own parser takes a missing DATA for granted when it sees the option.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As the base class; arguments that it does not know fill the optional ones."""
        found, rest = super().parse_known_args(args, namespace)
        for action in self._get_positional_actions():
            is_missing = action.nargs == "?" and getattr(found, action.dest) == action.default
            if is_missing and rest and not rest[0].startswith("-"):
                try:
                    setattr(found, action.dest, self._get_values(action, [rest.pop(0)]))
                except argparse.ArgumentError as error:
                    self.error(str(error))
        return found, rest
