# Holdfast. `make` alone lists what there is.

GO      ?= go
BIN     := bin/holdfast
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build demo test race e2e fuzz bench lint fmt clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/holdfast
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/holdfast

demo: build ## the main job, on a real Envoy, on this machine
	$(BIN) demo

test: ## everything that must pass before a change lands: vet, all tests with -race, the story on a real Envoy
	@echo "==> go vet ./..."
	$(GO) vet ./...
	@echo "==> go test -race ./... (a real Envoy is found or installed into .tools first)"
	$(GO) run ./envoy/install
	$(GO) test -race -shuffle=on -timeout 14m ./...

race: test ## the same: tests always run with -race

e2e: build ## only the tests that run a real Envoy
	$(GO) test -race -count=1 -v ./envoy/...

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "==> $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

bench: build ## CPU per cached check beside a no-op grpc-go server, in one run
	$(GO) run ./cmd/internal/bench -holdfast $(BIN)

LINT := .tools/bin/golangci-lint
lint: $(LINT) ## golangci-lint with .golangci.yml
	$(LINT) run ./...

$(LINT):
	GOBIN=$(CURDIR)/.tools/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

fmt: ## gofmt
	gofmt -w $$(git ls-files '*.go')

clean: ## what make made, except .tools
	rm -rf bin
