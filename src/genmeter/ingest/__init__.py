"""Bytes -> records -> the queue of the writer."""
