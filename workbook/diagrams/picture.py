"""A picture as SVG: boxes, lines, arrows and text, with colours for light and for dark pages."""

import math
import re
from xml.sax.saxutils import escape

WIDTH = 680
NORMAL = 20  # sizes of text: a page on a phone shows them at half of that
SMALL = 18
SUBSCRIPT = 15
HEAD = 11  # length of an arrow's head

COLOURS = {  # name: on a light page, on a dark page
    "paper": ("#ffffff", "#14181e"),
    "ink": ("#222832", "#e3e8ed"),
    "quiet": ("#566270", "#aab4bf"),
    "line": ("#66727f", "#94a0ac"),
    "faint": ("#c3cad1", "#48525d"),
    "plain": ("#f2f4f6", "#252c35"),
    "blue": ("#d6e7f7", "#1b3a57"),
    "blue-line": ("#2a6fae", "#74b3ea"),
    "orange": ("#fde3c8", "#573714"),
    "orange-line": ("#b35a00", "#f0a75f"),
    "green": ("#d3ebd6", "#1f4429"),
    "green-line": ("#2c7a3d", "#7fca8c"),
    "violet": ("#e4dcf5", "#3a2d5c"),
    "violet-line": ("#6b4fb3", "#b49ef0"),
}
HUES = ("blue", "orange", "green", "violet")

HEADS = {hue: f"{hue}-dark" for hue in HUES}
CLASS = re.compile(r'class="([^"]*)"')
# `text` marks a subscript like this: q_{x}
MARKED = re.compile(r"_\{([^}]*)\}")


class Picture:
    """A picture of WIDTH units, to which methods add parts; later parts cover earlier ones.

    Positions are in units from the upper left corner. A `look` is the name of a colour, or several
    words of the style sheet below: "blue", "line dashed", "bold quiet".
    """

    def __init__(self, title: str, description: str, height: int) -> None:
        self.title = title
        self.description = description
        self.height = height
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        look: str = "",
        size: int = NORMAL,
        anchor: str = "middle",
    ) -> None:
        """One line of text, or nothing for ""; `y` is its middle, `anchor` start, middle or end."""
        if not text:
            return
        style = f' class="{look}"' if look else ""
        baseline = y + 0.36 * size
        self._add(
            f'<text x="{_n(x)}" y="{_n(baseline)}" font-size="{size}" '
            f'text-anchor="{anchor}"{style}>{_with_subscripts(text)}</text>'
        )

    def lines(
        self, x: float, y: float, *texts: str, look: str = "", anchor: str = "middle"
    ) -> None:
        """Several lines of small text; `y` is the middle of the first."""
        for number, text in enumerate(texts):
            self.text(x, y + 23 * number, text, look, SMALL, anchor)

    def box(
        self, x: float, y: float, width: float, height: float, look: str = "plain", corner: int = 6
    ) -> None:
        """A rectangle."""
        self._add(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
            f'rx="{corner}" class="{look}"/>'
        )

    def block(
        self, x: float, y: float, width: float, height: float, *texts: str, look: str = "plain"
    ) -> None:
        """A rectangle with one line of text, or with a bold line and small ones below it."""
        self.box(x, y, width, height, look)
        middle = x + width / 2
        top = y + height / 2 - 12 * (len(texts) - 1)
        for number, text in enumerate(texts):
            if number:
                self.text(middle, top + 24 * number, text, size=SMALL)
            else:
                self.text(middle, top, text, "bold" if len(texts) > 1 else "")

    def circle(self, x: float, y: float, radius: float, look: str = "ink") -> None:
        """A circle around (x, y)."""
        self._add(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{look}"/>')

    def path(self, points: list[tuple[float, float]], look: str = "line") -> None:
        """Straight lines from point to point; a look with a colour fills the area."""
        steps = " L ".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._add(f'<path d="M {steps}" class="{look}"/>')

    def line(self, *points: tuple[float, float], look: str = "line") -> None:
        """Straight lines from point to point."""
        self.path(list(points), look)

    def arrow(self, *points: tuple[float, float], look: str = "line") -> None:
        """Straight lines from point to point, with a head at the last."""
        before = points[-2]
        end = points[-1]
        angle = math.atan2(end[1] - before[1], end[0] - before[0])
        back = _polar(end, angle, -HEAD)
        self.path([*points[:-1], back], look)
        left = _polar(back, angle + math.pi / 2, HEAD * 0.45)
        right = _polar(back, angle - math.pi / 2, HEAD * 0.45)
        colour = look.split()[0].removesuffix("-line")
        self.path([end, left, right, end], HEADS.get(colour, "line-head"))

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        parts = "\n".join(f"  {part}" for part in self._parts)
        used = {"paper", "text"}.union(*(looks.split() for looks in CLASS.findall(parts)))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" '
            f'viewBox="0 0 {WIDTH} {self.height}" role="img">\n'
            f"  <title>{escape(self.title)}</title>\n"
            f"  <desc>{escape(self.description)}</desc>\n"
            f"  <style>\n{_style(used)}  </style>\n"
            f'  <rect width="{WIDTH}" height="{self.height}" rx="8" class="paper"/>\n'
            f"{parts}\n</svg>\n"
        )

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _style(used: set[str]) -> str:
    """The style sheet: what the looks in use mean, and their colours on light and dark pages."""
    rules = [rule for looks, rule in _rules() if used & looks]
    text = "".join(f"    {rule}\n" for rule in rules)
    names = [name for name in COLOURS if f"var(--{name})" in text]
    light, dark = (
        " ".join(f"--{name}: {COLOURS[name][scheme]};" for name in names) for scheme in (0, 1)
    )
    return (
        f"    svg {{ {light} font-family: sans-serif; }}\n"
        f"    @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}\n{text}"
    )


