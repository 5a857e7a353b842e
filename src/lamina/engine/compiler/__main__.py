"""The compiler process's entry point: `python -m lamina.engine.compiler`."""

from lamina.engine.compiler.worker import main

main()
