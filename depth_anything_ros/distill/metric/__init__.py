"""Fine-tuning to metres: a relative model learns from images with measured depth."""
