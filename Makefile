# Two commands matter: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-python lint types imports check conformance conformance-python fuzz soak pins dist-check bench \
	deb deb-check manifests bench-before bench-quick faults native sanitize fuzz-native clean

$(VENV)/.installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/flatproxy demo

# More processes than cores: many tests wait. A module stays in one of them, which starts its nameservers once.
PROCESSES ?= 4
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder --durations=10

# The same tests of what a client sees, with Python taking the packets as it does where there is no C compiler.
test-python: $(VENV)/.installed
	FLATPROXY_NATIVE=0 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder \
		$(addprefix tests/integration/test_, exchange.py flattening.py ladder.py landing.py reload.py rates.py end.py \
		limits_of_connections.py limits_of_datagrams.py several_nameservers.py transports.py privileges.py \
		proxy_protocol.py views.py guards.py)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

imports: $(VENV)/.installed
	$(BIN)/lint-imports

# SECONDS=600 make fuzz; half of the time goes to the functions, half to the whole process.
SECONDS ?= 60
fuzz: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=2.3'
	$(BIN)/python -m tests.fuzz.run --seconds $$(($(SECONDS) / 2))
	$(BIN)/python -m tests.fuzz.process --seconds $$(($(SECONDS) / 2))

# MINUTES=60 make soak
MINUTES ?= 1
soak: $(VENV)/.installed
	$(BIN)/python -m tests.soak.run --minutes $(MINUTES)

# The packet path in C, built in place; its absence is an error.
native: $(VENV)/.installed
	FLATPROXY_NATIVE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

# The packet path under ASan, UBSan and TSan: its unit tests, and a stress of SECONDS for each. Needs clang and gcc.
sanitize: $(VENV)/.installed
	tests/soak/native/units
	tests/soak/native/run $(SECONDS)

# SECONDS for each of the packet path's fuzz targets, and for both paths given the same messages. Needs clang with
# libFuzzer.
fuzz-native: native
	tests/fuzz/native/run $(SECONDS)
	$(BIN)/python -m tests.fuzz.native.twins --seconds $(SECONDS)

# A line for each numbered requirement, and how many hold; needs the programs that tests/conformance/README.md names.
conformance: $(VENV)/.installed
	$(BIN)/python -m pytest tests/conformance --quiet --override-ini addopts='--strict-markers --strict-config'

conformance-python: $(VENV)/.installed
	FLATPROXY_NATIVE=0 $(MAKE) conformance

# The newest versions that pyproject.toml allows, with the hashes of all their files, for deployment.
pins: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.4'
	CUSTOM_COMPILE_COMMAND='make pins' $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe \
		--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--output-file requirements.txt pyproject.toml

# What is published: an sdist, a wheel made of it, and that wheel alone in a fresh environment.
dist-check: $(VENV)/.installed
	rm -rf dist build/fresh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6.1'
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m zipfile --list dist/*.whl | grep -q flatproxy/py.typed
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	build/fresh/bin/flatproxy demo --once

# A Debian package, dist/flatproxy_VERSION_ARCHITECTURE.deb, with an environment of its own.
deb: $(VENV)/.installed
	packaging/build_deb

# As root: installs it on a bare Debian 12 in a folder, runs it and removes it again.
deb-check: deb
	packaging/check_deb

# The manifests against Kubernetes' own schema.
manifests: $(VENV)/.installed
	for file in config/kubernetes/*.yaml; do $(BIN)/kubernetes-validate --strict -k 1.31 $$file || exit 1; done

# Side by side with dnsdist and PowerDNS: half an hour; three minutes for the quick one, which keeps no committed results.
$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m bench
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.safety
	$(BIN)/python -m bench.refresh
	$(BIN)/python -m bench.report

# What a change costs: BEFORE=folder make bench-before; the folder is a checkout of before, with its own .venv.
bench-before: $(VENV)/.installed
	$(BIN)/python -m bench --before $(BEFORE)

bench-quick: $(VENV)/.installed
	$(BIN)/python -m bench --quick

# Real processes under load while something breaks; prints what was lost.
faults: $(VENV)/.installed
	$(BIN)/python -m pytest tests/faults

check: lint types imports test

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
