# Everything a contributor runs. Needs Go 1.26 or newer, make, git and, for the
# race detector, gcc. Tools are pinned in tools/*/go.mod and built on first use.

SHELL       = /bin/bash
.SHELLFLAGS = -eu -o pipefail -c

GO     ?= go
GODWIT = bin/godwit
BUF    = $(GO) tool -modfile=tools/buf/go.mod buf
LINT   = $(GO) tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint
# The comparison with other brokers is a module of its own, so that nobody
# inherits what it depends on.
PEERS  = bench/peers

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

build: ## build bin/godwit; its version comes from git
	$(GO) build -trimpath -buildvcs=auto -o $(GODWIT) ./cmd/godwit

run: build ## build and serve on ./data with a development key
	$(GODWIT) serve --dev --data ./data

demo: build ## prove it: a server killed halfway through 1,000 messages loses none
	$(GODWIT) demo

deps: ## what the race detector needs beside Go; by apt-get, as root, where it is missing
	@.ci/deps

test: deps ## every test, plain and then under the race detector; those of bench/peers plain
	.ci/deps-peers
	$(GO) test -timeout 20m $(TESTFLAGS) ./...
	cd $(PEERS) && $(GO) test -timeout 20m $(TESTFLAGS) ./...
	$(GO) test -race -timeout 20m $(TESTFLAGS) ./...

race: deps ## every test, under the race detector only
	$(GO) test -race -timeout 20m $(TESTFLAGS) ./...

lint: ## golangci-lint, go.mod tidy, generated code up to date
	$(LINT) run
	$(GO) mod tidy -diff
	cd $(PEERS) && $(LINT) run && $(GO) mod tidy -diff
	$(BUF) lint
	rm -rf .cache/generated
	$(BUF) generate -o .cache/generated
	for f in protocol/pb/*.pb.go; do diff -u $$f .cache/generated/$$f; done

fmt: ## format the Go code
	$(LINT) fmt

generate: ## regenerate protocol/pb from protocol/im.proto
	$(BUF) generate

fuzz: ## run every fuzz target for FUZZTIME (default 20s) each
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f[n++]=$$1} /^ok/ {for (i=0;i<n;i++) print $$2, f[i]; n=0}' | \
	while read -r pkg target; do echo "$$pkg $$target"; \
		$(GO) test $$pkg -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),20s) || exit 1; done

bench: build ## Go benchmarks of the hot paths, then a short ladder: 2 to 3 minutes
	$(GO) test -run '^$$' -bench . -benchtime $(or $(BENCHTIME),200ms) ./...
	$(GODWIT) bench direct --pairs 64 --ladder --rate 16000 --for 2s

bench-compare: ## the Go benchmarks of revision BASE and of the working tree in turn, with benchstat
	@GO=$(GO) tools/bench/compare "$(BASE)"

bench-peers: ## Godwit beside Mosquitto, NATS JetStream and mochi-mqtt; ARGS for the comparison
	.ci/deps-peers
	cd $(PEERS) && $(GO) run . $(ARGS)

crash: ## kill -9 a loaded server ROUNDS times (default 1,000) and check every journal
	$(GO) test ./bench/crash -run '^TestCrash$$' -count 1 -v -timeout 0 -rounds $(or $(ROUNDS),1000) $(if $(SEED),-seed $(SEED))

.PHONY: help build run demo deps test race lint fmt generate fuzz bench bench-compare bench-peers crash
