# `nix-build contrib/packaging/nix` from the top of the sources. Profiles stay in /etc/pptpctl, which is not of the package.
{ pkgs ? import <nixpkgs> { } }:

let
  manifest = (builtins.fromTOML (builtins.readFile ../../../Cargo.toml)).package;
in
pkgs.rustPlatform.buildRustPackage {
  pname = manifest.name;
  version = manifest.version;
  src = pkgs.lib.cleanSource ../../..;
  cargoLock.lockFile = ../../../Cargo.lock;
  cargoBuildFlags = [ "--bins" ];
  # They need Debian's programs, and some of them root.
  doCheck = false;

  # Instead of the hook, which installs programs only.
  installPhase = ''
    runHook preInstall
    BUILT=$(dirname "$(find target -path '*/release/pptpctl' -type f | head -n 1)") \
      SYSCONFDIR= make install DESTDIR= PREFIX=$out
    runHook postInstall
  '';

  meta = {
    description = "PPTP client that keeps tunnels up and restores the host";
    license = pkgs.lib.licenses.isc;
    platforms = pkgs.lib.platforms.linux;
    mainProgram = "pptpctl";
  };
}
