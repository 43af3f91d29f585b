"""One way to open and run a model file in any runtime: open_model(path).predict(images)."""

from modelfiles.runtimes.model import Model, dequantize, quantize
from modelfiles.runtimes.opening import OPENERS, open_model

__all__ = ["OPENERS", "Model", "dequantize", "open_model", "quantize"]
