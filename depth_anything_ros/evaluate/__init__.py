"""The program ``depth_anything_evaluate``: accuracy of models, and agreement of two models."""
