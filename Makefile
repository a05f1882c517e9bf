# Short names for cargo commands and scripts; `make help` lists them.

LISTEN ?= 127.0.0.1:8000
MODEL ?= model/default
# A folder with SST-2's train.tsv and dev.tsv. It is not part of the repository.
SST2 ?= $(firstword $(wildcard ../shared/data/sst2 shared/data/sst2))
CARGO ?= cargo
# CI passes --locked.
CARGO_FLAGS ?=
PYTHON ?= python3

RUFF := 0.17.6
# Only for the schema of the Compose specification, which it contains.
COMPOSE := docker-compose==1.29.2
# Only for the script axe-core, which it contains.
AXE := axe-playwright-python==0.1.8
# Clients of Hugging Face's servers, beside the current one for Python.
HF_OLDER := huggingface_hub==0.26.5
HF_JS := @huggingface/inference@4.13.30

# The binary looks for the guest and ONNX Runtime next to itself, so their rules need to
# know where it is built. Everything is built in release mode: an unoptimised Cranelift
# takes minutes to compile a guest, and one profile means that wasmtime is built once.
export CARGO_TARGET_DIR := $(CURDIR)/target
# The tools load ONNX Runtime too, and it must not send telemetry.
export ORT_DISABLE_TELEMETRY := 1
OUT := target/release
GUEST_TARGET := wasm32-wasip2
GUEST_BUILD := --profile guest --target $(GUEST_TARGET)
# The crates in guest/: the default guest, its libraries, and the examples.
EXAMPLES := fragile lexicon neutral
GUEST_PACKAGES := $(addprefix -p fastsentiment-,guest classifier command config $(EXAMPLES))
TEST_VENV := model/.venv-test
LINT_VENV := model/.venv-lint
API_VENV := host/tests/api/.venv
DEPLOYMENT_VENV := deployment/.venv-test
BULK_VENV := deployment/bulk/.venv
BENCH_VENV := model/.venv-bench
TRAIN_VENV := model/.venv
FETCH_VENV := model/.venv-fetch
EXPORT_VENV := model/.venv-export
PEERS_VENV := load-testing/.venv-peers
CHARTS_VENV := load-testing/.venv-charts

.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: build ## Serve MODEL (model/default) on LISTEN (127.0.0.1:8000)
	$(OUT)/fastsentiment serve --listen '$(LISTEN)' --model '$(MODEL)'

.PHONY: demo
demo: build examples ## Take a tour of a server that leaves nothing behind
	$(OUT)/fastsentiment demo --model '$(MODEL)'

.PHONY: build
build: guest onnxruntime ## Build the binary and the default guest, and fetch ONNX Runtime
	$(CARGO) build $(CARGO_FLAGS) --release -p fastsentiment

.PHONY: guest
guest: wasm-target ## Build the default guest
	$(CARGO) build $(CARGO_FLAGS) $(GUEST_BUILD) -p fastsentiment-guest
	@$(call put-guest,guest)

.PHONY: examples
examples: wasm-target ## Build the example guests (guest/examples)
	$(CARGO) build $(CARGO_FLAGS) $(GUEST_BUILD) $(addprefix -p fastsentiment-,$(EXAMPLES))
	@$(foreach name,$(EXAMPLES),$(call put-guest,$(name)) &&) :

# Moved into place atomically, and only if it has changed: a running server may be
# watching it.
define put-guest
mkdir -p $(OUT) && $(PYTHON) guest/tools/name.py fastsentiment-$(1) \
  target/$(GUEST_TARGET)/guest/fastsentiment_$(1).wasm $(OUT)/.guest.$$$$ \
&& if cmp -s $(OUT)/.guest.$$$$ $(OUT)/fastsentiment_$(1).wasm; then rm $(OUT)/.guest.$$$$; \
else mv $(OUT)/.guest.$$$$ $(OUT)/fastsentiment_$(1).wasm; fi
endef

.PHONY: wasm-target
wasm-target:
	@# Without rustup, whoever installed the compiler provides the target; cargo reports it if
	@# it is missing.
	@if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx $(GUEST_TARGET); \
	then rustup target add $(GUEST_TARGET); fi

