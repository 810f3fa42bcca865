"""Foreign separators: an ONNX file and a card that says what its tensors are."""
