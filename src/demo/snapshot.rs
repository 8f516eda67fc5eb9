//! What a tunnel can change in the demo's network stack: read before and after it.

use std::{
    fmt::{self, Display},
    io,
    path::Path,
};

use nix::ifaddrs::getifaddrs;

use crate::{
    net::{connected, kernel::Kernel, routes::Filter},
    platform::Platform,
};

/// The directory of process files.
const RUN: &str = Platform::host().run_dir();

/// What a tunnel can change in this network stack, and the files in the run directory.
#[derive(PartialEq, Eq)]
pub struct Snapshot {
    links: Vec<String>,
    addresses: Vec<String>,
    routes: Vec<String>,
    files: Vec<String>,
}

impl Snapshot {
    /// Reads the state.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn take() -> io::Result<Self> {
        let mut kernel = Kernel::open().map_err(io::Error::other)?;
        let mut links = Vec::new();
        for name in nix::net::if_::if_nameindex()?.iter() {
            let link = kernel.link(&name.name().to_string_lossy()).map_err(io::Error::other)?;
            links.extend(link.map(|link| format!("{link:?}")));
        }
        let mut addresses = Vec::new();
        for interface in getifaddrs()? {
            let address = interface.address.as_ref().and_then(connected::address);
            addresses.extend(address.map(|address| format!("{}: {address}", interface.interface_name)));
        }
        let mut routes = Vec::new();
        for ipv6 in [false, true] {
            let all = kernel.routes(&Filter { ipv6, table: None, dest: None }).map_err(io::Error::other)?;
            routes.extend(all.iter().map(|route| format!("{route:?}")));
        }
        Ok(Self { links, addresses, routes, files: files(Path::new(RUN)) })
    }

    /// Returns how much there is, in words.
    pub fn summary(&self) -> String {
        let Self { links, addresses, routes, .. } = self;
        format!(
            "{} interfaces, {} addresses, {} routes and no file in {RUN} that was not there",
            links.len(),
            addresses.len(),
            routes.len()
        )
    }
}

impl Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in self.links.iter().chain(&self.addresses).chain(&self.routes).chain(&self.files) {
            writeln!(f, "  {text}")?;
        }
        Ok(())
    }
}

/// Returns every file below a directory, without the directories.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}