.PHONY: onnxruntime
onnxruntime: ## Fetch the pinned ONNX Runtime library
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is needed to fetch ONNX Runtime' >&2; exit 1; }
	@$(PYTHON) host/tools/fetch-onnxruntime.py $(OUT)

# ---- Models ----

# For `make run`, MODEL is a model directory to serve. For `make model`, it is where the
# model comes from: an id on the Hugging Face hub, or a directory written by Transformers.
#   TO         the directory to make (model/local/<last part of MODEL>)
#   REVISION   a branch, tag or commit      PRECISION  fp32 or int8
#   ONNX=1     use the model's own ONNX file, and do not install PyTorch
#   FORCE=1    replace TO even if `make model` did not make it, or it has changed
# HF_ENDPOINT and HF_TOKEN are passed on. Downloads are kept in target/hub.
PRECISION ?= fp32
TO ?= model/local/$(notdir $(patsubst %/,%,$(MODEL)))
# The server is asked whether it would serve the directory, if it is built.
SERVER = $(and $(wildcard $(OUT)/fastsentiment_guest.wasm),$(wildcard $(OUT)/fastsentiment))
MODEL_VENV = $(if $(ONNX),$(FETCH_VENV),$(EXPORT_VENV))
EXPORT = PYTHONPATH='$(CURDIR)/model:$(CURDIR)/model/tools'

.PHONY: model
model: ## Make a model directory from MODEL=<hub id or directory> (PRECISION=fp32|int8)
ifeq ($(origin MODEL),file)
	@echo 'MODEL=... must name a model on the Hugging Face hub, or a directory' >&2; exit 1
else
	@$(MAKE) --no-print-directory --silent $(MODEL_VENV)/.complete
	@$(EXPORT) $(MODEL_VENV)/bin/python -m export '$(MODEL)' --out '$(TO)' \
	  --cache target/hub --precision '$(PRECISION)' $(if $(REVISION),--revision '$(REVISION)') \
	  $(if $(ONNX),--onnx) $(if $(FORCE),--force) $(if $(SERVER),--server '$(SERVER)')
	@echo "Serve it: make run MODEL='$(TO)'"
endif

# ---- Release ----

.PHONY: dist
dist: wasm-target ## Make an archive of binary, guest, MODEL, ONNX Runtime and licences in dist/
	rm -rf target/dist/built dist
	sh deployment/build/compile.sh all target/dist/built
	$(PYTHON) deployment/build/archive.py target/dist/built '$(MODEL)' dist

# ---- Tests ----

.PHONY: test
test: guest onnxruntime test-venv export-venv redis registry ## Run all tests
	@set -e; \
	if [ -e $(TEST_VENV)/.complete ]; then \
	  FASTSENTIMENT_REFERENCE_PYTHON='$(CURDIR)/$(TEST_VENV)/bin/python'; \
	  export FASTSENTIMENT_REFERENCE_PYTHON; \
	fi; \
	if [ -n '$(SST2)' ]; then FASTSENTIMENT_SST2='$(abspath $(SST2))'; export FASTSENTIMENT_SST2; fi; \
	set -x; \
	$(CARGO) test $(CARGO_FLAGS) --release
	@# Compiled for this machine, not for the sandbox, which these tests do not need.
	$(CARGO) test $(CARGO_FLAGS) --release $(GUEST_PACKAGES) --lib
	@[ -e $(BULK_VENV)/.complete ] || $(SKIPPED_BULK)
	@# The first one computes while the others mostly wait.
	@log=$$(mktemp); status=0; \
	nice $(MAKE) --no-print-directory test-model >"$$log" 2>&1 & model=$$!; \
	for tests in $(TESTS); do \
	  $(MAKE) --no-print-directory $$tests || { status=1; break; }; \
	done; \
	wait $$model || status=1; \
	cat "$$log"; rm "$$log"; exit $$status

TESTS = test-api test-languages test-deployment $(if $(wildcard $(BULK_VENV)/.complete),test-bulk) test-load

