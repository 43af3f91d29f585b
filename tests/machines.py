"""Everything that rests on trained networks, over seeds and processor settings.

`make test-machines` runs it.

    python tests/machines.py                      # seeds 0 to 11 on every setting of this processor
    python tests/machines.py --seeds 0-2 --books  # the quick runs of the notebooks, too
    python tests/machines.py --seeds 4 --settings plain

Another processor adds the same numbers in another order, so training ends with other weights.
PyTorch and oneDNN can be set to use fewer instructions than this processor has, which does the
same.

For every claim of tests/claims.py it prints the mean, the spread and the worst figure that was
seen, and how many standard deviations that is from the limit. The exit status is 1 if a test
failed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claims import CLAIMS

from helpers.device import describe
from helpers.paths import ROOT

TESTS = [
    "tests/test_training.py",
    "tests/test_04_kmeans.py",
    "tests/test_04b_codebooks.py",
    "tests/test_05_affine.py",
    "tests/test_05b_integers.py",
    "tests/test_06_post_training_quantization.py",
    "tests/test_07_quantization_aware_training.py",
    "tests/test_runtimes.py::test_float_files_compute_what_pytorch_computes",
    "tests/test_runtimes.py::test_int8_files_are_small_and_nearly_as_good",
]
BOOKS = ["tests/test_notebooks.py", "-k", "runs_quickly"]
SETTINGS = {  # name: (instructions it needs, environment)
    "avx512": ("avx512f", {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "avx2": ("avx2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "plain": ("", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
}


def settings_here() -> list[str]:
    """The settings that this processor can run."""
    features = describe()["features"] or []
    return [name for name, (needed, _) in SETTINGS.items() if not needed or needed in features]


def run(seed: int, setting: str, arguments: list[str], notes: Path) -> bool:
    """One run of pytest; claims are noted in `notes`. Returns whether everything passed."""
    environment = os.environ | SETTINGS[setting][1]
    environment |= {"WORKBOOK_TEST_SEED": str(seed), "WORKBOOK_CLAIMS": str(notes)}
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-m", "trained", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    verdict = "failed" if done.returncode else "passed"
    print(f"seed {seed}, {setting}: {verdict} in {time.monotonic() - start:.0f} s", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, flush=True)
    return done.returncode == 0


def table(notes: Path) -> str:
    """What the claims came to: a line each."""
    noted = notes.read_text(encoding="utf-8") if notes.exists() else ""
    values: dict[str, list[float]] = {}
    for line in noted.splitlines():
        entry = json.loads(line)
        values.setdefault(entry["claim"], []).append(entry["value"])
    lines = [
        f"{'claim':74} {'limit':>9} {'runs':>4} {'mean':>9} {'spread':>8} "
        f"{'worst':>9} {'margin':>7}"
    ]
    for name, found in sorted(values.items()):
        claim = CLAIMS.get(name)
        mean = statistics.mean(found)
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        head = f"{name:74} {_limit(claim):>9} {len(found):4} {mean:9.4g} {spread:8.2g}"
        if claim is None:
            lines.append(f"{head} {min(found):9.4g} to {max(found):.4g}")
            continue
        worst = min(found) if claim.most is None else max(found)
        lines.append(f"{head} {worst:9.4g} {claim.margin(worst):7.1f}")
    return "\n".join(lines)


def _limit(claim) -> str:
    if claim is None:
        return "none"
    sign = ">=" if claim.most is None else "<="
    return f"{sign} {claim.limit:g}"


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=_seeds, default=_seeds("0-11"), metavar="FIRST-LAST")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=settings_here())
    parser.add_argument(
        "--books", action="store_true", help="the notebooks' quick runs instead of the tests"
    )
    parser.add_argument(
        "--notes", type=Path, help="keep the figures in this file (JSON lines, appended)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        notes = (options.notes or Path(scratch, "claims.jsonl")).resolve()
        arguments = BOOKS if options.books else TESTS
        passed = [
            run(seed, setting, arguments, notes)
            for setting in options.settings
            for seed in options.seeds
        ]
        print(table(notes))
    print(f"{len(passed) - sum(passed)} of {len(passed)} runs failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
