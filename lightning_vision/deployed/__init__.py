"""The exported classifier where there is no torch: NumPy, Pillow and ONNX Runtime are enough."""
