# make up      build ingot, cast the Debian image, boot it, publish it locally, serve the catalogue
# make test    install what the tests need, and run them
# make e2e     the full boot matrices (long), and make temporal
# make temporal the second command against Temporal's own server, which compiles for minutes
# make bench   compare with the peers, in one run
# make lint    golangci-lint
# make docs    the command reference, man pages and completions
# make release stripped binaries of both commands for linux/amd64 and linux/arm64, with checksums

export CGO_ENABLED = 0

RECIPE ?= recipes/debian-12.yaml
LISTEN ?= 127.0.0.1:8080
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
GO_FILES := $(shell git ls-files '*.go' go.mod go.sum 2>/dev/null)
LDFLAGS := -s -w -X ingot/internal/cli.Version=$(VERSION)

.PHONY: up test e2e temporal bench lint docs release clean

bin/ingot: $(GO_FILES) $(shell git ls-files internal recipes 2>/dev/null)
	go build -o $@ ./cmd/ingot

up: bin/ingot
	@scripts/host-tools up
	bin/ingot build $(RECIPE)
	bin/ingot boot $(RECIPE)
	bin/ingot publish $(RECIPE) --endpoint local
	bin/ingot serve --listen $(LISTEN)

# cmd/ingot-temporal is a module of its own, for ingot's to stay light: ./... does not enter it.
# ./test builds and boots whole images, and a guest that gets no processor times out: it runs alone.
test: bin/ingot
	@scripts/host-tools test
	go vet ./...
	cd cmd/ingot-temporal && go vet ./... && go test -timeout 10m ./...
	go test -timeout 30m $$(go list ./... | grep -v '^ingot/test$$')
	go test -timeout 60m -v ./test
	scripts/check-binary

e2e: bin/ingot
	@scripts/host-tools test
	bin/ingot build $(RECIPE)
	$(MAKE) temporal
	INGOT_E2E=1 INGOT_E2E_IMAGE=$(CURDIR)/out/debian-12 go test -count=1 -timeout 240m -p 1 ./...

temporal:
	cd test/temporal && go vet . && go build -o $(CURDIR)/bin/temporal-server .
	cd cmd/ingot-temporal && INGOT_TEMPORAL_SERVER=$(CURDIR)/bin/temporal-server go test -count=1 -timeout 30m -v -run 'TestTemporal|TestOnServer' ./...

bench: bin/ingot
	@scripts/host-tools test
	go run ./bench

lint:
	for module in . cmd/ingot-temporal test/temporal; do \
		(cd $$module && go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run) || exit 1; \
	done

docs:
	go run ./internal/tools/docs docs/cli

release:
	@mkdir -p dist
	for arch in amd64 arm64; do \
		GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o dist/ingot-linux-$$arch ./cmd/ingot || exit 1; \
		(cd cmd/ingot-temporal && GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o $(CURDIR)/dist/ingot-temporal-linux-$$arch .) || exit 1; \
	done
	cd dist && sha256sum ingot-linux-* ingot-temporal-linux-* > SHA256SUMS

clean:
	rm -rf bin dist
