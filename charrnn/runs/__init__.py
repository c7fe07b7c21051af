"""Files on disk: atomic writes, run directories, checkpoints, reports and ONNX export."""
