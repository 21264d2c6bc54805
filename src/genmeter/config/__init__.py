"""Flags and the environment -> settings."""
