"""Measurements behind the numbers in the README; see README.md here."""
