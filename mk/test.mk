# test.mk - every suite, and the plugins that the tests load.

# As many tests at a time as there are cores; where there is a graphics card they take turns at it.
jobs      := $(if $(wildcard /dev/nvidiactl),1,$(shell nproc))
long      := $(if $(LONG),--long)
run-flags := --seed $(SEED) -j$(jobs) $(if $(SAN),--limit 300) $(long)

# Plugins that are wrong in one way each, for the tests of the loader.
fakes := $(patsubst %,$(B)/tests/plugin_%.so,good train weak abi size hole untrained null mute)
$(B)/tests/plugin_%.so: tests/plugin/fake.c kernels/kern.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -fPIC -shared -fvisibility=hidden -DFAKE_$* -o $@ $<
comms := $(patsubst %,$(B)/tests/plugin_comm_%.so,good abi size hole null)
$(B)/tests/plugin_comm_%.so: tests/plugin/comm.c engine/train/comm.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -fPIC -shared -fvisibility=hidden -DFAKE_$* -o $@ $<
$(B)/tests/run-kernels $(B)/tests/run-engine: | $(fakes)
$(B)/tests/run-engine: | $(comms)
# And one that works until its first answer, for the whole program.
dying := $(B)/tests/plugin_dying.so
$(dying): tests/plugin/dying.c $(call sources,kernels/ref) kernels/kern.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -O2 -fPIC -shared -fvisibility=hidden -o $@ $(filter %.c,$^) \
	    -Wl,-z,defs $(patsubst %,kernels/base/%.c,err mem half blocks narrow) -lm

# Memory that runs short, and a disk that fails, for the whole program.
shims := $(B)/tests/shortage.so $(B)/tests/badwrite.so
$(shims): $(B)/tests/%.so: tests/plugin/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -fPIC -shared -o $@ $<

# An adapter goes through a train, for tests/peft/run.py. What a model computes, tensor by tensor,
# for that and for tests/originals/run.py.
through := $(B)/tests/peft_through $(B)/tests/model_taps
$(B)/tests/peft_through: $(B)/tests/peft/through.o
$(B)/tests/model_taps: $(B)/tests/originals/taps.o
$(through): $(call archives,engine)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(libs-engine) $(LDLIBS)

# For make test-long: the whole program by the sanitizers that may run it: what it computes with,
# at small counts, and its threads.
ub-long = '$(MAKE) -s SAN=undefined O=$(O) all >/dev/null && \
    LAMMD=$(abspath $(O))/undefined/lammd $(PYTHON) tests/http/run.py'
races-long = '$(MAKE) -s SAN=thread O=$(O) all >/dev/null && \
    LAMMD=$(abspath $(O))/thread/lammd $(PYTHON) tests/http/run.py --long races'

##@ Prove
# Each suite prints `N passed, N failed` last; tests/total.sh runs them and adds up: in turn where
# the tests of a suite run beside each other, else suites do.
runners := $(foreach r,$(rooms),$(if $(test-src-$(r)),$(r)))
python  := $(wildcard $(patsubst %,tests/%/run.py,http train browser)) # the longest first
python  += $(filter-out $(python),$(sort $(wildcard tests/*/run.py)))
.PHONY: test test-long suites
test: ## every test at small counts, installing what is missing; ends with `N passed, N failed`
test-long: ## every test at the counts that are promised
test test-long:
	@$(deps) $(packages-build) -- $(packages-test)
	@$(MAKE) --no-print-directory suites $(if $(filter test-long,$@),LONG=1)
suites: all $(runners:%=$(B)/tests/run-%) $(dying) $(shims) $(through)
	@LAMMD=$(abspath $(PROGRAM)) TESTS=$(abspath $(B)/tests) sh tests/total.sh \
	    $(foreach r,$(runners),'$(B)/tests/run-$(r) $(run-flags) $(T)') -- \
	    $(foreach s,$(python),'$(PYTHON) $(s) $(long) $(T)') \
	    $(if $(T)$(SAN),,'$(MAKE) -s SAN=address O=$(O) test-fuzz' $(if $(LONG),$(fuzz-long) $(ub-long) $(races-long)) '$(MAKE) -s check')

.PHONY: check format
check: ## lint: rooms, bans, sizes, headers, warnings, mutable globals, format
	@CC='$(CC)' B='$(B)' sh tests/lint/run.sh
format: ## apply .clang-format
	clang-format -i $(shell find media kernels engine data jobs api batch server cli tests -name '*.[ch]') $(shell find kernels/cuda -name '*.cu*')
