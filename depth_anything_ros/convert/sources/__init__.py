"""What users come with: checkpoints, Hugging Face folders, ONNX files, IRs, and what they are."""
