# use.mk - what it needs from Debian, how it is tried, and where it is installed.

prefix      ?= /usr/local
exec_prefix ?= $(prefix)
bindir      ?= $(exec_prefix)/bin
datarootdir ?= $(prefix)/share
datadir     ?= $(datarootdir)
docdir      ?= $(datarootdir)/doc/lammd
unitdir     ?= $(prefix)/lib/systemd/system
INSTALL     ?= install

packages-build := gcc libc6-dev make libmicrohttpd-dev libjansson-dev libpng-dev libjpeg62-turbo-dev \
                  libwebp-dev libssl-dev libsqlite3-dev
packages-test  := python3 python3-pil python3-numpy python3-jsonschema python3-yaml chromium curl openssl strace \
                  clang-format g++ libopenmpi-dev openmpi-bin $(if $(PROXIES),nginx-light haproxy caddy prometheus)

##@ Use
deps = CC='$(CC)' PYTHON='$(PYTHON)' sh tools/deps.sh
.PHONY: deps
deps: ## install what building and testing need from Debian (as root, or with sudo)
	@$(deps) $(packages-build) $(packages-test)

.PHONY: run
run: ## install what is missing, build, and serve models/lamm-mini on 127.0.0.1:8080
	@$(deps) $(packages-build)
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
	test ! -f '$(MPI_PLUGIN)' || $(INSTALL) -D -m 644 $(MPI_PLUGIN) $(DESTDIR)$(prefix)/lib/lammd/lammd-mpi.so
	$(INSTALL) -m 644 $(wildcard models/lamm-mini/*) $(DESTDIR)$(datadir)/lammd/models/lamm-mini
	for f in recipes/*.ini; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(datadir)/lammd/$$f || exit 1; done
	for f in models/shapes/*/*; do $(INSTALL) -D -m 644 $$f $(DESTDIR)$(datadir)/lammd/$$f || exit 1; done
	for u in $(unitdir)/lammd.service $(unitdir)/lammd.socket $(docdir)/lammd-gpu.conf; do \
	    sed -e 's|@bindir@|$(bindir)|g; s|@datadir@|$(datadir)|g; s|@docdir@|$(docdir)|g' \
	        systemd/$${u##*/} > $(DESTDIR)$$u && chmod 644 $(DESTDIR)$$u || exit 1; done
	$(INSTALL) -m 644 README.md LICENSE openapi.yaml $(DESTDIR)$(docdir)

uninstall: ## take away what install brought
	rm -f $(DESTDIR)$(bindir)/lammd $(DESTDIR)$(unitdir)/lammd.service
	rm -f $(DESTDIR)$(unitdir)/lammd.socket
	rm -rf $(DESTDIR)$(datadir)/lammd $(DESTDIR)$(docdir) $(DESTDIR)$(prefix)/lib/lammd