.PHONY: test-model
test-model: test-venv export-venv ## Test what makes, fetches and measures models
	@if [ -e $(TEST_VENV)/.complete ]; then set -x; \
	  HF_HUB_OFFLINE=1 $(TEST_VENV)/bin/python model/tools/golden.py --check \
	    model/default $(dir $(wildcard host/tests/fixtures/models/*/golden.json)); \
	else $(SKIPPED); fi
	@if [ -e $(TEST_VENV)/.complete ]; then set -ex; \
	  $(EXPORT) $(TEST_VENV)/bin/python -m unittest discover model/tools/tests; \
	  $(EXPORT) $(TEST_VENV)/bin/python -m unittest discover model/train/tests; \
	else $(SKIPPED); fi
	@# Downloads are tested without PyTorch, as they are used with ONNX=1.
	@if [ -e $(TEST_VENV)/.complete ]; then set -x; \
	  $(EXPORT) $(TEST_VENV)/bin/python -m unittest export.tests.test_download; \
	else $(SKIPPED); fi
	@if [ -e $(EXPORT_VENV)/.complete ]; then \
	  set -x; $(EXPORT) $(EXPORT_VENV)/bin/python -m unittest export.tests.test_export; \
	else $(EXPORT_SKIPPED); fi

.PHONY: test-api
test-api: build examples api-venv test-page ## Test the API against its OpenAPI document, and the pages in Chromium
	@if [ -e $(API_VENV)/.complete ]; then set -x; \
	  $(API_VENV)/bin/python -m pytest -q -rs -p no:cacheprovider host/tests/api; \
	else $(SKIPPED_API); fi

# Compilers are kept in target/languages. There is also `rust-model`, which takes two minutes
# to build.
LANGUAGES := rust js js-spidermonkey python c go

.PHONY: test-languages
test-languages: build examples api-venv ## Make, build, test and swap in a guest in each of LANGUAGES
	@if [ -e $(API_VENV)/.complete ]; then set -x; \
	  LANGUAGES='$(LANGUAGES)' $(API_VENV)/bin/python -m pytest -q -rs -p no:cacheprovider host/tests/languages; \
	else $(SKIPPED_API); fi

.PHONY: test-page
test-page: ## Test the JavaScript modules of the page under Node.js
	@if command -v node >/dev/null; then set -x; node --test host/tests/page/*.test.mjs; \
	else $(SKIPPED_PAGE); [ "$$CI" != true ]; fi

.PHONY: test-deployment
test-deployment: build examples redis deployment-venv ## Test the Dockerfile, Compose, Kubernetes and the archive, without Docker
	@if [ -e $(DEPLOYMENT_VENV)/.complete ]; then set -x; \
	  $(DEPLOYMENT_VENV)/bin/python -m pytest -q -rs -p no:cacheprovider deployment/tests \
	    deployment/bulk/test_scoring.py; \
	else $(SKIPPED_DEPLOYMENT); fi

# Part of `test` only if its packages are installed: 1.1 GB, and minutes of tests.
.PHONY: test-bulk
test-bulk: build $(BULK_VENV)/.complete ## Score a table with Ray Data and PySpark while servers and jobs are killed
	PYTHONPATH=deployment/tests $(BULK_VENV)/bin/python -m pytest -q -rs -p no:cacheprovider deployment/bulk

# Not part of `test`: it needs Docker, as root, and compiles everything again.
.PHONY: test-image
test-image: deployment-venv ## Build the image with Docker, and run it alone and with Compose
	$(DEPLOYMENT_VENV)/bin/python -m pytest -q -s -rs -p no:cacheprovider deployment/tests/real_docker.py

# The scripts need k6, which CI does not have; their pure parts run under Node.js. The
# output names every test that was skipped.
.PHONY: test-load
test-load: build examples hostile redis ## Test the load tests: pure parts under Node.js, scripts with k6
	@if command -v node >/dev/null; then set -ex; \
	  node --test load-testing/tests/*.test.js; \
	  $(PYTHON) -m unittest discover -v -s load-testing/tests -t load-testing; \
	else $(SKIPPED_LOAD); [ "$$CI" != true ]; fi
	@command -v '$(K6)' >/dev/null || $(SKIPPED_K6)

.PHONY: hostile
hostile: wasm-target
	$(CARGO) build $(CARGO_FLAGS) $(GUEST_BUILD) -p fastsentiment-hostile-guest

SKIPPED_K6 = echo '*** SKIPPED: the k6 scripts need k6 0.47 or newer ($(GET_K6))' >&2
SKIPPED_LOAD = echo '*** SKIPPED: the load tests need Node.js 18.19 or newer' >&2
SKIPPED_PAGE = echo '*** SKIPPED: the modules of the page need Node.js 18.19 or newer' >&2
SKIPPED_DEPLOYMENT = echo '*** SKIPPED: the deployment needs $(DEPLOYMENT_VENV) (see above)' >&2
SKIPPED_BULK = echo '*** SKIPPED: bulk scoring with Ray Data and PySpark (make test-bulk)' >&2
SKIPPED_API = echo '*** SKIPPED: the documented API needs $(API_VENV) (see above)' >&2
EXPORT_SKIPPED = echo '*** SKIPPED: the export of models needs $(EXPORT_VENV) (see above)' >&2
SKIPPED = echo '*** SKIPPED: the comparison with Transformers needs $(TEST_VENV) (see above)' >&2

# The tests start Redis servers of their own.
.PHONY: redis
redis:
	@command -v redis-server >/dev/null || { $(INSTALL_REDIS); } || { \
	  echo 'The tests need redis-server and redis-cli, 7 or newer: install Redis.' >&2; exit 1; }

AS_ROOT = $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
INSTALL_REDIS = set -x; $(AS_ROOT) apt-get update -qq && \
  $(AS_ROOT) apt-get install -y -qq --no-install-recommends redis-server

# They start OCI registries of their own, too.
.PHONY: registry
registry:
	@{ command -v docker-registry && command -v skopeo; } >/dev/null || { $(INSTALL_REGISTRY); } || { \
	  echo 'The tests need docker-registry, 2.8 or newer, and skopeo: install them.' >&2; exit 1; }

INSTALL_REGISTRY = set -x; $(AS_ROOT) apt-get update -qq && \
  $(AS_ROOT) apt-get install -y -qq --no-install-recommends docker-registry skopeo

# The reference implementations that the tests compare with come from PyPI. Without them
# the other tests still run, but CI (CI=true) must run all tests.
.PHONY: test-venv
test-venv:
	@$(MAKE) --no-print-directory $(TEST_VENV)/.complete || { $(SKIPPED); [ "$$CI" != true ]; }

# Several GB with the Linux build of torch on PyPI; see requirements-export.txt.
.PHONY: export-venv
export-venv:
	@$(MAKE) --no-print-directory $(EXPORT_VENV)/.complete || { $(EXPORT_SKIPPED); [ "$$CI" != true ]; }

.PHONY: deployment-venv
deployment-venv:
	@$(MAKE) --no-print-directory $(DEPLOYMENT_VENV)/.complete || { $(SKIPPED_DEPLOYMENT); [ "$$CI" != true ]; }

.PHONY: api-venv
api-venv:
	@$(MAKE) --no-print-directory $(API_VENV)/.complete || { $(SKIPPED_API); [ "$$CI" != true ]; }

# Rebuilt from scratch when its packages change.
$(TEST_VENV)/.complete: model/requirements-test.txt model/requirements-fetch.txt
	@$(call make-venv,$(TEST_VENV),-r model/requirements-test.txt)

$(FETCH_VENV)/.complete: model/requirements-fetch.txt
	@$(call make-venv,$(FETCH_VENV),-r model/requirements-fetch.txt)

$(EXPORT_VENV)/.complete: model/requirements-export.txt model/requirements-fetch.txt
	@$(call make-venv,$(EXPORT_VENV),-r model/requirements-export.txt)

$(DEPLOYMENT_VENV)/.complete: deployment/requirements-test.txt
	@$(call make-venv,$(DEPLOYMENT_VENV),-r deployment/requirements-test.txt)
	@# Installed without dependencies, because it is not run.
	$(DEPLOYMENT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(COMPOSE)

$(BULK_VENV)/.complete: deployment/bulk/requirements.txt
	@$(call make-venv,$(BULK_VENV),-r deployment/bulk/requirements.txt)

$(API_VENV)/.complete: host/tests/api/requirements.txt
	@$(call make-venv,$(API_VENV),-r host/tests/api/requirements.txt)
	@# Without its dependency Playwright, because the tests drive the browser differently.
	$(API_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(AXE)
	@# Clients that are asked for one text differently; what they need is there already.
	$(API_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(API_VENV)/older $(HF_OLDER)
	npm install --silent --no-save --prefix $(API_VENV) $(HF_JS)

$(BENCH_VENV)/.complete: model/requirements-bench.txt
	@$(call make-venv,$(BENCH_VENV),-r model/requirements-bench.txt)

$(TRAIN_VENV)/.complete: model/requirements.txt
	@$(call make-venv,$(TRAIN_VENV),-r model/requirements.txt)

$(PEERS_VENV)/.complete: load-testing/peers/requirements.txt model/requirements-export.txt model/requirements-fetch.txt
	@$(call make-venv,$(PEERS_VENV),-r load-testing/peers/requirements.txt)

$(CHARTS_VENV)/.complete: load-testing/requirements.txt
	@$(call make-venv,$(CHARTS_VENV),-r load-testing/requirements.txt)

$(LINT_VENV)/.ruff-$(RUFF):
	@$(call make-venv,$(LINT_VENV),ruff==$(RUFF))

# $(1): the folder, $(2): what to install
define make-venv
set -ex; rm -rf $(1); $(PYTHON) -m venv $(1); \
$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2); touch $@
endef

# The copy is named `model` because the wasmtime command names a graph after its directory.
MODEL_CLI := target/model-cli/model

.PHONY: model-cli
model-cli: $(BENCH_VENV)/.complete ## Copy MODEL for the stock wasmtime command (target/model-cli/model)
	$(BENCH_VENV)/bin/python model/tools/float_inputs.py '$(MODEL)' $(MODEL_CLI)

# Not part of `test`: building the wasmtime command takes minutes, once per machine.
.PHONY: test-wasmtime-cli
test-wasmtime-cli: build examples model-cli ## Compare the guests under the stock wasmtime command and this host
	@set -e; wasmtime=$$(guest/tools/wasmtime-cli.sh $(OUT)); set -x; \
	$(PYTHON) guest/tools/compare_wasmtime.py "$$wasmtime" '$(MODEL)' $(MODEL_CLI) \
	  $(foreach name,guest $(EXAMPLES),$(OUT)/fastsentiment_$(name).wasm)

# New inputs are kept in target/fuzz; `make corpora` takes the best of them over.
SECONDS := 60
FUZZED := request lines value state limits
FUZZ_FLAGS := -max_len=2048 -timeout=10 -rss_limit_mb=2048

# Beside the server, so that other crates are built once for both.
.PHONY: fuzzers
fuzzers:
	RUSTC_WORKSPACE_WRAPPER='$(CURDIR)/host/fuzz/rustc.sh' \
	  $(CARGO) build $(CARGO_FLAGS) --release -p fastsentiment -p fastsentiment-fuzz --bin 'fuzz-*'

.PHONY: fuzz
fuzz: fuzzers ## Fuzz each parser of foreign bytes (SECONDS=60 each)
	@set -e; for name in $(FUZZED); do \
	  mkdir -p target/fuzz/$$name; \
	  echo "=== $$name"; \
	  $(OUT)/fuzz-$$name target/fuzz/$$name host/fuzz/corpus/$$name $(FUZZ_FLAGS) \
	    -max_total_time=$(SECONDS) -artifact_prefix=target/fuzz/$$name- -print_final_stats=1; \
	done

# The seeds are written by hand. Beside them, the largest of what reaches more of the code:
# few files, since tests try them all.
.PHONY: corpora
corpora: fuzzers ## Rewrite host/fuzz/corpus with the best of what `make fuzz` has found
	@set -e; for name in $(FUZZED); do \
	  corpus=host/fuzz/corpus/$$name; \
	  rm -rf target/fuzz/merged; mkdir -p target/fuzz/$$name target/fuzz/merged; \
	  cp $$corpus/* target/fuzz/$$name/; \
	  cp $$corpus/seed-* target/fuzz/merged/; \
	  $(OUT)/fuzz-$$name -set_cover_merge=1 -use_counters=0 $(FUZZ_FLAGS) \
	    target/fuzz/merged target/fuzz/$$name; \
	  rm -f target/fuzz/merged/seed-*; \
	  find $$corpus -type f ! -name 'seed-*' -delete; \
	  ls -S target/fuzz/merged | head -n 40 \
	    | while read -r file; do mv "target/fuzz/merged/$$file" $$corpus/; done; \
	done

# ---- Checks ----

.PHONY: check
check: check-rust check-dependencies check-scripts ## Run the formatters, linters and documentation checks

.PHONY: check-rust
check-rust: wasm-target
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --release --all-targets -- -D warnings
	$(CARGO) clippy $(CARGO_FLAGS) $(GUEST_BUILD) $(GUEST_PACKAGES) \
	  --all-targets -- -D warnings
	$(CARGO) clippy $(CARGO_FLAGS) $(GUEST_BUILD) -p fastsentiment-hostile-guest -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGO_FLAGS) --release --no-deps
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGO_FLAGS) --no-deps --document-private-items \
	  $(GUEST_BUILD) $(GUEST_PACKAGES)

.PHONY: check-dependencies
check-dependencies:
	@# Advisories need a database from the network: `cargo deny check advisories`.
	@if command -v cargo-deny >/dev/null; \
	then set -x; $(CARGO) deny check bans licenses sources; \
	else echo '*** SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)' >&2; fi

.PHONY: check-scripts
check-scripts: $(LINT_VENV)/.ruff-$(RUFF)
	$(LINT_VENV)/bin/ruff format --check .
	$(LINT_VENV)/bin/ruff check .
	for script in host/tools/with-server.sh host/fuzz/rustc.sh guest/tools/wasmtime-cli.sh deployment/build/*.sh host/templates/*/build.sh; do sh -n $$script || exit 1; done
	bash -n .ci/run
	@if command -v shellcheck >/dev/null; \
	then set -x; shellcheck host/tools/with-server.sh host/fuzz/rustc.sh guest/tools/wasmtime-cli.sh deployment/build/*.sh host/templates/*/build.sh .ci/run; \
	else echo '*** SKIPPED: shellcheck is not installed' >&2; fi
	$(PYTHON) .ci/check-links.py
	$(PYTHON) load-testing/tables.py --check

# ---- Measurements ----

.PHONY: bench
bench: guest onnxruntime ## Measure what the sandbox costs with MODEL, and single steps
	MODEL='$(abspath $(MODEL))' $(CARGO) bench $(CARGO_FLAGS) -p fastsentiment --bench guest
	$(CARGO) bench $(CARGO_FLAGS) -p fastsentiment --bench micro

# host/benches/README.md lists the variables that the benches of the server read from the
# environment or from make's command line.
SERVE_BENCH = $(CARGO) bench $(CARGO_FLAGS) -p fastsentiment --bench serve --
# Their results are kept in target/bench for `make results`.
RECORD = @$(PYTHON) load-testing/record.py $(@:bench-%=%)
# Full-size models are made only if they are measured.
comma := ,
WANTED_MODELS = $(or $(subst $(comma), ,$(MODELS)),$(1))
FULL_MODELS = $(if $(filter int8 fp32,$(WANTED_MODELS)),bench-models)
# PyTorch serves one of them, from a file of its own.
PEERS_MODELS = $(FULL_MODELS) $(if $(filter fp32,$(WANTED_MODELS)),$(TORCH_MODEL))
TORCH_MODEL := target/models/distilbert-torch/model.safetensors

.PHONY: bench-serve
bench-serve: build $(call FULL_MODELS,$(if $(QUICK),default,int8 fp32)) ## Measure the server against ONNX Runtime and a bare hyper server
	$(RECORD) $(SERVE_BENCH) rounds

.PHONY: bench-bulk
bench-bulk: build $(call FULL_MODELS,$(if $(QUICK),default,int8 fp32)) ## Measure predict --file and bulk requests against ONNX Runtime
	$(RECORD) $(SERVE_BENCH) bulk

.PHONY: bench-peers
bench-peers: build $(PEERS_VENV)/.complete $(call PEERS_MODELS,$(if $(QUICK),default,int8 fp32)) ## Measure the server against FastAPI with PyTorch and with ONNX Runtime
	$(RECORD) $(SERVE_BENCH) peers

.PHONY: bench-soak
bench-soak: build $(call FULL_MODELS,default) ## Measure whether memory stays flat (DURATION=600 seconds)
	@# For the connections of the storm, each of which is a file.
	$(RECORD) sh -c 'ulimit -n 8192 && exec $(SERVE_BENCH) soak'

.PHONY: bench-overload
bench-overload: build $(call FULL_MODELS,default) ## Measure the server at four times its capacity (DURATION=120 seconds)
	@# Client and server hold thousands of connections.
	$(RECORD) sh -c 'ulimit -n 8192 && exec $(SERVE_BENCH) overload'

.PHONY: bench-swap
bench-swap: build examples $(call FULL_MODELS,default) ## Measure what a thousand swaps under load cost
	$(RECORD) $(SERVE_BENCH) swap
	@# This bench measures the cost of a fresh instance.
	MODEL='$(abspath $(MODEL))' $(CARGO) bench $(CARGO_FLAGS) -p fastsentiment --bench guest

.PHONY: bench-swap-model
bench-swap-model: build $(call FULL_MODELS,default int8) ## Measure what swaps of a model under load cost (two MODELS)
	$(RECORD) $(SERVE_BENCH) swap-model

.PHONY: bench-fleet
bench-fleet: build examples $(call FULL_MODELS,default) ## Measure what 200 changes of a rollout file under load cost
	$(RECORD) $(SERVE_BENCH) fleet

.PHONY: bench-memory
bench-memory: build $(call FULL_MODELS,$(if $(QUICK),default,int8 fp32)) ## Measure the server's memory with 1, 2 and 4 workers
	$(RECORD) $(SERVE_BENCH) memory

# load-testing/README.md lists their settings.
SCENARIO ?= load
K6 ?= k6
GET_K6 = https://grafana.com/docs/k6/latest/set-up/install-k6/, or K6=path
NEED_K6 = command -v '$(K6)' >/dev/null || { echo 'k6 0.47 or newer is needed: $(GET_K6)' >&2; exit 1; }
LOAD_TEST = '$(K6)' run --summary-trend-stats 'min,avg,med,max,p(90),p(95),p(99)'

.PHONY: load-test
load-test: build examples ## Run a k6 load test against a server of MODEL (SCENARIO=load|swap|overload)
	@$(NEED_K6)
	sh host/tools/with-server.sh '$(MODEL)' sh -c "exec $(LOAD_TEST) load-testing/$(SCENARIO).js"

.PHONY: bench-faults
bench-faults: build hostile redis ## Run a k6 load test while Redis and guests fail (DURATION=10 seconds each)
	@$(NEED_K6)
	$(RECORD) $(PYTHON) load-testing/faults.py --model '$(MODEL)' $(if $(DURATION),--seconds '$(DURATION)')

.PHONY: bench-attacks
bench-attacks: build ## Measure what others notice of clients that try to take everything
	ulimit -n 16384 && $(PYTHON) load-testing/attacks.py --model '$(MODEL)'

.PHONY: bench-models
bench-models: target/models/distilbert-int8/model.onnx target/models/distilbert-fp32/model.onnx ## Make full-size DistilBERT models with random weights

# Made once: the packages that make them are installed only if the models are missing.
target/models/distilbert-%/model.onnx:
	@$(MAKE) --no-print-directory $(BENCH_VENV)/.complete
	$(BENCH_VENV)/bin/python model/tools/random_model.py --precision $* --out $(@D)

# The same weights in the format of Transformers.
$(TORCH_MODEL): | $(PEERS_VENV)/.complete
	$(PEERS_VENV)/bin/python model/tools/random_model.py --transformers --out $(@D)

# ---- Results ----

.PHONY: measure
measure: ## Measure everything in load-testing/RESULTS.md and rewrite it (an hour, on an idle machine)
	@for bench in $(MEASURED); do $(MAKE) --no-print-directory bench-$$bench || exit 1; done
	@$(MAKE) --no-print-directory results

MEASURED := serve peers swap overload faults

.PHONY: results
results: ## Rewrite load-testing/RESULTS.md and its charts from the latest measurements
	@mkdir -p load-testing/results
	cp $(or $(wildcard $(MEASURED:%=target/bench/%.json)),$(error nothing was measured: make measure)) load-testing/results/
	@$(MAKE) --no-print-directory charts

.PHONY: reference
reference: ## Regenerate the tables of host/CONFIGURATION.md
	FASTSENTIMENT_WRITE_REFERENCE=1 $(CARGO) test $(CARGO_FLAGS) --release -p fastsentiment --bin fastsentiment the_reference

RULE := deployment/kubernetes/components/monitoring/rule.yaml

.PHONY: alerts
alerts: ## Regenerate the PrometheusRule from deployment/monitoring/alerts.yaml
	{ sed '/^spec:/q' $(RULE) && sed -n '/^groups:/,$$ { s/^./  &/; p; }' \
	  deployment/monitoring/alerts.yaml; } > $(RULE).new && mv $(RULE).new $(RULE)

.PHONY: charts
charts: $(CHARTS_VENV)/.complete ## Regenerate the tables and charts from load-testing/results
	$(PYTHON) load-testing/tables.py
	$(CHARTS_VENV)/bin/python load-testing/charts.py

# AGAINST=dir measures a second model too, and PICTURE=out.svg draws the figures.
DATA ?= $(if $(SST2),$(SST2)/dev.tsv)

.PHONY: eval
eval: build $(if $(PICTURE),$(CHARTS_VENV)/.complete) ## Measure MODEL on labelled texts (DATA=file.tsv, or SST2=dir)
	@[ -f '$(DATA)' ] || { echo 'DATA=file.tsv must name a file with the columns text and label' >&2; exit 1; }
	$(if $(PICTURE),$(CHARTS_VENV)/bin/python,$(PYTHON)) model/tools/evaluate.py \
	  --model '$(MODEL)' --data '$(DATA)' \
	  $(if $(AGAINST),--against '$(AGAINST)') $(if $(PICTURE),--picture '$(PICTURE)')

.PHONY: default-model
default-model: $(TRAIN_VENV)/.complete sst2 ## Retrain the default model on SST2=dir (hours)
	cd model && .venv/bin/python -m train --data '$(abspath $(SST2))' --out default
	@# The golden answers that the tests compare with belong to this model.
	cd model && .venv/bin/python tools/golden.py
	cd model && .venv/bin/python tools/behaviour.py --sst2 '$(abspath $(SST2))' --card

.PHONY: behaviour
behaviour: $(TEST_VENV)/.complete ## Show what MODEL does with sentences of all kinds
	$(TEST_VENV)/bin/python model/tools/behaviour.py --model '$(MODEL)' $(if $(SST2),--sst2 '$(SST2)')

.PHONY: sst2
sst2:
	@[ -f '$(SST2)/dev.tsv' ] || { echo 'SST2=dir must name a folder with dev.tsv and train.tsv' >&2; exit 1; }

.PHONY: clean
clean: ## Remove everything that was built or installed here
	rm -rf target dist $(TEST_VENV) $(DEPLOYMENT_VENV) $(BULK_VENV) $(LINT_VENV) $(API_VENV) $(TRAIN_VENV) $(BENCH_VENV) $(FETCH_VENV) $(EXPORT_VENV) $(PEERS_VENV) $(CHARTS_VENV)
