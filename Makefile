PYTHON ?= python3
.PHONY: check unit
check:
	ruff format --check src tests && ruff check src tests && mypy
unit:
	$(PYTHON) -m pytest -q tests/unit tests/rules
