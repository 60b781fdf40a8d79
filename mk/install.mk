# install.mk - what is installed and where, the pages made for it, and the source as a file.

prefix      ?= /usr/local
exec_prefix ?= $(prefix)
bindir      ?= $(exec_prefix)/bin
datarootdir ?= $(prefix)/share
datadir     ?= $(datarootdir)
docdir      ?= $(datarootdir)/doc/lammd
mandir      ?= $(datarootdir)/man
bashdir     ?= $(datarootdir)/bash-completion/completions
unitdir     ?= $(prefix)/lib/systemd/system
plugindir   ?= $(prefix)/lib/lammd
sysconfdir  ?= $(if $(filter /usr /usr/local,$(prefix)),/etc,$(prefix)/etc)
INSTALL     ?= install
version     := $(shell sed -n 's/.*LAMMD_VERSION "\(.*\)".*/\1/p' kernels/base/version.h)

# Made of the tables of commands and options: cli/manual.h.
made := $(B)/made
pages := $(made)/lammd.8 $(made)/lammd.conf.5 $(made)/lammd.conf.example $(made)/lammd
$(made)/manual: $(B)/tools/manual.o $(call archives,cli)
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$(Q)$(CC) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs-cli) $(LDLIBS)
$(made)/%.8: docs/man/%.8.in $(made)/manual
	$(Q)$(made)/manual page < $< > $@
$(made)/%.5: docs/man/%.5.in $(made)/manual
	$(Q)$(made)/manual page < $< > $@
$(made)/lammd.conf.example: $(made)/manual
	$(Q)$(made)/manual example > $@
$(made)/lammd: $(made)/manual
	$(Q)$(made)/manual completion > $@
all: $(if $(SAN)$(if $(main),,none),,$(pages))

# Folders of this installation in a unit or a file.
folders = sed -e 's|@bindir@|$(bindir)|g; s|@datadir@|$(datadir)|g; s|@docdir@|$(docdir)|g' \
              -e 's|@sysconfdir@|$(sysconfdir)|g'

##@ Install
.PHONY: install uninstall dist
install: all ## to $(DESTDIR)$(prefix): program, model, pages, units; lammd.conf where there is none
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(docdir) $(DESTDIR)$(bashdir)
	$(INSTALL) -d $(DESTDIR)$(datadir)/lammd/models/lamm-mini $(DESTDIR)$(sysconfdir)/lammd
	$(INSTALL) -d $(DESTDIR)$(mandir)/man8 $(DESTDIR)$(mandir)/man5 $(DESTDIR)$(docdir)/docs
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(bindir)/lammd
	$(if $(NVCC),$(INSTALL) -D -m 644 $(PLUGIN) $(DESTDIR)$(plugindir)/lammd-cuda.so)
	$(if $(MPICC),$(INSTALL) -D -m 644 $(MPI_PLUGIN) $(DESTDIR)$(plugindir)/lammd-mpi.so)
	$(INSTALL) -m 644 $(wildcard models/lamm-mini/*) $(DESTDIR)$(datadir)/lammd/models/lamm-mini
	for f in recipes/*.ini; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(datadir)/lammd/$$f || exit 1; done
	for f in models/shapes/*/*; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(datadir)/lammd/$$f || exit 1; done
	for u in $(unitdir)/lammd.service $(unitdir)/lammd.socket $(docdir)/lammd-gpu.conf; do \
	    $(folders) systemd/$${u##*/} > $(DESTDIR)$$u && chmod 644 $(DESTDIR)$$u || exit 1; done
	conf=$(DESTDIR)$(sysconfdir)/lammd/lammd.conf; test -e $$conf || \
	    { $(folders) systemd/lammd.conf > $$conf && chmod 644 $$conf; }
	$(INSTALL) -m 644 $(made)/lammd.8 $(DESTDIR)$(mandir)/man8
	$(INSTALL) -m 644 $(made)/lammd.conf.5 $(DESTDIR)$(mandir)/man5
	$(INSTALL) -m 644 $(made)/lammd $(DESTDIR)$(bashdir)
	$(INSTALL) -m 644 README.md LICENSE openapi.yaml $(made)/lammd.conf.example $(DESTDIR)$(docdir)
	$(INSTALL) -m 644 $(wildcard docs/*.md) $(DESTDIR)$(docdir)/docs
	for f in deploy/*.cfg deploy/*/*; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(docdir)/$$f || exit 1; done

uninstall: ## take away what install brought, but not lammd.conf
	rm -f $(DESTDIR)$(bindir)/lammd $(DESTDIR)$(unitdir)/lammd.service
	rm -f $(DESTDIR)$(unitdir)/lammd.socket $(DESTDIR)$(bashdir)/lammd
	rm -f $(DESTDIR)$(mandir)/man8/lammd.8 $(DESTDIR)$(mandir)/man5/lammd.conf.5
	rm -rf $(DESTDIR)$(datadir)/lammd $(DESTDIR)$(docdir) $(DESTDIR)$(plugindir)

# The commit's time stands in the archive and nothing of the machine: no user, no umask, no line
# ends of its own, no time of packing.
dist_git  := GIT_ATTR_NOSYSTEM=1 git -c tar.umask=0022 -c core.autocrlf=false -c core.attributesFile=/dev/null
dist_name := lammd-$(version)
dist: ## the commit HEAD as $(O)/lammd-VERSION.tar.gz: one commit, one file, to the byte
	@mkdir -p $(O)
	$(Q)$(dist_git) archive --format=tar --prefix=$(dist_name)/ -o $(O)/$(dist_name).tar HEAD
	$(Q)gzip -9nf $(O)/$(dist_name).tar
	@echo '$(O)/$(dist_name).tar.gz'
