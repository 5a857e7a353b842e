"""The reference engine: the IR evaluated in plain Python, the definition for all others."""
