# lammd: how everything is built and proved. `make help` lists what it can do; the parts are in mk/.
#
# Objects live in $(O)/<flavour>/, so a sanitizer build never meets a release object. Each room is
# an archive and links only with the rooms below it. That keeps the lower ones free of the upper.
#
#   O=dir            object folder, default build/; another one leaves ./lammd alone
#   SAN=address|undefined|thread   build (and test) with a sanitizer
#   T=substring      only the tests whose name contains it
#   LONG=1           tests at the counts that are promised, as `make test-long`
#   SEED=n           seed of the tests' random numbers
#   V=1              show whole commands

O       ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)
SEED    ?= 1

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --no-builtin-rules -j$(shell nproc) # another -j on the command line wins
endif
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo '  $(1)  $(2)')
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---- rooms ---------------------------------------------------------------------------------------
rooms        := base media kernels engine data jobs api batch server cli
dirs-base    := kernels/base
dirs-media   := media
dirs-kernels := kernels kernels/ref kernels/cpu
dirs-engine  := engine $(patsubst %/,%,$(wildcard engine/*/)) engine/train/losses
dirs-data    := data $(patsubst %/,%,$(wildcard data/*/))
dirs-jobs    := jobs
dirs-api     := api $(patsubst %/,%,$(wildcard api/*/))
dirs-batch   := batch
dirs-server  := server server/http server/keys server/relay
dirs-cli     := cli cli/batch cli/battery cli/eval cli/gate cli/import cli/train

# What a room may link with: itself and what lies below it.
below-base    := base
below-media   := media $(below-base)
below-kernels := kernels $(below-base)
below-engine  := engine $(below-kernels)
below-data    := data media $(below-engine)
below-jobs    := jobs $(below-base)
below-api     := api jobs engine media $(below-kernels)
below-batch   := batch $(below-api)
below-server  := server $(below-batch)
below-cli     := cli server batch data $(below-api)

libs-base    := -lm -lpthread
libs-media   := -lpng -ljpeg -lwebp $(libs-base)
libs-kernels := $(libs-base)
libs-engine  := -ljansson -lcrypto $(libs-kernels)
libs-data    := -lpng -ljpeg -lwebp $(libs-engine)
libs-jobs    := -lsqlite3 -ljansson $(libs-base)
libs-api     := -lpng -ljpeg -lwebp -lsqlite3 $(libs-engine)
libs-batch   := $(libs-api)
libs-server  := -lmicrohttpd -lssl $(libs-api)
libs-cli     := $(libs-server)

# ---- flavour -------------------------------------------------------------------------------------
flavour := $(or $(SAN),release)
B       := $(O)/$(flavour)

CPPFLAGS += -D_GNU_SOURCE -I. -MMD -MP
warnings := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
cflags   := -std=c11 $(warnings) -fvisibility=hidden -ffp-contract=off -g -fPIE -pthread
ldflags  := -pie -pthread
# With a sanitizer the compiler is what takes its time, and code that is changed less tells more.
opt      := $(if $(filter address undefined thread,$(SAN)),-O1,-O2)

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
override CC := clang
endif

# Kernels: -O3, and vector code by file name. Which of it runs is decided at run time. No flag here
# may change a result: no -ffast-math, no contraction; where the code wants a fused multiply-add it
# names it.
$(B)/kernels/%.o: private opt := -O3
# Sums over rows are vector code only while gcc leaves their two loops as they are.
$(B)/engine/picture/resize.o: private opt := -O3 $(if $(findstring clang,$(CC)),,-fno-loop-unroll-and-jam)
$(B)/kernels/cpu/%_avx2.o: private isa := -mavx2 -mfma -mf16c
# Sums of a LoRA, element by element: vector code changes no result.
$(B)/engine/files/merge.o: private opt := -O3
# Every weight is looked at for numbers that are none.
$(B)/engine/files/safetensors.o: private opt := -O3
avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c
$(B)/kernels/cpu/%_avx512.o: private isa := $(avx512)
$(B)/kernels/cpu/%_avx512bf16.o: private isa := $(avx512) -mavx512bf16
$(B)/kernels/cpu/%_amx.o: private isa := $(avx512) -mavx512bf16 -mamx-tile -mamx-bf16
$(B)/kernels/cpu/%_vnni.o: private isa := $(avx512) -mavx512vnni
$(B)/kernels/cpu/%_amx8.o: private isa := $(avx512) -mavx512vnni -mamx-tile -mamx-int8
ifeq ($(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
not-here := %_avx2.c %_avx512.c %_avx512bf16.c %_amx.c %_vnni.c %_amx8.c
endif
ifneq ($(wildcard kernels/cpu/cpu.c),)
CPPFLAGS += -DKERN_HAS_CPU
endif

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

##@ Build
.PHONY: all
all: $(if $(main),$(PROGRAM),$(addprefix room-,$(rooms))) ## the program, ./lammd (default)

$(PROGRAM): $(call objects,$(main)) $(call archives,cli)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-cli) $(LDLIBS)

define room-rules
.PHONY: room-$(1) test-$(1)
room-$(1): $(call archive,$(1))
$(call archive,$(1)): $(call objects,$(src-$(1))) $(if $(filter api,$(1)),$(B)/gen/webui.o)
	@rm -f $$@ && ar rcs $$@ $$^
$(B)/tests/run-$(1): $(call objects,tests/run.c tests/check.c $(test-src-$(1))) $(call archives,$(1))
	$$(call say,ld,$$@)
	$$(Q)$$(CC) $$(ldflags) $$(LDFLAGS) -o $$@ $$^ $$(libs-$(1)) $$(LDLIBS)
test-$(1): $(B)/tests/run-$(1)
	@$(B)/tests/run-$(1) $$(run-flags) $$(T)
endef
$(foreach r,$(rooms),$(eval $(call room-rules,$(r))))

# What the compiler complained about is kept beside the object: `make check` wants it to be nothing.
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(cflags) $(opt) $(isa) $(CFLAGS) -c -o $@ $< 2>$(@:.o=.warn) || \
	    { cat $(@:.o=.warn) >&2; exit 1; }
	@cat $(@:.o=.warn) >&2

# The web page and the contract, embedded: see api/static.h.
$(B)/gen/webui.c: $(embed) tools/embed.sh
	@mkdir -p $(@D)
	$(Q)sh tools/embed.sh $(embed) > $@
$(B)/gen/webui.o: $(B)/gen/webui.c
	$(Q)$(CC) $(CPPFLAGS) $(cflags) -O1 $(CFLAGS) -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: clean help
clean: ## remove what make made
	rm -rf $(O) $(PROGRAM) $(PLUGIN) $(MPI_PLUGIN)
help: ## this text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile $(parts)
	@printf '\n  make room-ROOM      one archive; make test-ROOM [T=substring]: its unit tests\n'
	@printf '                      ROOM is one of: $(rooms)\n'
	@printf '  O=dir objects, SAN=address|undefined|thread sanitizer, SEED=n, LONG=1 full counts\n'

parts := mk/use.mk mk/install.mk mk/test.mk mk/cuda.mk mk/mpi.mk mk/fuzz.mk
include $(parts)
