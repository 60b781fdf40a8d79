# cuda.mk - the CUDA engine: a plugin, so its objects are its own and nothing is linked with them.

NVCC      ?= $(or $(wildcard /usr/local/cuda/bin/nvcc),$(shell command -v nvcc 2>/dev/null))
CUDA_ARCH ?= 80 90
cuda-src  := $(sort $(wildcard kernels/cuda/*.cu))
cuda-arch := $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
             -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
nvflags   := -std=c++20 -O3 -I. -D_GNU_SOURCE -Werror all-warnings -Xptxas -v \
             -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unused-parameter

# Beside the program, where it is looked for; not in a sanitizer build.
PLUGIN := $(if $(SAN),,$(patsubst ./%,%,$(dir $(PROGRAM))lammd-cuda.so))
all: $(if $(NVCC),$(PLUGIN))

# What the assembler says of registers and spills is kept: tests/cuda/run.py reads it.
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
	    -Xlinker -z,relro,-z,now -o $@ $^ -ldl
$(PLUGIN): $(B)/lammd-cuda.so
	@cp $< $@

# The same kernels for the processor, thread by thread: tests/cuda/emu/emu.h. Needs CUDA's headers.
emu-flags := -std=c++20 -O2 -g -ffp-contract=fast -fPIC -fvisibility=hidden -w -D_GNU_SOURCE \
             -Itests/cuda/emu -I. -isystem $(dir $(NVCC))../include
.SECONDARY: $(cuda-src:%.cu=$(B)/emu/%.cc)
$(B)/emu/%.cc: %.cu tests/cuda/emu/emu.py
	@mkdir -p $(@D)
	$(Q)$(PYTHON) tests/cuda/emu/emu.py $< $@
$(B)/emu/%.o: $(B)/emu/%.cc $(wildcard kernels/*.h kernels/op/*.h kernels/cuda/*.cuh kernels/cuda/*.h tests/cuda/emu/*.h tests/cuda/emu/*/*/*.cuh)
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

##@ CUDA
.PHONY: cuda test-cuda
cuda: $(PLUGIN) ## the CUDA engine, lammd-cuda.so (needs nvcc; `make` builds it where nvcc is)
test-cuda: ## it against the reference; needs a GPU to say much
test-cuda: all cuda $(B)/tests/run-kernels $(B)/tests/run-engine
	@LAMMD=$(abspath $(PROGRAM)) sh tests/total.sh '$(PYTHON) tests/cuda/run.py $(T)' \
	    '$(B)/tests/run-kernels $(run-flags) _cuda cublaslt' '$(B)/tests/run-engine $(run-flags) _cuda'

.PHONY: test-cuda-emu
test-cuda-emu: ## its kernels on the CPU, thread by thread (needs CUDA's headers)
test-cuda-emu: $(B)/emu/lt/libcublasLt.so.13 $(B)/emu/no-lt/libcublasLt.so.13
test-cuda-emu: $(B)/emu/lammd-cuda.so $(B)/emu/tests/run-kernels $(B)/emu/tests/run-engine
	@sh tests/total.sh \
	    'LD_LIBRARY_PATH=$(B)/emu/lt $(B)/emu/tests/run-kernels --limit 300 $(run-flags) 16bit cuda_flat graph cublaslt true_shapes' \
	    'LD_LIBRARY_PATH=$(B)/emu/no-lt $(B)/emu/tests/run-kernels --limit 300 $(run-flags) $(or $(T),_cuda)' \
	    'LD_LIBRARY_PATH=$(B)/emu/lt $(B)/emu/tests/run-engine --limit 600 $(run-flags) $(or $(T),model_parity_cuda model_run_gives_the_same_bits_cuda model_hand_over vit_sees planned_cuda kept_cuda gradient_on_a_card berth_)'
