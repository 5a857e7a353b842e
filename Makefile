# Each target of a kind of test runs it with $(PYTHON); `make test` sets up an environment first.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
PYTEST = $(PYTHON) -m pytest -q
TOOLS = qemu-system-riscv64 dtc

.PHONY: check unit isa machine golden lockstep boot bench bench-quick test tools
check:
	$(PYTHON) -m ruff format --check src tests bench
	$(PYTHON) -m ruff check src tests bench
	$(PYTHON) -m mypy
unit:
	$(PYTEST) tests/unit tests/rules
isa:
	$(PYTEST) tests/unit -k "isa or priv or csr or float or paging"
machine:
	$(PYTEST) tests/machine -m "not boot"
golden:
	$(PYTEST) tests/golden
lockstep:
	$(PYTEST) tests/lockstep
boot:
	$(PYTEST) tests -m boot
# All tables and plots of docs/benchmarks. Less: python -m bench integer --rounds 3
bench:
	$(PYTHON) -m bench --write
	$(PYTHON) -m bench machine --write
bench-quick:
	$(PYTHON) -m bench --quick

# What the tests need on a fresh Debian machine: QEMU to compare with, the device tree compiler.
tools:
	@for tool in $(TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
	    sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	    $$sudo apt-get update -qq && \
	    $$sudo apt-get install -y -qq --no-install-recommends qemu-system-misc device-tree-compiler; \
	fi
.venv/ready: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[test,bench]'
	touch $@
test: tools .venv/ready
	.venv/bin/python -m ruff format --check src tests bench
	.venv/bin/python -m ruff check src tests bench
	.venv/bin/python -m mypy
	.venv/bin/python -m pytest -n 2
