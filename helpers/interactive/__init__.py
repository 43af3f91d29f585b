"""What a reader does in a notebook: guess, answer, draw: ask, score, hit_rate, check, draw_digit.

front_end   whether someone is there who sees widgets
guesses     a guess that is locked before the answer, and scored after it
answers     the check of a short task
drawing     a canvas for a digit, and the digit that was drawn

Without a front end that shows widgets, such as on a page of the website, each of these leaves a
text or a picture. drawing.js turns strokes into an image like MNIST's; the website's canvas uses it
as well. canvas.html and canvas.js are the canvas in a notebook.
"""

from helpers.interactive.answers import check
from helpers.interactive.drawing import DRAWING_JS, draw_digit, drawing_path, drawn_pixels, my_digit
from helpers.interactive.front_end import has_widgets
from helpers.interactive.guesses import HitRate, ask, hit_rate, score

__all__ = [
    "DRAWING_JS",
    "HitRate",
    "ask",
    "check",
    "draw_digit",
    "drawing_path",
    "drawn_pixels",
    "has_widgets",
    "hit_rate",
    "my_digit",
    "score",
]
