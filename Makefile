# make alone says what there is. CI runs `make test`; nothing is hidden there.

GO    ?= go
TOOL   = $(GO) tool -modfile=.ci/tools.mod
FUZZ  ?= 60s
REPORT = $(CURDIR)/bin/kafka-report

.PHONY: help kubernetes dashboard packaging release-check run test check lint race mutations libraries rivals alerts fuzz golden docs faults bench bench-quick bench-replicas compose build clean

help: ## this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+)[a-z -]*:.*## /\1\t/' | expand -t 16

run: ## try it: everything in one process, Kafka included
	$(GO) run ./cmd/tollbridge dev

build: ## bin/tollbridge
	$(GO) build -o bin/tollbridge ./cmd/tollbridge

test: FUZZ = 20000x
test: lint race mutations libraries rivals alerts fuzz packaging ## all checks, with a real Kafka where one can be had
	@echo; cat $(REPORT)

check: test ## the same

lint: ## gofmt, vet, staticcheck, govulncheck where it can run
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "gofmt would change: $$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@.ci/vulncheck $(TOOL)
	cd examples/go && $(GO) vet ./...

race: ## the tests, with the race detector
	@mkdir -p bin; rm -f $(REPORT); touch $(REPORT)
	$(GO) test -race -run '^$$' ./... >/dev/null # compiles with all cores; brokers under test want them, one package at a time
	TOLLBRIDGE_KAFKA_REPORT=$(REPORT) $(GO) test -race -p 1 -timeout 20m ./...

mutations: ## changed webhooks, the worst bodies, all orders of claims: without the race detector, with which these tests do little
	$(GO) test -count=1 ./internal/mutation ./internal/worst ./internal/once
	$(GO) test -count=1 ./verify -run '^TestSplits$$'
	$(GO) test -count=1 ./normalize -run '^TestTypes$$'

libraries: ## the verification of webhooks against that of the processors' and the standards' own libraries
	cd internal/differential && $(GO) vet ./... && $(GO) test ./...

rivals: ## what make bench measures, for a moment each, so that it does not rot
	cd bench && $(GO) vet ./... && $(GO) test ./...
	cd bench/bento && $(GO) vet ./...

alerts: ## the unit tests of the alerts, where promtool is installed (Debian: prometheus)
	@if command -v promtool >/dev/null; then promtool check rules deploy/prometheus/rules.yml && promtool test rules deploy/prometheus/rules_test.yml; \
	else echo "NOT TESTED: deploy/prometheus/rules.yml (no promtool)"; fi

fuzz: ## every fuzz target for FUZZ (60s; a number of runs is 20000x)
	@$(GO) list -f '{{range .TestGoFiles}}{{$$.Dir}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$.Dir}}/{{.}} {{end}}' ./... | tr ' ' '\n' | grep . | \
	xargs grep -oE '^func Fuzz[A-Za-z0-9]+' | sed -E 's|^(.*)/[^/]+:func |\1 |' | sort -u | while read -r dir target; do \
		echo "fuzz $$target for $(FUZZ)"; $(GO) test "$$dir" -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ) || exit 1; done

golden: ## rewrite the golden files, to read what changed
	$(GO) test ./normalize -run TestGolden -update
	$(GO) test ./schemas -run TestCompatible -update
	git diff --stat -- normalize/samples schemas/json

docs: ## write docs/connectors.md, docs/metrics.md and the table of docs/processor-apis.md anew
	$(GO) run ./cmd/tollbridge connectors --markdown > docs/connectors.md.new
	mv docs/connectors.md.new docs/connectors.md
	$(GO) test ./cmd/tollbridge -run 'TestMetricsPage|TestAPIsPage' -count=1 -update

faults: ## every fault, against a real Kafka, and gaps over 10^5 events: three quarters of an hour
	TOLLBRIDGE_FAULTS=full $(GO) test ./internal/faults -count=1 -v -timeout 60m
	TOLLBRIDGE_FAULTS=full $(GO) test ./internal/e2e -run '^TestGapsKilled$$' -count=1 -v

kubernetes dashboard: ## write deploy/kubernetes/tollbridge.yaml, the chart's alerts and deploy/grafana/tollbridge.json anew
	cd deploy && $(GO) test -count=1 . -args -update

packaging: ## the chart, the manifests, the systemd unit, the packages and the dashboard
	cd deploy && $(GO) vet ./... && $(GO) test ./...

release-check: ## make all that a release has, look into it, delete it: half an hour with empty caches; KEEP=1 leaves it in dist
	.ci/release/check

bench: ## measure, and write docs/benchmarks.md: half an hour, or BENCH='-repeats 1 -only fake-0ms,tollbridge,franz-go'
	cd bench && $(GO) test -run '^TestRivals$$' -count=1 -timeout 60m -v . -args -full $(BENCH)

bench-quick: ## what a webhook costs, in three ratios: two minutes; BEFORE=FILE also compares with another build of tollbridge, PROFILE=FOLDER writes profiles
	cd bench && $(GO) test -run '^TestQuick$$' -count=1 -timeout 10m -v . -args -quick $(if $(BEFORE),-before $(abspath $(BEFORE))) $(if $(PROFILE),-profile $(abspath $(PROFILE)))

bench-replicas: ## what replicas cost on three brokers, under load, idle and at the start: a quarter of an hour; BEFORE=FILE as above
	cd bench && $(GO) test -run '^TestReplicas$$' -count=1 -timeout 30m -v . -args -replicas $(if $(BEFORE),-before $(abspath $(BEFORE)))

compose: ## docker-compose.yml up, a webhook in, its event out, down
	.ci/compose

clean: ## what the others made
	rm -rf bin state dist
