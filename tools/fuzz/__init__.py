"""Attacks the node with broken messages, requests and files, and counts the faults it finds."""
