"""Opens any trained model: a run folder, an ONNX file, or a bundled name. :func:`load_network` gives a torch module."""

from moue.trained.network import load_network

__all__ = ["load_network"]
