# fuzz.mk - hostile inputs, and how fast it is.

FUZZ_SECONDS ?= 10
FUZZ_RUNS    ?= # so many cases of each target, in place of FUZZ_SECONDS

##@ Fuzz and bench
# A target is tests/fuzz/fuzz_<name>.c with LLVMFuzzerTestOneInput; its corpus is corpus/<name>/.
fuzzers := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
fuzz-bin := $(fuzzers:%=$(B)/tests/fuzz_%)
fuzz-main := $(if $(filter fuzz,$(SAN)),,$(B)/tests/fuzz/replay.o)
.SECONDARY: $(fuzz-main) $(fuzzers:%=$(B)/tests/fuzz/fuzz_%.o)
$(B)/tests/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(fuzz-main) $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(if $(fuzz-main),,-fsanitize=fuzzer) -o $@ $^ $(libs-cli)

.PHONY: test-fuzz
test-fuzz: $(fuzz-bin)
	@sh tests/total.sh $(foreach f,$(fuzzers),'$(B)/tests/fuzz_$(f) tests/fuzz/corpus/$(f)')

.PHONY: fuzz fuzz-run bench bench-peers
fuzz: ## libFuzzer with ASan and UBSan on every target, FUZZ_SECONDS each (needs clang)
	@command -v clang >/dev/null || { echo 'make fuzz needs clang: apt-get install clang'; exit 1; }
	@$(MAKE) --no-print-directory SAN=fuzz O=$(O) fuzz-run
fuzz-run: $(fuzz-bin)
	@passed=0 failed=0; for f in $(fuzzers); do case $$f in *'$(T)'*) \
	    echo "fuzz $$f"; mkdir -p $(B)/corpus/$$f tests/fuzz/corpus/$$f; \
	    if $(B)/tests/fuzz_$$f $(if $(FUZZ_RUNS),-runs=$(FUZZ_RUNS),-max_total_time=$(FUZZ_SECONDS)) \
	        -timeout=60 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=$(B)/crash-$$f- $(B)/corpus/$$f tests/fuzz/corpus/$$f; \
	    then passed=$$((passed + 1)); else failed=$$((failed + 1)); echo "FAIL fuzz $$f"; fi;; esac; done; \
	    echo "$$passed passed, $$failed failed"; [ $$failed = 0 ]
# For make test-long: what is promised of each target.
fuzz-long = $(if $(shell command -v clang),'$(MAKE) -s SAN=fuzz O=$(O) FUZZ_RUNS=100000 fuzz-run', \
    'echo "skip: 100,000 cases of each fuzz target: clang is not installed"; echo 0 passed, 0 failed, 1 skipped')

benches := $(filter-out bench_cuda,$(patsubst tests/bench/%.c,%,$(sort $(wildcard tests/bench/bench_*.c))))
$(benches:%=$(B)/tests/%): $(B)/tests/%: $(B)/tests/bench/%.o $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-cli) $(LDLIBS)
$(B)/tests/bench_pictures: private LDLIBS += -lz
# Of the kernels room alone, so that a machine with nothing but a compiler can build it.
$(B)/tests/bench_cuda: $(B)/tests/bench/bench_cuda.o $(call archives,kernels)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-kernels) $(LDLIBS)
bench: all $(benches:%=$(B)/tests/%) ## operations alone, then a whole picture, then training
	@for b in $(benches); do $(B)/tests/$$b || exit 1; done
	@./$(PROGRAM) bench pix4096
	@./$(PROGRAM) bench train
bench-peers: $(PROGRAM) ## the same work by llama.cpp; PEERS=--seven
	@/usr/bin/env python3 tests/bench/peers/peers.py $(PEERS)
