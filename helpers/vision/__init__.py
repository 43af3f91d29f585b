"""Find objects in pictures: open_detector(path).detect(image), nms, letterbox, draw_boxes.

boxes           x1 y1 x2 y2, conversions from and to other formats
images          read a picture of any kind, write JPEG
fitting         letterbox and stretch, and the way back
heads           the known kinds of detectors, and their decoders
digit_head      the same for the digit detector: numpy only
suppression     non-maximum suppression
detector        open_detector: the stages together, for a model file
drawing         boxes with labels on a picture
camera          open_source: frames from a camera, a video, a folder; Latest: only the newest
sources         what all sources share, and the sources that are files
pi_camera       the camera on a Pi's ribbon cable
opencv_cameras  cameras on USB and streams
stages          where the time of a frame goes, from light to result
own_pictures    a folder of pictures with labels in COCO's format
mobilenet       MobileNetV2 with published weights, its classes and its input
published       FastestDet in PyTorch, with its weights; it needs torch and is imported by its name

The room needs OpenCV and Pillow.
"""

from helpers.vision.boxes import (
    box_area,
    clip_boxes,
    cxcywh_to_xyxy,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from helpers.vision.detector import Detections, Detector, open_detector
from helpers.vision.drawing import draw_boxes
from helpers.vision.fitting import Fit, letterbox, stretch
from helpers.vision.heads import LAYOUTS, Layout
from helpers.vision.images import as_jpeg, list_images, read_image
from helpers.vision.mobilenet import as_input, imagenet_names, mobilenet_v2
from helpers.vision.own_pictures import OwnPicture, read_own_pictures
from helpers.vision.suppression import class_wise_nms, nms

__all__ = [
    "LAYOUTS",
    "Detections",
    "Detector",
    "Fit",
    "Layout",
    "OwnPicture",
    "as_input",
    "as_jpeg",
    "box_area",
    "class_wise_nms",
    "clip_boxes",
    "cxcywh_to_xyxy",
    "draw_boxes",
    "imagenet_names",
    "letterbox",
    "list_images",
    "mobilenet_v2",
    "nms",
    "open_detector",
    "read_image",
    "read_own_pictures",
    "stretch",
    "xywh_to_xyxy",
    "xyxy_to_cxcywh",
    "xyxy_to_xywh",
]
