# Two commands set everything up on a machine with Python 3.11 to 3.13, pip and make; each makes an
# environment of its own.
#   make demo   installs the device package and classifies a real radiograph
#   make test   installs everything and runs the test suite

PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
FIND_RADIOGRAPH := from pydicom.data import get_testdata_file as f; print(f("RG3_UNCR.dcm"))

.PHONY: demo test lint bench clean

demo: $(DEMO)/ready
	$(DEMO)/bin/fracture-edge classify "$$($(DEMO)/bin/python -c '$(FIND_RADIOGRAPH)')"

test: $(VENV)/ready
	$(VENV)/bin/python -m pytest

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/ready
	$(VENV)/bin/python -m benchmarks.startup

# Not editable, as a user installs it: what is in the package decides when to install again.
$(DEMO)/ready: pyproject.toml constraints.txt $(wildcard fracture_edge/*.py fracture_edge/models/*)
	rm -rf build
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dicom]' pydicom-data
	touch $@

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
