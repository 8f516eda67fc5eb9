# For packagers: make; make install DESTDIR=... PREFIX=/usr. contrib/install --help lists more variables, which may be in
# the environment.
PREFIX = /usr/local
CARGO = cargo

all:
	$(CARGO) build --release --locked --bins

# Builds only what is not there: root of a user's build may have no cargo.
install:
	@[ -n "$$BUILT" ] || [ -x "$${CARGO_TARGET_DIR:-target}/release/pptpctl" ] || $(MAKE) all
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" contrib/install

# One small static program, for routers; docs/ROUTER.md. It needs what contrib/cross needs.
router:
	contrib/cross router

.PHONY: all install router
