"""The networks and their ONNX graphs."""
