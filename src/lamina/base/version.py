"""The version of Lamina, read by the build and by `lamina --version`."""

__version__ = "0.1.0"
