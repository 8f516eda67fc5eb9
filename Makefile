# For packagers: make; make install DESTDIR=... PREFIX=/usr. contrib/install --help lists more variables, which may be in
# the environment.
PREFIX = /usr/local
CARGO = cargo

all:
	$(CARGO) build --release --locked --bins

install:
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" contrib/install

.PHONY: all install
