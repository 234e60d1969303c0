# Everything runs in .venv, which each target sets up if needed, with ROS 2 from wheels. A ROS
# installation is neither needed nor used.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# The version that the tests run with. The converter works with torch 2.6 and newer.
TORCH ?= torch==2.13.0
VENV ?= .venv
# The distribution of the wheels, jazzy or kilted; one VENV holds one of them.
ROS ?= jazzy
# The OpenCV of Debian 12 and Ubuntu 24.04, with its own environment because it needs NumPy 1. Those of
# Ubuntu 22.04, with PYTHON=python3.10: OLD='numpy==1.21.6 opencv-python-headless==4.5.4.60'
OLD ?= numpy<2 opencv-python-headless==4.6.0.66
OLD_TESTS := test/vision test/alignment test/media/test_pictures.py test/media/test_video.py
# PyTorch takes most of their time, on one core each, so these share the cores. In the other tests
# nodes, cameras and browsers run beside one another.
PARALLEL_TESTS := test/convert test/distill test/evaluate test/networks
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
LINTED := depth_anything_ros docker docs/conf.py launch setup.py test tools
# A warning is an error: a missing page, picture, anchor or program, a docstring that is no reST.
SITE := build/site

# The variables of a sourced ROS installation would mix its libraries with those of the wheels, and
# the bootstrap variable of the wheels would keep them from finding theirs.
unexport AMENT_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION
unexport ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help
help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: demo
demo: $(VENV)/$(if $(findstring --view,$(ARGS)),.view,.base)  ## Run the node on images and write what it publishes to demo_output/; ARGS=--view shows it in a browser
	$(VENV)/bin/depth_anything_demo $(ARGS)

.PHONY: test
test: $(VENV)/.test  ## Run the tests; ARGS='-k name' selects some
ifdef ARGS
	$(VENV)/bin/python -m pytest $(ARGS)
else
	@status=0; set -x; \
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(PARALLEL_TESTS) || status=$$?; \
	$(VENV)/bin/python -m pytest $(PARALLEL_TESTS:%=--ignore=%) || status=$$?; \
	{ set +x; exit $$status; }
endif

.PHONY: test-old-opencv
test-old-opencv: $(VENV)/opencv/.done  ## Run the tests of image processing with the NumPy and OpenCV of Debian 12
	$(VENV)/opencv/bin/python -m pytest --noconftest $(OLD_TESTS) $(ARGS)

.PHONY: check
check: $(VENV)/.lint  ## Run the linters and the type checker, check package.xml and the parameter files
	$(VENV)/bin/ruff check $(LINTED)
	$(VENV)/bin/mypy
	$(VENV)/bin/ament_flake8 $(LINTED)
	$(VENV)/bin/ament_pep257 $(LINTED)
	@if command -v xmllint > /dev/null; then xmllint --noout package.xml; \
	else echo 'xmllint is not installed, package.xml is checked by catkin_pkg alone'; fi
	$(VENV)/bin/python -c 'import catkin_pkg.package as package; \
	  found = []; package.parse_package("package.xml", warnings=found); raise SystemExit(found or 0)'
	$(VENV)/bin/python -m tools.parameter_docs

.PHONY: docs
docs: $(VENV)/.docs  ## Rewrite the generated pages and parameter files, and build the site in build/site; measures no speed
	$(VENV)/bin/python -m tools.parameter_docs --write
	$(VENV)/bin/python -m tools.structure
	$(VENV)/bin/python -m tools.measure.pages
	$(MAKE) site

.PHONY: site
site: $(VENV)/.docs  ## Build the documentation in build/site, without rewriting anything
	$(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs $(SITE)
	@echo 'wrote $(SITE)/index.html'

.PHONY: clean
clean:  ## Remove .venv and everything that was built
	rm -rf $(VENV) build install log demo_output .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.base: setup.py setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo \
	  "$(PYTHON) is missing or older than Python 3.10; name another: make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(VENV)/bin/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) --editable '.[$(ROS)]'
	touch $@

$(VENV)/.torch: | $(VENV)/.base
	$(PIP_INSTALL) '$(TORCH)'
	touch $@

$(VENV)/.convert $(VENV)/.test: $(VENV)/.torch
$(VENV)/.test: $(VENV)/.convert $(VENV)/.tools
$(VENV)/.docs: $(VENV)/.tools
$(VENV)/.convert $(VENV)/.tools $(VENV)/.test $(VENV)/.lint $(VENV)/.view $(VENV)/.docs: $(VENV)/.base
	$(PIP_INSTALL) --editable '.[$(@:$(VENV)/.%=%)]'
	touch $@

$(VENV)/opencv/.done: | $(VENV)/.base
	$(VENV)/bin/python -m venv $(VENV)/opencv
	$(VENV)/opencv/bin/python -m pip install --quiet --disable-pip-version-check pytest \
	  $(foreach package,$(OLD),'$(package)')
	touch $@
