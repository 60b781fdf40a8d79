# mpi.mk - ranks over MPI: a plugin, so that the program itself needs no MPI. Built where mpicc is.

MPICC   ?= $(shell command -v mpicc 2>/dev/null)
mpi-src := $(sort $(wildcard engine/train/mpi/*.c))
mpi-pic := $(filter-out -fPIE,$(cflags)) -fPIC

# Beside the program, where it is looked for; not in a sanitizer build.
MPI_PLUGIN := $(if $(SAN),,$(patsubst ./%,%,$(dir $(PROGRAM))lammd-mpi.so))
all: $(if $(MPICC),$(MPI_PLUGIN))

$(mpi-src:%.c=$(B)/%.o): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,mpicc,$<)
	$(Q)OMPI_CC='$(CC)' $(MPICC) $(CPPFLAGS) $(mpi-pic) $(opt) $(CFLAGS) -c -o $@ $< \
	    2>$(@:.o=.warn) || { cat $(@:.o=.warn) >&2; exit 1; }
	@cat $(@:.o=.warn) >&2
$(B)/engine/train/mpi/base/%.o: kernels/base/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(mpi-pic) -O2 $(CFLAGS) -c -o $@ $<
$(B)/lammd-mpi.so: $(mpi-src:%.c=$(B)/%.o) $(patsubst %,$(B)/engine/train/mpi/base/%.o,err log mem)
	$(call say,ld,$@)
	$(Q)OMPI_CC='$(CC)' $(MPICC) -shared -pthread -Wl,-z,relro,-z,now $(san-$(SAN)) -o $@ $^
$(MPI_PLUGIN): $(B)/lammd-mpi.so
	@cp $< $@

# Ranks that speak to each other, for tests/comm/run.py.
ranks := $(B)/tests/comm_ranks
$(ranks): $(B)/tests/comm/ranks.o $(call archives,engine)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-engine) $(LDLIBS)
suites: $(ranks) $(if $(MPICC),$(B)/lammd-mpi.so)
