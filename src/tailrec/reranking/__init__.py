"""Arranging a slate from scored items."""