def _rules() -> list[tuple[set[str], str]]:
    """[(the looks that need it, a rule of CSS)]; later rules win."""
    edge = "stroke: var(--line); stroke-width: 1.5;"
    rules = [
        ({"paper"}, ".paper { fill: var(--paper); }"),
        ({"text"}, "text { fill: var(--ink); }"),
        ({"bold"}, ".bold { font-weight: bold; }"),
        ({"quiet"}, ".quiet { fill: var(--quiet); }"),
        ({"line"}, ".line { fill: none; stroke: var(--line); stroke-width: 2; }"),
        ({"thin"}, ".thin { fill: none; stroke: var(--faint); stroke-width: 2; }"),
        ({"line-head"}, ".line-head { fill: var(--line); }"),
        ({"plain"}, f".plain {{ fill: var(--plain); {edge} }}"),
        ({"empty"}, f".empty {{ fill: none; {edge} }}"),
    ]
    for hue in HUES:
        line = f"var(--{hue}-line)"
        rules += [
            ({hue}, f".{hue} {{ fill: var(--{hue}); stroke: {line}; stroke-width: 1.5; }}"),
            ({f"{hue}-line"}, f".{hue}-line {{ fill: none; stroke: {line}; stroke-width: 2.5; }}"),
            ({f"{hue}-dark"}, f".{hue}-dark {{ fill: {line}; }}"),
        ]
    return [
        *rules,
        ({"thick"}, ".thick { stroke-width: 3.5; }"),
        ({"dashed"}, ".dashed { stroke-dasharray: 6 5; }"),
    ]


def _with_subscripts(text: str) -> str:
    """The text as SVG: "q_{x}" with a small, lower x."""
    parts = MARKED.split(escape(text))  # plain text, and subscripts at the odd places
    found = parts[0]
    for subscript, after in zip(parts[1::2], parts[2::2]):
        found += f'<tspan dy="5" font-size="{SUBSCRIPT}">{subscript}</tspan>'
        if after:
            found += f'<tspan dy="-5">{after}</tspan>'
    return found


def _polar(point: tuple[float, float], angle: float, distance: float) -> tuple[float, float]:
    return point[0] + distance * math.cos(angle), point[1] + distance * math.sin(angle)


def _n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{round(value, 1):g}"
