"""Opens any trained model: a run folder, an ONNX file, or a bundled name."""
