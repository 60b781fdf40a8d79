# lammd: one Makefile for everything. `make help` lists what it can do.
#
# Objects live in $(O)/<flavour>/, so a sanitizer build never meets a release object. Each room is an
# archive and links only with the rooms below it; that is what keeps the lower ones free of the upper.
#
#   O=dir            object folder, default build/; another one leaves ./lammd alone
#   SAN=address|undefined|thread   build (and test) with a sanitizer
#   T=substring      only the tests whose name contains it
#   SEED=n           seed of the tests' random numbers
#   V=1              show whole commands

O       ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)
SEED    ?= 1
FUZZ_SECONDS ?= 10

prefix      ?= /usr/local
exec_prefix ?= $(prefix)
bindir      ?= $(exec_prefix)/bin
datarootdir ?= $(prefix)/share
datadir     ?= $(datarootdir)
docdir      ?= $(datarootdir)/doc/lammd
unitdir     ?= $(prefix)/lib/systemd/system
INSTALL     ?= install

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --no-builtin-rules
endif
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo '  $(1)  $(2)')
.SUFFIXES:
.SECONDARY:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---- rooms ---------------------------------------------------------------------------------------
rooms        := base media kernels engine data api server cli
dirs-base    := kernels/base
dirs-media   := media
dirs-kernels := kernels kernels/ref kernels/cpu
dirs-engine  := engine $(patsubst %/,%,$(wildcard engine/*/))
dirs-data    := data
dirs-api     := api $(patsubst %/,%,$(wildcard api/*/))
dirs-server  := server server/http
dirs-cli     := cli cli/eval

# What a room may link with: itself and what lies below it.
below-base    := base
below-media   := media $(below-base)
below-kernels := kernels $(below-base)
below-engine  := engine $(below-kernels)
below-data    := data $(below-media)
below-api     := api engine media $(below-kernels)
below-server  := server $(below-api)
below-cli     := cli server data $(below-api)

libs-base    := -lm -lpthread
libs-media   := -lpng -lturbojpeg $(libs-base)
libs-kernels := $(libs-base)
libs-engine  := -ljansson -lcrypto $(libs-kernels)
libs-data    := -ljansson $(libs-media)
libs-api     := -lpng -lturbojpeg $(libs-engine)
libs-server  := -lmicrohttpd $(libs-api)
libs-cli     := $(libs-server)

# ---- flavour -------------------------------------------------------------------------------------
flavour := $(or $(SAN),release)
B       := $(O)/$(flavour)

# Sanitizers are slow, and so are the machines of strangers.
run-flags := --seed $(SEED) $(if $(SAN),--limit 300)

CPPFLAGS += -D_GNU_SOURCE -I. -MMD -MP
warnings := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
cflags   := -std=c11 $(warnings) -fvisibility=hidden -ffp-contract=off -g -fPIE -pthread
ldflags  := -pie -pthread
opt      := -O2

san-address   := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
san-undefined := -fsanitize=undefined,float-cast-overflow -fno-sanitize-recover=all
san-thread    := -fsanitize=thread
san-fuzz      := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
ifeq ($(SAN),)
CPPFLAGS += -D_FORTIFY_SOURCE=2
cflags   += -fstack-protector-strong
ldflags  += -Wl,-z,relro,-z,now
else ifeq ($(san-$(SAN)),)
$(error SAN is address, undefined or thread, not "$(SAN)")
else
cflags   += $(san-$(SAN))
ldflags  += $(san-$(SAN))
endif
ifeq ($(SAN),fuzz)
CC := clang
endif

