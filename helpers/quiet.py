"""Libraries that print while they load or convert, kept silent unless they fail."""

from modelfiles.quiet import quiet

__all__ = ["quiet"]
