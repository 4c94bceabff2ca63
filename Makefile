# kube-ovn-ccm. `make help` lists what there is; `make demo` and `make test` are
# the two commands of the README.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The same flags everywhere, so that all builds share one Go build cache.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false

# golangci-lint remembers findings by the absolute path that they were found at. A cache that checkouts share shows what
# it found in one that is gone, without the nolint comments there, which it can no longer read.
export GOLANGCI_LINT_CACHE := $(CURDIR)/bin/lint-cache

# The lab that `make demo` leaves up, and those that `make test` uses: Kubernetes' own tests have one to themselves, in
# which kube-ovn-ccm serves Services without a class or an attachment, too.
DEMO_LAB ?= lab
TEST_LAB ?= e2e
CONFORMANCE_LAB ?= conformance
CHURN_LAB ?= churn

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: bin/lab ## Start a real cluster, install kube-ovn-ccm as a user would, walk through the guide; leaves the cluster up
	@LAB_NAME=$(DEMO_LAB) hack/demo.sh

.PHONY: demo-down
demo-down: bin/lab ## End the cluster of `make demo`
	@bin/lab down --name $(DEMO_LAB)

.PHONY: test
test: prepare lint unit e2e conformance ## Every check there is: lint, unit and packet tests, the cluster tests, Kubernetes' own
	@echo "make test: every check passed"

.PHONY: prepare
prepare: bin/lab ## Install the Debian packages that the checks use, and build what a cluster and its tests consist of
	bin/lab build --conformance

# All of test/e2e but cmd/hyper: to look at its fifty lines the linters would
# read all of Kubernetes, for ten minutes.
LINTED_E2E := ./assets/... ./churn/... ./cmd/lab/... ./cmd/recorder/... ./conformance/... ./lab/... ./suite/...

.PHONY: lint
lint: bin/golangci-lint ## golangci-lint over both modules
	bin/golangci-lint run ./...
	cd test/e2e && ../../bin/golangci-lint run $(LINTED_E2E)

.PHONY: unit
unit: ## Unit tests, and the packet tests in network namespaces (needs root)
	go test -count=1 ./...
	cd test/e2e && go test -count=1 $$(go list ./... | grep -v /suite)

.PHONY: e2e
e2e: bin/lab ## The cluster tests on a cluster of their own
	LAB_NAME=$(TEST_LAB) hack/e2e.sh

.PHONY: conformance
conformance: bin/lab ## Kubernetes' own tests of load balancers, every one of them, on a cluster of their own
	LAB_NAME=$(CONFORMANCE_LAB) hack/conformance.sh

.PHONY: churn
churn: bin/lab ## Ten minutes of addresses that come and go while controllers are killed, on a cluster of their own
	LAB_NAME=$(CHURN_LAB) hack/churn.sh

.PHONY: fuzz
fuzz: ## Each fuzz test for 20 s
	hack/fuzz.sh 20s

.PHONY: build
build: bin/kube-ovn-ccm bin/lb-gateway bin/lab ## The programs, into bin/

.PHONY: images
images: bin/lab ## The two product images as OCI archives, into bin/images/
	bin/lab images --output bin/images

.PHONY: clean
clean: ## Remove bin/ (the lab's cache stays; `bin/lab build --help` says where it is)
	rm -rf bin

# Go decides what is up to date, so these are always asked for.
.PHONY: bin/kube-ovn-ccm bin/lb-gateway bin/lab bin/golangci-lint
bin/kube-ovn-ccm bin/lb-gateway:
	go build -ldflags "$$(build/ldflags.sh)" -o $@ ./cmd/$(@F)

bin/lab:
	cd test/e2e && go build -o ../../bin/lab ./cmd/lab

bin/golangci-lint:
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
