"""Guess first: a guess is locked before the answer is shown, stored, and scored after it.

Guesses are stored as build/guesses/NAME.json. To guess again, delete the file.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from helpers.interactive.front_end import has_widgets
from helpers.paths import build_dir, display_path, whole_file

NAME = re.compile(r"\d\d[a-z]?(-[a-z0-9]+)+")  # such as 05-three-bits
NEAR = 0.1  # of the answer: how far away a number may be, unless the notebook says otherwise

_units: dict[str, str] = {}  # of the guesses that this process asked for


@dataclass(frozen=True)
class HitRate:
    """How many of the scored guesses were hits."""

    hits: int
    guesses: int

    def __str__(self) -> str:
        if not self.guesses:
            return "No guess has been scored yet."
        return f"{self.hits} of {self.guesses} guesses were hits ({self.hits / self.guesses:.0%})."


def ask(name: str, question: str, choices: Sequence[object] | None = None, unit: str = "") -> None:
    """Ask for a guess: one of `choices`, or else a number in `unit`, and a button that locks it.

    A locked guess is stored under `name`, such as 05-three-bits, for `score`. Without a front end
    that shows widgets, the question is shown as text. ValueError for a name of another form.
    """
    path = _path(name)
    options = [str(choice) for choice in choices or []]
    _units[name] = unit
    _show_question(question, options, unit)
    if not has_widgets():
        return
    stored = _read(path)
    if stored is None:
        _show_field(path, options, unit)
    else:
        guess = with_unit(stored["guess"], stored["unit"])
        print(f"You locked: {guess}. To guess again, delete {display_path(path)}.")


def _show_question(question: str, options: list[str], unit: str) -> None:
    from IPython.display import Markdown, display

    kind = " / ".join(options) if options else "a number"
    if unit:
        kind += f", in {unit}"
    display(Markdown(f"**Your guess first.** {question} *({kind})*"))


def _show_field(path: Path, options: list[str], unit: str) -> None:
    """The field or the buttons, the Lock button, and a line that says what happened."""
    import ipywidgets
    from IPython.display import display

    field: Any
    if options:
        # as wide as their texts: by default they are cut off after some 20 letters
        field = ipywidgets.ToggleButtons(
            options=options, value=None, style={"button_width": "auto"}
        )
    else:
        # sent when the reader leaves it: sent letter by letter, Lock would overtake the last ones
        placeholder = f"a number {unit}".strip()
        field = ipywidgets.Text(placeholder=placeholder, continuous_update=False)
    button: Any = ipywidgets.Button(description="Lock")
    line: Any = ipywidgets.HTML()

    def lock(_: object) -> None:
        try:
            guess = _choice(field.value) if options else _number(field.value, unit)
        except ValueError as error:
            line.value = escape(str(error))
            return
        _write(path, {"guess": guess, "unit": unit})
        field.disabled = True
        button.disabled = True
        line.value = escape(f"Locked: {with_unit(guess, unit)}. Run the next cells.")

    button.on_click(lock)
    display(ipywidgets.VBox([field, button, line]))


def _choice(value: str | None) -> str:
    if value is None:
        raise ValueError("Choose one of the buttons first.")
    return value


def _number(text: str, unit: str) -> float:
    """The number that a reader typed, with or without its unit."""
    typed = text.strip().removesuffix(unit).replace(" ", "")
    try:
        number = float(typed.replace(",", ""))
    except ValueError:
        number = math.nan
    has_decimal_comma = re.search(r",(?!\d{3}(\D|$))", typed)
    if not math.isfinite(number) or has_decimal_comma:
        raise ValueError(f"{text.strip()!r} is not a number: write one such as 12.5 or 12,000.")
    return number


def score(name: str, truth: object, within: float | None = None) -> None:
    """Print the answer `truth`, the guess that was locked as `name`, and the reader's hit rate.

    A choice is a hit if it equals `truth`; a number if it is at most `within` away, by default a
    tenth of `truth`. The result is stored.
    """
    path = _path(name)
    stored = _read(path)
    if stored is None:
        print(f"Answer: {with_unit(truth, _units.get(name, ''))}. No guess was locked.")
        return
    guess = stored["guess"]
    if isinstance(guess, str):
        is_hit = guess == str(truth)
        rule = ""
    else:
        number = float(truth)  # type: ignore[arg-type]
        margin = NEAR * abs(number) if within is None else within
        is_hit = abs(guess - number) <= margin
        rule = f" (a hit is at most {with_unit(margin)} away)"
    _write(path, stored | {"is_hit": is_hit})
    unit = stored["unit"]
    verdict = "a hit" if is_hit else "not a hit"
    print(
        f"Answer: {with_unit(truth, unit)}.\n"
        f"Your guess: {with_unit(guess, unit)}, {verdict}{rule}.\n"
        f"So far in this book: {hit_rate()}"
    )


def hit_rate() -> HitRate:
    """The reader's hits, of all guesses in this book that were scored."""
    scored = [_read(path) or {} for path in sorted(build_dir("guesses").glob("*.json"))]
    results = [stored["is_hit"] for stored in scored if "is_hit" in stored]
    return HitRate(sum(results), len(results))


def with_unit(value: object, unit: str = "") -> str:
    """A number with at most four digits, or a text, and its unit.

    >>> with_unit(98.765, "%"), with_unit(1199882), with_unit("conv2")
    ('98.77 %', '1,199,882', 'conv2')
    """
    if isinstance(value, str):
        text = value
    else:
        number = float(value)  # type: ignore[arg-type]
        text = f"{number:,.0f}" if number.is_integer() else f"{number:,.4g}"
    return f"{text} {unit}".strip()


def _path(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise ValueError(f"a guess is named like 05-three-bits, not {name!r}")
    return build_dir("guesses") / f"{name}.json"


def _read(path: Path) -> dict | None:
    """What was locked, or None. ValueError for a file that something else wrote."""
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"unit": str(stored["unit"]), **stored}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{display_path(path)} is not a stored guess: delete it, and guess again"
        ) from error


def _write(path: Path, stored: dict) -> None:
    with whole_file(path) as part:
        part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
