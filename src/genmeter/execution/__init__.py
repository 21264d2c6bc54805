"""Runs a query and shapes its result."""
