# Cairn. `make up` and `make test` do all the set-up there is: a fresh Debian or Ubuntu with Go, Node.js and make is enough.

export CGO_ENABLED := 0
export CAIRN_HOME  ?= $(HOME)/.cairn

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/cairn-network/cairn/internal/buildinfo.Version=$(VERSION)

.PHONY: help build up down clean-network test race bench soak fuzz generate tools-check clients

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

tools-check:
	@command -v $(GO) >/dev/null || { echo "go is missing: install Go 1.26 from https://go.dev/dl" >&2; exit 1; }

# Programs that a category's devices start beside cairn-node.
BESIDE := ./service/compute/provider/card/cairn-card

build: tools-check ## build bin/cairn and bin/cairn-node
	@if [ -x bin/cairn ]; then echo "building bin/cairn and bin/cairn-node"; \
		else echo "building bin/cairn and bin/cairn-node: the first time fetches modules and takes some minutes, without a word"; fi
	@$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/cairn ./cmd/cairn-node $(BESIDE)

up: build ## start a whole network on this machine, do a first round of real work, show the page's address
	./bin/cairn up --home $(CAIRN_HOME)

down: ## stop the network that `make up` started
	@if [ -x bin/cairn ]; then ./bin/cairn down --home $(CAIRN_HOME); else echo "nothing was built, so nothing runs"; fi

clean-network: down ## forget the network and everything it stored
	rm -rf $(CAIRN_HOME)

test: build clients ## everything CI runs
	$(GO) vet ./...
	$(GO) vet -tags soak ./...
	$(GO) test -timeout 20m ./...

# The race detector needs C, for its test binaries only. It leaves out what has no goroutines of its own (the pure packages and the harness for
# categories), and what takes many minutes there: all that links the chain, and the devices of storage.
UNRACED := core/|chain/|cmd/|network|internal/arch|service/((compute|energy|storage|wireless|servicetest|energy/study)$$|compute/fuel|wireless/pob|storage/provider)

race: clients ## what has goroutines, under the race detector
	CGO_ENABLED=1 $(GO) test -race -vet=off -short -timeout 30m $$($(GO) list ./... | grep -vE '/cairn/($(UNRACED))')

bench: tools-check ## each figure beside its limit or its peer, measured in the same run (BENCH_ONLY=store, BENCH_JSON=1; see docs/bench.md)
	@$(GO) run ./internal/bench -only "$(BENCH_ONLY)"

soak: build ## what takes too long for `make test`
	CAIRN_SOAK=1 $(GO) test -timeout 180m -tags soak ./...

fuzz: ## ten seconds for every fuzz target
	@for t in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$t/*_test.go | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 10s $$t || exit 1; done; done

generate: tools-check ## regenerate what is generated: protobuf, tables, vectors
	$(GO) generate ./...

# The clients that tests use and that others wrote.
NPM_DIRS := $(patsubst %/package-lock.json,%,$(shell git ls-files '*package-lock.json'))
# Each a program, and the Debian package that it is in.
PROGRAMS := b3sum:b3sum busybox:busybox-static clang:clang curl:curl gcc:gcc glpsol:glpk-utils ip:iproute2 mbpoll:mbpoll proxychains4:proxychains4 eapol_test:eapoltest radclient:freeradius-utils qemu-aarch64:qemu-user runc:runc skopeo:skopeo sqlite3:sqlite3 stress-ng:stress-ng tc:iproute2 wasm-ld:lld wasm-validate:wabt
# Python modules of Debian's own Python; the package of module x_y is python3-x-y.
MODULES  := ephem pymodbus pysolar serial_asyncio
# Libraries and servers, and compilers for WebAssembly, by a file of theirs.
FILES    := /usr/include/stdlib.h:libc6-dev /usr/include/sml/sml_file.h:libsml-dev /usr/sbin/freeradius:freeradius /usr/sbin/hostapd:hostapd /usr/sbin/wpa_supplicant:wpasupplicant /usr/sbin/mosquitto:mosquitto \
            /usr/lib/wasm32-wasi/libc.a:wasi-libc /usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi:libclang-rt-14-dev-wasm32 \
            /usr/bin/rustc:rustc /usr/lib/rustlib/wasm32-wasi:libstd-rust-dev-wasm32
APT      := $(strip $(foreach p,$(PROGRAMS),$(if $(shell command -v $(firstword $(subst :, ,$(p))) 2>/dev/null),,$(lastword $(subst :, ,$(p))))) \
                    $(foreach m,$(MODULES),$(if $(wildcard /usr/lib/python3/dist-packages/$(m)),,python3-$(subst _,-,$(m)))) \
                    $(foreach f,$(FILES),$(if $(wildcard $(firstword $(subst :, ,$(f)))),,$(lastword $(subst :, ,$(f))))))

clients:
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	@if [ -n "$(APT)" ]; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq --no-install-recommends $(APT); \
		elif command -v sudo >/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends $(APT); \
		else echo "missing test programs: install $(APT)" >&2; exit 1; fi; fi
	@$(GO) -C tools mod download github.com/mattn/go-sqlite3
	@for d in $(NPM_DIRS); do [ $$d/node_modules -nt $$d/package-lock.json ] || (cd $$d && npm ci --no-audit --no-fund --silent && touch node_modules) || exit 1; done
