//! Whether the running Linux kernel has a driver: loaded, built in, or as a module file. Loads nothing.

use std::path::Path;

/// Returns whether the driver of this name is there; `None` if its module files cannot be listed, as in most containers.
#[must_use]
pub fn is_available(name: &str) -> Option<bool> {
    if Path::new("/sys/module").join(name).exists() {
        return Some(true);
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let list =
        |kind: &str| std::fs::read_to_string(format!("/lib/modules/{}/modules.{kind}", release.trim()));
    let lists = [list("builtin").ok()?, list("dep").ok()?];
    Some(lists.iter().any(|list| lists_module(list, name)))
}

/// Returns whether a list of modules (`modules.dep`, `modules.builtin`) has this one.
fn lists_module(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        path.rsplit('/').next().is_some_and(|file| file.split('.').next() == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_lists_are_searched_for_one_module() {
        assert!(lists_module("kernel/fs/ext4/ext4.ko\nkernel/drivers/net/tun.ko.zst:\n", "tun"));
        assert!(lists_module("kernel/drivers/net/tun.ko\n", "tun"));
        assert!(!lists_module("kernel/net/ipv4/tunnel4.ko: kernel/drivers/net/tun.ko\n", "tun"));
    }
}
