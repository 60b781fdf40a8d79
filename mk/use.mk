# use.mk - what it needs from Debian, and how it is tried.

packages-build := gcc libc6-dev make libmicrohttpd-dev libjansson-dev libpng-dev libjpeg62-turbo-dev \
                  libwebp-dev libssl-dev libsqlite3-dev
packages-test  := python3 python3-pil python3-numpy python3-jsonschema python3-yaml chromium curl openssl strace \
                  clang-format g++ libopenmpi-dev openmpi-bin mandoc git $(if $(PROXIES),nginx-light haproxy caddy prometheus)

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
