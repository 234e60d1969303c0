"""Offline: from a PyTorch checkpoint to an OpenVINO IR that proves itself."""
