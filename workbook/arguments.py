"""An argument parser that finds an optional argument after options, too."""

import argparse
from collections.abc import Sequence
from typing import Any


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
