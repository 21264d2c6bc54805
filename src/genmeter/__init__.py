"""Usage statistics for gateways to generative-AI services."""

__version__ = "0.1.0"

__all__ = ["__version__"]
