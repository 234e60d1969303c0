"""The lifecycle node: wires messages to inference and back."""
