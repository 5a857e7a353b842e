"""Lamina: whole computers as Python objects. This module is the public face; it only re-exports."""

from lamina.base.version import __version__

__all__ = ["__version__"]
