"""A trained classifier as one file for other programs: ONNX, torch.export's pt2, ExecuTorch's pte."""
