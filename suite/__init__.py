"""petlbench: what is measured, and how."""

__version__ = "0.1.0"
