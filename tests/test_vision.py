"""helpers.vision: boxes, letterbox, suppression, decoders, pictures of every kind, drawing."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers import metrics, vision
from helpers.vision import heads

RNG = np.random.default_rng(0)


def random_boxes(count, width=640, height=480, rng=RNG, whole=False):
    size = rng.uniform(5, 200, (count, 2))
    corner = rng.uniform(0, [width, height], (count, 2)) - size / 2
    boxes = np.concatenate([corner, corner + size], axis=1)
    return boxes.round(-1) if whole else boxes


# boxes

FORMATS = {  # name: there, back, its numbers of the box 10 20 30 60
    "COCO": (vision.xyxy_to_xywh, vision.xywh_to_xyxy, [10, 20, 20, 40]),
    "centre": (vision.xyxy_to_cxcywh, vision.cxcywh_to_xyxy, [20, 40, 20, 40]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_there_and_back(name):
    there, back, numbers = FORMATS[name]
    assert there([[10, 20, 30, 60]]).tolist() == [numbers]
    boxes = random_boxes(100)
    assert np.allclose(back(there(boxes)), boxes)
    assert there(boxes.astype(np.float32)).dtype == np.float32
    assert there([]).shape == back([]).shape == (0, 4)
    with pytest.raises(ValueError, match="N x 4, not"):
        there([1, 2, 3, 4])


def test_boxes_outside_are_clipped_to_the_picture():
    boxes = [[-10, -10, 20, 20], [90, 40, 200, 300], [300, 300, 400, 400], [-9, -9, -5, -5]]
    clipped = vision.clip_boxes(boxes, height=50, width=100)
    assert clipped.tolist() == [[0, 0, 20, 20], [90, 40, 100, 50], [100, 50, 100, 50], [0] * 4]
    assert vision.box_area(clipped).tolist() == [400, 100, 0, 0]


# letterbox and stretch


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (416, 416), (1, 1), (1, 10_000), (33, 7)])
def test_letterbox_and_back(size, centred):
    rows, columns = size
    picture = RNG.integers(0, 256, (rows, columns, 3), np.uint8)
    boxed, fit = vision.letterbox(picture, 352, 416, centred)
    assert boxed.shape == (352, 416, 3) and boxed.dtype == np.uint8
    boxes = random_boxes(20, columns, rows)
    there = fit.to_network(boxes)
    wanted = vision.clip_boxes(boxes, rows, columns)
    assert np.abs(fit.to_picture(there) - wanted).max() < 1e-3 * max(size)
    whole = fit.to_network([[0, 0, columns, rows]])[0]
    inner_width = whole[2] - whole[0]
    inner_height = whole[3] - whole[1]
    assert abs(inner_width - 416) < 1e-3 or abs(inner_height - 352) < 1e-3
    if min(size) > 1:
        assert abs(inner_width / inner_height - columns / rows) < 0.02 * columns / rows
    margins = [whole[0], 416 - whole[2], whole[1], 352 - whole[3]]
    if centred:
        assert abs(margins[0] - margins[1]) <= 1 and abs(margins[2] - margins[3]) <= 1
    else:
        assert margins[0] == margins[2] == 0
    border = boxed.copy()
    x1, y1, x2, y2 = whole.round().astype(int)
    border[y1:y2, x1:x2] = 114
    assert (border == 114).all(), "grey all around"


def test_a_marked_point_is_where_the_fit_says():
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[60:80, 200:240] = 255
    for resize in (vision.letterbox, vision.stretch):
        boxed, fit = resize(picture, 320, 320)
        rows, columns = np.nonzero(boxed[..., 0] > 127)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(fit.to_network([[200, 60, 240, 80]])[0] - found).max() <= 1


# suppression


def plain_nms(boxes, scores, classes, threshold):
    """By the definition, box by box."""
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])  # stable
    overlap = metrics.box_iou(boxes, boxes)
    kept = []
    for i in order:
        if all(classes[i] != classes[j] or overlap[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def case(seed):
    """Boxes, scores, classes and a threshold: clusters, ties, whole pixels, no boxes at all."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([0, 1, 2, 5, 20, 60, 150, 300], p=[0.02, 0.03, *[0.15] * 5, 0.2]))
    boxes = random_boxes(count, rng=rng, whole=seed % 3 == 0)
    if seed % 2:
        boxes = boxes[rng.integers(0, max(1, count // 8), count)] + rng.normal(0, 4, (count, 1))
    if seed % 5 == 0:
        boxes = boxes.astype(np.float32)
    scores = rng.random(count)
    if seed % 4 == 0:
        scores = scores.round(1)
    return boxes, scores, rng.integers(0, 3, count), float(rng.choice([0, 0.3, 0.5, 0.6, 0.9, 1]))


def test_nms_equals_the_plain_loop_on_a_thousand_cases():
    for seed in range(1000):
        boxes, scores, classes, threshold = case(seed)
        same = np.zeros(len(boxes), int)
        got = vision.nms(boxes, scores, threshold)
        assert got.tolist() == plain_nms(boxes, scores, same, threshold), seed
        got = vision.class_wise_nms(boxes, scores, classes, threshold)
        assert got.dtype == np.int64
        assert got.tolist() == plain_nms(boxes, scores, classes, threshold), seed


def test_nms_equals_opencvs_where_no_scores_are_equal():
    for seed in range(100):
        boxes = random_boxes(300, rng=np.random.default_rng(seed)).astype(np.float32)
        scores = np.random.default_rng(seed).permutation(300).astype(np.float32) / 300
        sizes = vision.xyxy_to_xywh(boxes).tolist()
        theirs = cv2.dnn.NMSBoxes(sizes, scores.tolist(), 0.0, 0.5)
        ours = vision.nms(boxes, scores, 0.5)
        # OpenCV drops boxes that score nothing
        assert [i for i in ours.tolist() if scores[i] > 0] == np.ravel(theirs).tolist(), seed


def test_a_box_that_was_removed_removes_none():
    chain = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    assert vision.nms(chain, [0.9, 0.8, 0.7], 0.4).tolist() == [0, 2]


@pytest.mark.parametrize(
    "boxes, scores, iou, message",
    [
        ([[0, 0, 1, 1]], [np.nan], 0.5, "NaN"),
        ([[0, 0, np.nan, 1]], [0.5], 0.5, "box 0 .*not finite"),
        ([[0, 0, 1, 1], [5, 5, 4, 6]], [0.5, 0.4], 0.5, "box 1 has a negative size"),
        ([[0, 0, 1, 1]], [0.5, 0.4], 0.5, "1 boxes need as many scores"),
        ([0, 0, 1, 1], [0.5], 0.5, "N x 4"),
        ([[0, 0, 1, 1]], [0.5], 1.5, "from 0 to 1, not 1.5"),
        ([[0, 0, 1, 1]], [0.5], np.nan, "from 0 to 1"),
    ],
)
def test_what_nms_cannot_order(boxes, scores, iou, message):
    with pytest.raises(ValueError, match=message):
        vision.nms(boxes, scores, iou)


@pytest.mark.parametrize("number", [-1, 10**5])
def test_class_numbers_out_of_range(number):
    with pytest.raises(ValueError, match="class numbers must be from 0 to 32767"):
        vision.class_wise_nms([[0, 0, 1, 1]], [0.5], [number], 0.5)


def test_a_limit_keeps_the_best():
    for seed in range(30):
        boxes, scores, classes, threshold = case(seed)
        whole = vision.class_wise_nms(boxes, scores, classes, threshold)
        for limit in (0, 1, 30, 1000):
            got = vision.class_wise_nms(boxes, scores, classes, threshold, limit)
            assert got.tolist() == whole[:limit].tolist()


# decoders: outputs that are made for known boxes


def grid_of(size, strides=(8, 16, 32)):
    cells = []
    for stride in strides:
        for row in range(size // stride):
            cells += [(column, row, stride) for column in range(size // stride)]
    return np.array(cells).T


BOX = np.float32([100, 60, 40, 80])  # centre and size in pixels


def made_for_fastestdet():
    raw = np.zeros((1, 5 + 80, 22, 22), np.float32)
    column, row = (int(value // 16) for value in BOX[:2])
    raw[0, 0, row, column] = 0.9
    raw[0, 1, row, column] = np.arctanh(BOX[0] / 16 - column)
    raw[0, 2, row, column] = np.arctanh(BOX[1] / 16 - row)
    raw[0, 3:5, row, column] = np.log(BOX[2:] / (352 - BOX[2:]))
    raw[0, 5 + 17, row, column] = 0.8
    return raw, 0.9**0.6 * 0.8**0.4


def made_for_yolox():
    cells = grid_of(416)
    raw = np.zeros((1, 3549, 85), np.float32)
    cell = 3000  # in the grid of stride 16
    column, row, stride = cells[:, cell]
    raw[0, cell, :2] = BOX[:2] / stride - [column, row]
    raw[0, cell, 2:4] = np.log(BOX[2:] / stride)
    raw[0, cell, 4] = 0.9
    raw[0, cell, 5 + 17] = 0.8
    return raw, 0.9 * 0.8


def everywhere(cells):
    """Boxes of one pixel in each cell, as an export gives them; x, y, width, height x cells."""
    column, row, stride = cells
    size = np.ones_like(stride)
    return np.stack([(column + 0.5) * stride, (row + 0.5) * stride, size, size])


def made_for_v5():
    raw = np.zeros((1, 25200, 85), np.float32)
    raw[0, :, :4] = np.tile(everywhere(grid_of(640)), 3).T
    raw[0, 20_000, :4] = BOX
    raw[0, 20_000, 4] = 0.9
    raw[0, 20_000, 5 + 17] = 0.8
    return raw, 0.9 * 0.8


def made_for_v8():
    raw = np.zeros((1, 84, 8400), np.float32)
    raw[0, :4] = everywhere(grid_of(640))
    raw[0, :4, 7000] = BOX
    raw[0, 4 + 17, 7000] = 0.8
    return raw, 0.8


def made_for_digits():
    raw = np.full((1, 15, 12, 12), -20, np.float32)
    raw[0, 0, 7, 11] = np.log(9)  # the sigmoid of it is 0.9
    raw[0, 1:3, 7, 11] = BOX[:2] / 8 - [11.5, 7.5]
    raw[0, 3:5, 7, 11] = np.log(BOX[2:] / 8)
    raw[0, 5:, 7, 11] = 0
    raw[0, 5 + 7, 7, 11] = np.log(36)  # the softmax of it is 0.8: 36 of 36 + 9
    return raw, 0.9 * 0.8


CLASS = {"digit detector": 7}  # of all others 17
MADE = {
    "digit detector": made_for_digits,
    "FastestDet": made_for_fastestdet,
    "YOLOX": made_for_yolox,
    "YOLOv5": made_for_v5,
    "YOLOv8": made_for_v8,
}


@pytest.mark.parametrize("layout", vision.LAYOUTS, ids=lambda layout: layout.name)
def test_decoders_find_the_box_that_was_put_there(layout):
    raw, score = MADE[layout.name]()
    assert layout.matches(raw.shape, layout.size, layout.size)
    boxes, scores, classes = layout.decode(raw, layout.size, layout.size, 0.1)
    assert np.abs(boxes - [[80, 20, 120, 100]]).max() < 1e-2 and boxes.dtype == np.float32
    assert scores == pytest.approx([score], abs=1e-6)
    assert classes.tolist() == [CLASS.get(layout.name, 17)]
    assert len(layout.decode(raw, layout.size, layout.size, 0.95)[0]) == 0


@pytest.mark.parametrize("name", ["YOLOv5", "YOLOv8"])
def test_exports_with_boxes_as_parts_of_the_picture(name):
    """As TFLite exports have them."""
    layout = next(layout for layout in vision.LAYOUTS if layout.name == name)
    raw, _ = MADE[name]()
    boxes = {"YOLOv5": raw[0, :, :4], "YOLOv8": raw[0, :4]}[name]
    boxes /= 640
    found, _, _ = layout.decode(raw, 640, 640, 0.1)
    assert np.abs(found - [[80, 20, 120, 100]]).max() < 1e-2


def test_every_layout_matches_its_own_output_only():
    for layout in vision.LAYOUTS:
        raw, _ = MADE[layout.name]()
        for other in vision.LAYOUTS:
            assert other.matches(raw.shape, layout.size, layout.size) == (other is layout)


def test_huge_numbers_do_not_overflow():
    raw = np.full((1, 3549, 85), 1e4, np.float32)
    boxes, _, _ = heads.decode_yolox(raw, 416, 416, 0.1)
    assert np.isfinite(boxes).all()
    boxes, _, _ = heads.decode_fastestdet(np.full((1, 85, 22, 22), -1e4, np.float32), 352, 352, 0)
    assert np.isfinite(boxes).all()


INPUTS = {  # what the upper left pixel of a red picture becomes
    heads.bgr_stretched: ([0, 0, 1], 1.0),
    heads.bgr_letterboxed: ([0, 0, 255], 114.0),
    heads.rgb_letterboxed: ([1, 0, 0], 114 / 255),
    heads.grey_letterboxed: ([76 / 255], 114 / 255),
}


@pytest.mark.parametrize("prepare", INPUTS, ids=lambda prepare: prepare.__name__)
def test_inputs_have_the_right_order_and_range(prepare):
    pixel, border = INPUTS[prepare]
    red = np.zeros((64, 128, 3), np.uint8)
    red[..., 0] = 255
    x, fit = prepare(red, 96, 96)
    assert x.dtype == np.float32 and x.shape == (1, len(pixel), 96, 96)
    assert x.flags.c_contiguous
    assert x[0, :, 40, 48] == pytest.approx(pixel, abs=1e-6)
    assert x[0, -1, 95, 95] == pytest.approx(border, abs=1e-6)
    assert (fit.height, fit.width) == (64, 128)


# pictures of every kind


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


GREY = (np.arange(30 * 40) % 256).reshape(30, 40).astype(np.uint8)
RGB = RNG.integers(0, 256, (30, 40, 3), np.uint8)
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=2)


def with_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise
    return encoded(Image.fromarray(RGB), exif=exif)


def half_transparent():
    alpha = np.zeros((30, 40, 1), np.uint8)
    alpha[:15] = 255
    return np.concatenate([RGB, alpha], axis=2)


WHITE_BELOW = np.where(np.arange(30)[:, None, None] < 15, RGB, 255)

FILES = {  # name: bytes, wanted picture
    "rgb.png": (encoded(Image.fromarray(RGB)), RGB),
    "rgb.bmp": (encoded(Image.fromarray(RGB), "BMP"), RGB),
    "grey.png": (encoded(Image.fromarray(GREY)), THREE_GREYS),
    "rgba.png": (encoded(Image.fromarray(half_transparent())), WHITE_BELOW),
    "16bit.png": (encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), THREE_GREYS),
    "turned.png": (with_orientation(), np.rot90(RGB, -1)),
    "palette.png": (encoded(Image.fromarray(GREY).convert("P")), THREE_GREYS),
    "one_bit.png": (encoded(Image.fromarray(GREY > 99)), np.where(THREE_GREYS > 99, 255, 0)),
    "1x1.png": (encoded(Image.fromarray(RGB[:1, :1])), RGB[:1, :1]),
    "wide.png": (encoded(Image.fromarray(np.zeros((2, 10_000, 3), np.uint8))), 0),
}


@pytest.mark.parametrize("name", FILES)
def test_pictures_of_every_kind_become_rgb(tmp_path, name):
    content, wanted = FILES[name]
    (tmp_path / name).write_bytes(content)
    image = vision.read_image(tmp_path / name)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert (image == wanted).all()


def test_a_grey_jpeg_and_one_for_printing(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    for mode in ("L", "CMYK"):
        path = tmp_path / f"{mode}.jpg"
        path.write_bytes(encoded(Image.fromarray(smooth).convert("RGB").convert(mode), "JPEG"))
        image = vision.read_image(path)
        assert np.abs(image.astype(int) - smooth[..., None]).max() < 12


ARRAYS = {
    "grey": (GREY, THREE_GREYS),
    "one channel": (GREY[..., None], THREE_GREYS),
    "rgb": (RGB, RGB),
    "rgba": (half_transparent(), WHITE_BELOW),
    "16 bit": (RGB.astype(np.uint16) * 257, RGB),
    "a view": (RGB[::-1, ::2], RGB[::-1, ::2]),
    "1 x 1": (RGB[:1, :1], RGB[:1, :1]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_kind_become_rgb(name):
    given, wanted = ARRAYS[name]
    image = vision.read_image(given)
    assert image.dtype == np.uint8 and image.flags.c_contiguous and (image == wanted).all()


JPEG = encoded(Image.fromarray(RNG.integers(0, 256, (200, 200, 3), np.uint8)), "JPEG")
BAD_FILES = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "truncated.jpg is damaged or incomplete"),
    "header.jpg": (JPEG[:30], "header.jpg is"),
    "half.png": (FILES["rgb.png"][0][:200], "half.png is damaged or incomplete"),
    "empty.jpg": (b"", "empty.jpg is not a picture"),
    "words.png": (b"these are words", "words.png is not a picture"),
    "float.tiff": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "32 bits"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_no_picture(tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        vision.read_image(tmp_path / name)


def test_a_picture_of_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for size in ((20, 30), (40, 30)):  # Pillow warns above the limit, and fails above twice of it
        path = tmp_path / "large.png"
        path.write_bytes(encoded(Image.fromarray(np.zeros((*size, 3), np.uint8))))
        with pytest.raises(ValueError, match="large.png has too many pixels"):
            vision.read_image(path)


def test_a_red_picture_stays_red_as_jpeg():
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0] = 255
    jpeg = vision.as_jpeg(image)
    blue, green, red = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[20, 20]
    assert jpeg[:2] == b"\xff\xd8" and red > 230 and green < 30 and blue < 30
    assert vision.as_jpeg(image[::-1, ::2])[:2] == b"\xff\xd8", "a view of a picture, too"


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.jpg does not exist"):
        vision.read_image(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        vision.read_image(tmp_path)
    with pytest.raises(ValueError, match=f"the folder {tmp_path.name} contains no pictures"):
        vision.list_images(tmp_path)
    with pytest.raises(ValueError, match="none is not a folder"):
        vision.list_images(tmp_path / "none")
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "sub/a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in vision.list_images(tmp_path)] == ["b.JPG", "a.png"]


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((3, 20, 30), np.uint8), "transpose"),
        (np.zeros((20, 30, 3)), "for floats"),
        (np.full((20, 30, 3), np.nan, np.float32), "for floats"),
        (np.zeros((20, 30, 2), np.uint8), "height x width"),
        (np.zeros((0, 30, 3), np.uint8), "height x width"),
        (np.zeros(30, np.uint8), "height x width"),
        (np.zeros((1, 20, 30, 3), np.uint8), "height x width"),
    ],
)
def test_arrays_that_are_no_picture(array, message):
    with pytest.raises(ValueError, match=message):
        vision.read_image(array)


# drawing


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("dashed", [False, True])
def test_boxes_are_visible_on_every_ground_without_colours(ground, dashed):
    picture = np.full((240, 320, 3), ground, np.uint8)
    drawn = vision.draw_boxes(picture, [[50, 60, 200, 180]], ["person .87"], dashed=dashed)
    assert (picture == ground).all(), "the caller's picture is unchanged"
    grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY).astype(int)
    for y, x in ((60, 180), (180, 100), (100, 50), (100, 200)):
        near = grey[y - 4 : y + 5, x - 4 : x + 5]
        assert near.max() - near.min() > 200, (y, x)
    assert (drawn[100:140, 90:160] == ground).all(), "nothing inside"


def test_solid_and_dashed_boxes_differ():
    picture = np.zeros((240, 320, 3), np.uint8)
    solid, dashed = (
        vision.draw_boxes(picture, [[50, 60, 200, 180]], dashed=dashed) for dashed in (False, True)
    )
    assert (solid[60, 50:200] == 255).all()
    share = (dashed[60, 50:200] == 255).mean()
    assert 0.3 < share < 0.8
    for y, x in ((60, 50), (60, 200), (180, 50), (180, 200)):
        assert (dashed[y, x] == 255).all(), "corners are drawn"


@pytest.mark.parametrize("corner", [(0, 0), (300, 0), (0, 232), (300, 232)])
def test_a_label_is_whole_wherever_its_box_is(corner):
    picture = np.full((240, 320, 3), 128, np.uint8)
    label = ["person"]
    (wide, high), below = cv2.getTextSize(label[0], cv2.FONT_HERSHEY_SIMPLEX, 12 / 22, 1)
    in_the_middle = vision.draw_boxes(picture, [[100, 100, 300, 200]], label)
    text = in_the_middle[100 - high - below : 100, 100 : 100 + wide]
    x, y = corner
    drawn = vision.draw_boxes(picture, [[x, y, x + 19, y + 7]], label)
    assert cv2.matchTemplate(drawn, text, cv2.TM_SQDIFF).min() < 1


def test_labels_do_not_cover_each_other():
    picture = np.full((240, 320, 3), 128, np.uint8)
    boxes = [[50, 60, 200, 180], [52, 62, 210, 150], [45, 58, 190, 170]]
    labels = ["dining table", "person", "cup"]
    drawn = vision.draw_boxes(picture, boxes, labels)
    for label in labels:
        alone = vision.draw_boxes(picture, [[50, 60, 200, 180]], [label])
        (wide, high), below = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 12 / 22, 1)
        text = alone[60 - high - below : 60, 50 : 50 + wide]
        assert cv2.matchTemplate(drawn, text, cv2.TM_SQDIFF).min() < 1, label


@pytest.mark.parametrize("shape", [(1, 1), (2, 10_000), (28, 28), (96, 96)])
def test_drawing_on_pictures_of_every_size(shape):
    boxes = [[-50, -50, 10, 10], [0, 0, 1e6, 1e6], [3, 3, 3, 3]]
    drawn = vision.draw_boxes(np.zeros(shape, np.uint8), boxes, ["a", "b", "c"], enlarge=2)
    assert drawn.shape == (2 * shape[0], 2 * shape[1], 3)
    assert drawn.any() or shape == (1, 1)


def test_what_cannot_be_drawn():
    picture = np.zeros((20, 20), np.uint8)
    with pytest.raises(ValueError, match="1 boxes need as many labels, not 2"):
        vision.draw_boxes(picture, [[0, 0, 5, 5]], ["a", "b"])
    with pytest.raises(ValueError, match="NaN"):
        vision.draw_boxes(picture, [[0, 0, np.nan, 5]])
    with pytest.raises(ValueError, match="N x 4"):
        vision.draw_boxes(picture, [0, 0, 5, 5])
    assert not vision.draw_boxes(picture, []).any()
