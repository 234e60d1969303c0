"""The figures that README and docs quote."""
