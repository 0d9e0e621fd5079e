"""Thin scripts that make working systems of the components."""
