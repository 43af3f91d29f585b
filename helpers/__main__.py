"""Deprecated: use `workbook`, or `python -m workbook`."""

import sys

from workbook.cli import main

sys.exit(main())
