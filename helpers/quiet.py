"""Silence libraries that print while they load or convert, unless they fail."""

from modelfiles.quiet import quiet

__all__ = ["quiet"]
