"""A prior at work: bundles, cards, ONNX sessions, and the spectrogram they look at."""
