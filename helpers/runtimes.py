"""One way to open and run a model file in any runtime: open_model(path).predict(images)."""

from modelfiles.runtimes import OPENERS, Model, dequantize, open_model, quantize

__all__ = ["OPENERS", "Model", "dequantize", "open_model", "quantize"]
