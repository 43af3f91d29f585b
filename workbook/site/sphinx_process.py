"""Run Sphinx, without a part that only costs time: python -m workbook.site.sphinx_process ARGS."""

import sys

# jsonschema loads it to check IRIs, which notebooks do not have; its grammars take seconds
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

from sphinx.cmd.build import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
