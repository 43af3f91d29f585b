"""python -m helpers: the command `workbook`."""

import sys

from workbook.cli import main

sys.exit(main())
