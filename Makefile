# make help lists what there is. CI calls `make test` and nothing else, so a red build can be repeated at a desk.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
SYSCONFDIR ?= /etc
UNITDIR  ?= $(PREFIX)/lib/systemd/system
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X github.com/ircferry/ircferry/admin.release=$(VERSION)

# Bounds of the single steps; all of `make test` is to take less than twenty minutes on two quiet cores.
RACE_TIMEOUT ?= 12m
E2E_TIMEOUT  ?= 14m
# Tests of real ircds that may run side by side: they wait more than they work.
E2E_PARALLEL ?= 9
FUZZTIME     ?= 3s

export GO
# The binaries, vet, staticcheck and the tests of e2e are compiled with the same settings, so that a package is compiled once for all of them.
export GOFLAGS += -trimpath
pure := CGO_ENABLED=0
# Where git does not answer (an unpacked archive, a tree of another user) go would not build for want of a revision.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo yes),yes)
export GOFLAGS += -buildvcs=false
endif

.DEFAULT_GOAL := help
.PHONY: help build deb modules e2e-inspircd e2e-life e2e-replay sanitize demo test check fmt vet lint race fuzz e2e soak mutate bench deps install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/ircferry and bin/ferryctl
	$(pure) $(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/ircferry ./cmd/ferryctl

INSPIRCD_INCLUDE ?= /usr/include/inspircd
CXX ?= g++
CXXFLAGS ?= -O2
MODULE := handoff/ircds/inspircd
MODULE_OUT ?= bin
MODULE_SOURCES := $(wildcard $(MODULE)/*.h $(MODULE)/*/*.h $(MODULE)/*.cpp)
MODULE_FLAGS = -std=gnu++17 $(CXXFLAGS) -Wall -Wextra -Wno-unused-parameter -DFMT_HEADER_ONLY -fPIC -shared -fno-rtti -fvisibility=hidden
TRIXIE := $(shell bash scripts/trixie.sh --have inspircd-dev g++ libfmt-dev 2>/dev/null)
MODULES = $(if $(wildcard $(INSPIRCD_INCLUDE)/config.h),$(MODULE_OUT)/m_handoff.so) $(if $(TRIXIE),$(MODULE_OUT)/m_handoff-4.so)

modules: $(or $(strip $(MODULES)),$(INSPIRCD_INCLUDE)/config.h) ## HANDOFF/1 for InspIRCd: bin/m_handoff.so by the headers here (INSPIRCD_INCLUDE), m_handoff-4.so by those of Debian 13

$(MODULE_OUT)/m_handoff.so: $(MODULE_SOURCES) $(INSPIRCD_INCLUDE)/config.h
	@mkdir -p $(MODULE_OUT)
	$(CXX) $(MODULE_FLAGS) -isystem $(INSPIRCD_INCLUDE) -o $@.new $(MODULE)/m_handoff.cpp && mv $@.new $@

# By the compiler and the headers of Debian 13, with fmt in the module itself, as the ircd and its modules have it.
$(MODULE_OUT)/m_handoff-4.so: $(MODULE_SOURCES) $(TRIXIE)/usr/include/inspircd/config.h
	@mkdir -p $(MODULE_OUT)
	dir=$$(mktemp -d $(TRIXIE)/tmp/module.XXXXXX) && trap 'rm -rf "$$dir"' EXIT && cp -r $(MODULE)/. "$$dir" && in=/tmp/$${dir##*/} && \
		chroot $(TRIXIE) g++ $(MODULE_FLAGS) -isystem /usr/include/inspircd -o $$in/m_handoff.so $$in/m_handoff.cpp && \
		cp "$$dir/m_handoff.so" $@.new && mv $@.new $@

$(INSPIRCD_INCLUDE)/config.h:
	@echo "no headers of InspIRCd in $(INSPIRCD_INCLUDE): apt-get install inspircd-dev, or say where: INSPIRCD_INCLUDE=" >&2; exit 1

demo: build ## two small ircds, 200 talking clients, three moves, a table (DEMO_ARGS=--stay keeps it up)
	./bin/ircferry demo $(DEMO_ARGS)

test: ## everything CI runs: packages, checks, race, fuzz, end to end; sums up what was skipped
	@bash scripts/test.sh

check: fmt vet lint ## gofmt, go vet, staticcheck

fmt: ## fails if a file is not gofmt-ed
	@files=$$($$(command -v gofmt || echo "$$($(GO) env GOROOT)/bin/gofmt") -l .) || exit 1; \
	if [ -n "$$files" ]; then echo "not gofmt-ed (run gofmt -w):"; echo "$$files"; exit 1; fi

# With the tag all files are seen but those that are there only without it.
vet: ## go vet, also of the files behind the e2e tag
	$(pure) $(GO) vet -tags e2e ./...
	$(pure) $(GO) vet $$(grep -rl --include='*.go' '^//go:build.*!e2e' . | xargs -n 1 dirname | sort -u)
	$(pure) $(GO) vet -tags manual $$(grep -rl --include='*.go' '^//go:build manual' . | xargs -n 1 dirname | sort -u)

lint: ## staticcheck
	@if ! $(pure) $(GO) tool -n staticcheck >/dev/null; then \
		echo "staticcheck cannot be built here, most likely its modules cannot be had: skipped"; \
		[ -z "$$SKIPPED" ] || echo "lint: staticcheck cannot be built" >> "$$SKIPPED"; \
	else echo "$(GO) tool staticcheck -tags e2e ./..."; $(pure) $(GO) tool staticcheck -tags e2e ./...; fi

race: ## all tests of all rooms with the race detector, shuffled, and those of proxy once more over TLS (e2e has a step of its own)
	@RACE_TIMEOUT=$(RACE_TIMEOUT) bash scripts/race.sh

fuzz: ## every FuzzXxx for FUZZTIME (default 3s) each
	@FUZZTIME=$(FUZZTIME) bash scripts/fuzz.sh

e2e: build ## real IRC clients and real ircds through the built binaries; the status page's picture is bin/status.png
	@$(pure) IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_ARTEFACTS=$(CURDIR)/bin bash scripts/gotest.sh -tags e2e -shuffle=on -parallel $(E2E_PARALLEL) -timeout $(E2E_TIMEOUT) ./e2e/...

e2e-inspircd: build modules ## ten restarts of InspIRCd 3 and 4 in place under 100 talking clients, and a closing line for each
	@rm -f bin/closing; IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_CLOSING=$(CURDIR)/bin/closing \
		$(GO) test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '^TestInspIRCdTenRestarts$$' ./e2e/; \
	status=$$?; cat bin/closing && exit $$status

e2e-links: build modules ## ten restarts and ten replaces of InspIRCd 3 and 4 with Anope, Atheme or a leaf linked to it, and a closing line for each pair
	@rm -f bin/closing-links; IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_CLOSING=$(CURDIR)/bin/closing-links IRCFERRY_LINKS_MOVES=$(or $(LINKS_MOVES),10) \
		$(GO) test -tags e2e -count=1 -parallel $(E2E_PARALLEL) -timeout 45m -run '^TestLinks' ./e2e/; \
	status=$$?; sort -u bin/closing-links && exit $$status

e2e-life: build modules ## upgrades, restarts and kills of the proxy itself under talking clients of embedded ircds and InspIRCd, real clients too, and a closing line for each (KILLS=400 SESSIONS=2000)
	@rm -f bin/closing; IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_CLOSING=$(CURDIR)/bin/closing \
		IRCFERRY_KILLS=$(or $(KILLS),400) IRCFERRY_KILL_SESSIONS=$(or $(SESSIONS),2000) \
		$(GO) test -tags e2e -count=1 -timeout 60m -run '^(TestManyUpgrades|TestUpgradesOnInspIRCd|TestRealClientsStayThroughUpgrades|TestKills|TestRealClientsStayThroughKills)$$' ./e2e/; \
	status=$$?; cat bin/closing && exit $$status

e2e-replay: build ## five restarts of stock ngIRCd, InspIRCd 3 and ircd-hybrid in place under 50 talking clients, and a closing line for each
	@rm -f bin/closing-replay; IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_CLOSING=$(CURDIR)/bin/closing-replay IRCFERRY_REPLAY_RUNS=$(or $(REPLAY_RUNS),5) \
		$(GO) test -tags e2e -count=1 -parallel $(E2E_PARALLEL) -timeout $(E2E_TIMEOUT) -run '^TestReplay' ./e2e/; \
	status=$$?; cat bin/closing-replay && exit $$status

SANITIZERS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr -Wno-maybe-uninitialized
sanitize: build ## the tests of InspIRCd and of links, on both versions, with the module under AddressSanitizer and UBSan; fails on a report
	@$(MAKE) --no-print-directory MODULE_OUT=$(CURDIR)/bin/sanitized CXXFLAGS='$(SANITIZERS)' modules
	@IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_MODULES=$(CURDIR)/bin/sanitized IRCFERRY_SANITIZER=1 IRCFERRY_LINKS_MOVES=$(or $(LINKS_MOVES),1) \
		$(GO) test -tags e2e -count=1 -parallel $(E2E_PARALLEL) -timeout 60m -run 'InspIRCd|^TestLinks' ./e2e/

soak: build ## random moves and faults for SOAK=10m, in a seed's order (SEED=... repeats one), behind a million steps of the model of a move
	@IRCFERRY_MODEL_STEPS=1000000 IRCFERRY_CHAOS=5000 $(GO) test -count=1 -run '^(TestMachineKeepsItsRules|TestChaos)$$' ./handoff/
	@IRCFERRY_BIN=$(CURDIR)/bin IRCFERRY_SOAK=$(or $(SOAK),10m) IRCFERRY_SOAK_SEED=$(SEED) \
		$(GO) test -tags e2e -count=1 -timeout 0 -v -run '^TestSoak$$' ./e2e/

mutate: ## do the tests of ROOM=./proxy notice a mistake? N=30 of them, in a seed's order (SEED=... repeats one, AT=file:line tries those of a line, JOBS=2 at a time)
	@$(GO) run ./scripts/mutate -go $(GO) -n $(or $(N),30) -seed $(or $(SEED),0) -at '$(AT)' -budget $(or $(BUDGET),15m) -jobs $(or $(JOBS),2) $(or $(ROOM),./proxy)

bench: build ## beside the newest HAProxy in the same run (HAPROXY=path BEFORE=path/to/ircferry BENCH=idle,burst,sparse,sat,fan,new,move,inspircd,links,tls-idle,tls-burst,tls-sparse,tls-sat,tls-new ROUNDS=4)
	@bash scripts/bench.sh

deps: ## the Debian packages that tests and bench use, where root and apt are there
	@bash scripts/deps.sh test bench

install: build ## binaries, systemd units, reference configuration (PREFIX, DESTDIR, SYSCONFDIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/ircferry
	install -m 0755 bin/ircferry bin/ferryctl $(DESTDIR)$(PREFIX)/bin/
	for unit in ircferry ircferry-keeper; do \
		sed -E 's#(/usr/local|/usr)/bin/(ircferry|ferryctl)#$(PREFIX)/bin/\2#g' configs/$$unit.service > bin/$$unit.service && \
		install -m 0644 bin/$$unit.service $(DESTDIR)$(UNITDIR)/$$unit.service || exit 1; done
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/ircferry/ircferry.yaml ]; then echo "kept $(DESTDIR)$(SYSCONFDIR)/ircferry/ircferry.yaml"; \
	else install -v -m 0644 configs/ircferry.yaml $(DESTDIR)$(SYSCONFDIR)/ircferry/ircferry.yaml; fi

deb: ## the Debian package, dist/ircferry_VERSION_ARCH.deb (GOARCH=arm64 for another machine)
	@VERSION='$(VERSION)' bash scripts/deb.sh

clean: ## bin/ and dist/
	rm -rf bin dist