# Kernels: -O3, and vector code by file name. Which of it runs is decided at run time. No flag here
# may change a result: no -ffast-math, no contraction; where a fused multiply-add is meant it says so.
$(B)/kernels/%.o: private opt := -O3
$(B)/kernels/cpu/%_avx2.o: private isa := -mavx2 -mfma -mf16c
avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c
$(B)/kernels/cpu/%_avx512.o: private isa := $(avx512)
$(B)/kernels/cpu/%_avx512bf16.o: private isa := $(avx512) -mavx512bf16
ifeq ($(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
not-here := %_avx2.c %_avx512.c %_avx512bf16.c
endif
ifneq ($(wildcard kernels/cpu/cpu.c),)
CPPFLAGS += -DKERN_HAS_CPU
endif

# The CUDA engine is a plugin: its objects are its own, and nothing is linked with them.
NVCC      ?= $(or $(wildcard /usr/local/cuda/bin/nvcc),$(shell command -v nvcc 2>/dev/null))
CUDA_ARCH ?= 80 90
cuda-src  := $(sort $(wildcard kernels/cuda/*.cu))
cuda-arch := $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
             -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
nvflags   := -std=c++20 -O3 -I. -D_GNU_SOURCE -Werror all-warnings -Xptxas -v \
             -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unused-parameter

# ---- sources -------------------------------------------------------------------------------------
sources = $(filter-out $(not-here),$(sort $(wildcard $(addsuffix /*.c,$(1)))))
objects = $(patsubst %.c,$(B)/%.o,$(1))
main   := $(wildcard cli/main.c)
$(foreach r,$(rooms),$(eval src-$(r) := $(filter-out $(main),$(call sources,$(dirs-$(r))))))
$(foreach r,$(rooms),$(eval test-src-$(r) := $(call sources,tests/unit/$(r) tests/unit/$(r)/* tests/unit/$(r)/*/*)))
test-src-api += tests/unit/media/rig.c
webui := $(sort $(wildcard webui/*.html webui/*.js webui/*.css webui/*.svg webui/*.png))
embed := $(webui) $(wildcard openapi.yaml)

archive  = $(B)/lib$(1).a
archives = $(foreach r,$(below-$(1)),$(call archive,$(r)))
PROGRAM := $(if $(SAN),$(B)/lammd,$(if $(filter build,$(O)),lammd,$(O)/lammd))

# Beside the program, where it is looked for; not in a sanitizer build.
PLUGIN := $(if $(SAN),,$(patsubst ./%,%,$(dir $(PROGRAM))lammd-cuda.so))

##@ Build
.PHONY: all
all: $(if $(main),$(PROGRAM),$(addprefix room-,$(rooms))) ## the program, ./lammd (default)
all: $(if $(NVCC),$(PLUGIN))

$(PROGRAM): $(call objects,$(main)) $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-cli) $(LDLIBS)

define room-rules
.PHONY: room-$(1) test-$(1)
room-$(1): $(call archive,$(1))
$(call archive,$(1)): $(call objects,$(src-$(1))) $(if $(filter api,$(1)),$(B)/gen/webui.o)
	@rm -f $$@ && ar rcs $$@ $$^
$(B)/tests/run-$(1): $(call objects,tests/run.c $(test-src-$(1))) $(call archives,$(1))
	$$(call say,ld,$$@)
	$$(Q)$$(CC) $$(ldflags) $$(LDFLAGS) -o $$@ $$^ $$(libs-$(1)) $$(LDLIBS)
test-$(1): $(B)/tests/run-$(1)
	@$(B)/tests/run-$(1) $(run-flags) $(T)
endef
$(foreach r,$(rooms),$(eval $(call room-rules,$(r))))

# What the compiler complained about is kept beside the object: `make check` wants it to be nothing.
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(cflags) $(opt) $(isa) $(CFLAGS) -c -o $@ $< 2>$(@:.o=.warn) || \
	    { cat $(@:.o=.warn) >&2; exit 1; }
	@cat $(@:.o=.warn) >&2

# The plugin. What the assembler says of registers and spills is kept: tests/cuda/run.py reads it.
$(B)/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,nvcc,$<)
	$(Q)$(NVCC) $(nvflags) $(cuda-arch) -MMD -MP -c -o $@ $< 2>$(@:.o=.ptxas) || \
	    { cat $(@:.o=.ptxas) >&2; exit 1; }
$(B)/kernels/cuda/base/%.o: kernels/base/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out -fPIE,$(cflags)) -fPIC -O2 $(CFLAGS) -c -o $@ $<
$(B)/lammd-cuda.so: $(cuda-src:%.cu=$(B)/%.o) $(patsubst %,$(B)/kernels/cuda/base/%.o,err mem half)
	$(call say,ld,$@)
	$(Q)$(NVCC) $(cuda-arch) -shared -cudart static -Xlinker --exclude-libs,ALL -Xlinker -z,defs \
	    -o $@ $^ -ldl
$(PLUGIN): $(B)/lammd-cuda.so
	@cp $< $@

# The same kernels for the processor, thread by thread: tests/cuda/emu/emu.h. Needs CUDA's headers only.
emu-flags := -std=c++20 -O2 -g -ffp-contract=fast -fPIC -fvisibility=hidden -w -D_GNU_SOURCE \
             -Itests/cuda/emu -I. -isystem $(dir $(NVCC))../include
$(B)/emu/%.cc: %.cu tests/cuda/emu/emu.py
	@mkdir -p $(@D)
	$(Q)$(PYTHON) tests/cuda/emu/emu.py $< $@
$(B)/emu/%.o: $(B)/emu/%.cc $(wildcard kernels/*.h kernels/cuda/*.cuh kernels/cuda/*.h tests/cuda/emu/*.h tests/cuda/emu/*/*/*.cuh)
	$(call say,c++,$<)
	$(Q)$(CXX) $(emu-flags) $(EMUFLAGS) -c -o $@ $<
$(B)/emu/emu.o: tests/cuda/emu/emu.cc $(wildcard kernels/cuda/*.cuh tests/cuda/emu/*.h)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(emu-flags) -c -o $@ $<
$(B)/emu/lammd-cuda.so: $(cuda-src:%.cu=$(B)/emu/%.o) $(B)/emu/emu.o \
                        $(patsubst %,$(B)/kernels/cuda/base/%.o,err mem half)
	$(Q)$(CXX) -shared -Wl,-z,defs $(EMUFLAGS) -o $@ $^
# In place of cuBLASLt: one that computes, and one that has nothing, so that our own products do.
$(B)/emu/lt/libcublasLt.so.13: tests/cuda/emu/fake_lt.cc tests/cuda/emu/fake_lt.h tests/cuda/emu/stream.h
	@mkdir -p $(@D)
	$(Q)$(CXX) $(emu-flags) -shared -o $@ $<
$(B)/emu/no-lt/libcublasLt.so.13: $(B)/tests/plugin_mute.so
	@mkdir -p $(@D)
	@cp $< $@
# Runners look for the plugin in the folder above.
$(B)/emu/tests/run-%: $(B)/tests/run-%
	@mkdir -p $(@D)
	@cp $< $@
	@cp $(B)/tests/plugin_*.so $(@D)

# Plugins that are wrong in one way each, for the tests of the loader.
fakes := $(patsubst %,$(B)/tests/plugin_%.so,good weak abi size hole null mute)
$(B)/tests/plugin_%.so: tests/plugin/fake.c kernels/kern.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -fPIC -shared -fvisibility=hidden -DFAKE_$* -o $@ $<
$(B)/tests/run-kernels $(B)/tests/run-engine: | $(fakes)
# And one that works until its first answer, for the whole program.
dying := $(B)/tests/plugin_dying.so
$(dying): tests/plugin/dying.c $(call sources,kernels/ref) kernels/kern.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -O2 -fPIC -shared -fvisibility=hidden -o $@ $(filter %.c,$^) \
	    $(patsubst %,kernels/base/%.c,err mem half blocks) -lm

# The web page and the contract, embedded: see api/static.h.
$(B)/gen/webui.c: $(embed) tools/embed.sh
	@mkdir -p $(@D)
	$(Q)sh tools/embed.sh $(embed) > $@
$(B)/gen/webui.o: $(B)/gen/webui.c
	$(Q)$(CC) $(CPPFLAGS) $(cflags) -O1 $(CFLAGS) -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- Debian packages -----------------------------------------------------------------------------
packages-build := gcc libc6-dev make libmicrohttpd-dev libjansson-dev libpng-dev libturbojpeg0-dev \
                  libssl-dev
packages-test  := python3 python3-pil python3-numpy python3-jsonschema python3-yaml chromium curl \
                  clang-format g++

.PHONY: deps deps-build
deps-build: packages := $(packages-build)
deps: packages := $(packages-build) $(packages-test)
deps: ## install what building and testing need from Debian (as root, or with sudo)
deps deps-build:
	@sh tools/deps.sh $(packages)

##@ Use
.PHONY: run
run: deps-build ## install what is missing, build, and serve models/lamm-mini on 127.0.0.1:8080
	@$(MAKE) --no-print-directory all
	@echo 'Next: open http://127.0.0.1:8080/ and drop a photo on the page, or in another terminal:'
	@echo '  curl -F image=@photo.jpg http://127.0.0.1:8080/v1/reconstruct -o seen.png'
	@echo 'Stop with Ctrl-C.'
	@./$(PROGRAM) serve --listen 127.0.0.1:8080 --model models/lamm-mini

.PHONY: install uninstall
install: all ## to $(DESTDIR)$(prefix): program, model, systemd units
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(docdir)
	$(INSTALL) -d $(DESTDIR)$(datadir)/lammd/models/lamm-mini
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(bindir)/lammd
	test ! -f '$(PLUGIN)' || $(INSTALL) -D -m 644 $(PLUGIN) $(DESTDIR)$(prefix)/lib/lammd/lammd-cuda.so
	$(INSTALL) -m 644 $(wildcard models/lamm-mini/*) $(DESTDIR)$(datadir)/lammd/models/lamm-mini
	for f in models/shapes/*/*; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(datadir)/lammd/$$f || exit 1; done
	for u in $(unitdir)/lammd.service $(unitdir)/lammd.socket $(docdir)/lammd-gpu.conf; do \
	    sed -e 's|@bindir@|$(bindir)|g; s|@datadir@|$(datadir)|g; s|@docdir@|$(docdir)|g' \
	        systemd/$${u##*/} > $(DESTDIR)$$u && chmod 644 $(DESTDIR)$$u || exit 1; done
	$(INSTALL) -m 644 README.md LICENSE openapi.yaml $(DESTDIR)$(docdir)

uninstall: ## take away what install brought
	rm -f $(DESTDIR)$(bindir)/lammd $(DESTDIR)$(unitdir)/lammd.service
	rm -f $(DESTDIR)$(unitdir)/lammd.socket
	rm -rf $(DESTDIR)$(datadir)/lammd $(DESTDIR)$(docdir) $(DESTDIR)$(prefix)/lib/lammd

##@ Prove
# Each suite prints `N passed, N failed` last; tests/total.sh runs them in turn and adds up.
runners := $(foreach r,$(rooms),$(if $(test-src-$(r)),$(r)))
suites  := $(sort $(wildcard tests/*/run.py))
.PHONY: test test-fuzz
test: all $(runners:%=$(B)/tests/run-%) $(dying) ## every test; ends with `N passed, N failed`
	@LAMMD=$(abspath $(PROGRAM)) sh tests/total.sh \
	    $(foreach r,$(runners),'$(B)/tests/run-$(r) $(run-flags) $(T)') \
	    $(foreach s,$(suites),'$(PYTHON) $(s) $(T)') \
	    $(if $(T)$(SAN),,'$(MAKE) -s SAN=address O=$(O) test-fuzz' '$(MAKE) -s check')

.PHONY: cuda test-cuda
cuda: $(PLUGIN) ## the CUDA engine, lammd-cuda.so (needs nvcc; `make` builds it where nvcc is)
test-cuda: all cuda $(B)/tests/run-kernels $(B)/tests/run-engine ## it against the reference; needs a GPU to say much
	@LAMMD=$(abspath $(PROGRAM)) sh tests/total.sh '$(PYTHON) tests/cuda/run.py $(T)' \
	    '$(B)/tests/run-kernels $(run-flags) _cuda cublaslt' '$(B)/tests/run-engine $(run-flags) _cuda'

.PHONY: test-cuda-emu
test-cuda-emu: $(B)/emu/lt/libcublasLt.so.13 $(B)/emu/no-lt/libcublasLt.so.13
test-cuda-emu: $(B)/emu/lammd-cuda.so $(B)/emu/tests/run-kernels $(B)/emu/tests/run-engine ## its kernels on the CPU, thread by thread (needs CUDA's headers)
	@sh tests/total.sh \
	    'LD_LIBRARY_PATH=$(B)/emu/lt $(B)/emu/tests/run-kernels --limit 300 $(run-flags) 16bit cuda_flat graph cublaslt true_shapes' \
	    'LD_LIBRARY_PATH=$(B)/emu/no-lt $(B)/emu/tests/run-kernels --limit 300 $(run-flags) $(or $(T),_cuda)' \
	    'LD_LIBRARY_PATH=$(B)/emu/lt $(B)/emu/tests/run-engine --limit 600 $(run-flags) $(or $(T),model_parity_cuda model_run_gives_the_same_bits_cuda)'

.PHONY: check format
check: ## lint: rooms, bans, sizes, headers, warnings, mutable globals, format
	@CC='$(CC)' B='$(B)' sh tests/lint/run.sh
format: ## apply .clang-format
	clang-format -i $(shell find media kernels engine data api server cli tests -name '*.[ch]') $(shell find kernels/cuda -name '*.cu*')

##@ Fuzz and bench
# A target is tests/fuzz/fuzz_<name>.c with LLVMFuzzerTestOneInput; its corpus lies in corpus/<name>/.
fuzzers := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
fuzz-bin := $(fuzzers:%=$(B)/tests/fuzz_%)
fuzz-main := $(if $(filter fuzz,$(SAN)),,$(B)/tests/fuzz/replay.o)
$(B)/tests/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(fuzz-main) $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(if $(fuzz-main),,-fsanitize=fuzzer) -o $@ $^ $(libs-cli)

test-fuzz: $(fuzz-bin)
	@sh tests/total.sh $(foreach f,$(fuzzers),'$(B)/tests/fuzz_$(f) tests/fuzz/corpus/$(f)')

.PHONY: fuzz fuzz-run bench
fuzz: ## libFuzzer with ASan and UBSan on every target, FUZZ_SECONDS each (needs clang)
	@command -v clang >/dev/null || { echo 'make fuzz needs clang: apt-get install clang'; exit 1; }
	@$(MAKE) --no-print-directory SAN=fuzz O=$(O) fuzz-run
fuzz-run: $(fuzz-bin)
	@for f in $(fuzzers); do case $$f in *'$(T)'*) \
	    echo "fuzz $$f"; mkdir -p $(B)/corpus/$$f tests/fuzz/corpus/$$f; \
	    $(B)/tests/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	        -verbosity=0 -print_final_stats=1 -artifact_prefix=$(B)/crash-$$f- \
	        $(B)/corpus/$$f tests/fuzz/corpus/$$f || exit 1;; esac; done

benches := $(filter-out bench_cuda,$(patsubst tests/bench/%.c,%,$(sort $(wildcard tests/bench/bench_*.c))))
$(benches:%=$(B)/tests/%): $(B)/tests/%: $(B)/tests/bench/%.o $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-cli) $(LDLIBS)
# Of the kernels room alone, so that a machine with nothing but a compiler can build it.
$(B)/tests/bench_cuda: $(B)/tests/bench/bench_cuda.o $(call archives,kernels)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-kernels) $(LDLIBS)
bench: all $(benches:%=$(B)/tests/%) ## operations alone, then a whole picture
	@for b in $(benches); do $(B)/tests/$$b || exit 1; done
	@./$(PROGRAM) bench pix4096

##@ Housekeeping
.PHONY: clean help
clean: ## remove what make made
	rm -rf $(O) $(PROGRAM) $(PLUGIN)
help: ## this text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@printf '\n  make room-ROOM    one archive; make test-ROOM [T=substring]: its unit tests\n'
	@printf '                    ROOM is one of: $(rooms)\n'
	@printf '  O=dir objects, SAN=address|undefined|thread sanitizer, SEED=n\n'
