# Short names for the scripts. Every target only calls a script or the `relay` command.
.DEFAULT_GOAL := help
.PHONY: help check test up down bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: ## Run linters, types, import contracts and unit tests (about a minute, no Docker)
	scripts/check

test: ## Run everything, with integration and acceptance tests (needs a Docker engine)
	scripts/test

up: ## Start the local stack in the background
	scripts/up --detach

down: ## End the local stack; its data stays
	.venv/bin/relay down

bench: ## Measure the numbers of docs/performance.md (minutes; starts a stack of its own)
	.venv/bin/python -m bench
