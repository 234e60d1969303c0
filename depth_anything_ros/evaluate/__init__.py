"""How good a model is: scores on measured depth, ordered pairs, agreement of two models."""
