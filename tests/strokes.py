"""Draw with the mouse on a canvas in a headless browser."""


def draw_stroke(page, canvas, stroke: list[tuple[float, float]]) -> None:
    """One stroke on `canvas`, a locator; the points are from 0 to 1."""
    box = canvas.bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()
