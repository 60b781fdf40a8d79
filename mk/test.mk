# test.mk - every suite, and the plugins that the tests load.

# As many tests at a time as there are cores; where there is a graphics card they take turns at it.
jobs      := $(if $(wildcard /dev/nvidiactl),1,$(shell nproc))
long      := $(if $(LONG),--long)
run-flags := --seed $(SEED) -j$(jobs) $(if $(SAN),--limit 300) $(long)

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

##@ Prove
# Each suite prints `N passed, N failed` last; tests/total.sh runs them in turn and adds up.
runners := $(foreach r,$(rooms),$(if $(test-src-$(r)),$(r)))
python  := $(sort $(wildcard tests/*/run.py))
.PHONY: test test-long suites
test: ## every test at small counts, installing what is missing; ends with `N passed, N failed`
test-long: ## every test at the counts that are promised
test test-long:
	@$(deps) $(packages-build) -- $(packages-test)
	@$(MAKE) --no-print-directory suites $(if $(filter test-long,$@),LONG=1)
suites: all $(runners:%=$(B)/tests/run-%) $(dying)
	@LAMMD=$(abspath $(PROGRAM)) sh tests/total.sh \
	    $(foreach r,$(runners),'$(B)/tests/run-$(r) $(run-flags) $(T)') \
	    $(foreach s,$(python),'$(PYTHON) $(s) $(long) $(T)') \
	    $(if $(T)$(SAN),,'$(MAKE) -s SAN=address O=$(O) test-fuzz' $(if $(LONG),$(fuzz-long)) '$(MAKE) -s check')

.PHONY: check format
check: ## lint: rooms, bans, sizes, headers, warnings, mutable globals, format
	@CC='$(CC)' B='$(B)' sh tests/lint/run.sh
format: ## apply .clang-format
	clang-format -i $(shell find media kernels engine data api server cli tests -name '*.[ch]') $(shell find kernels/cuda -name '*.cu*')
