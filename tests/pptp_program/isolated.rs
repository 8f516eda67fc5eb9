//! Runs this program again as the first process of new namespaces; when it exits, the kernel kills all
//! processes in them.

use std::process::{Command, Stdio};

/// Returns a command for that, with new network, mount and pid namespaces, an empty /run, and a /dev with
/// these nodes and new ptys. `variable` is set in the inner program, to distinguish it from the outer. Needs
/// root.
pub fn isolated_command(variable: &str, nodes: &str) -> Command {
    let setup = format!(
        "set -e
        mount -t tmpfs tmp /run
        mkdir -p /run/dev && mount -t tmpfs tmp /run/dev && mkdir /run/dev/pts /run/dev/shm /run/dev/net
        for node in {nodes}; do : >/run/dev/$node; mount --bind /dev/$node /run/dev/$node; done
        mount -t devpts -o newinstance,ptmxmode=666 devpts /run/dev/pts; ln -s pts/ptmx /run/dev/ptmx
        ln -s /proc/self/fd /run/dev/fd
        mount --move /run/dev /dev
        ip link set lo up
        # Whoever runs this may ignore SIGHUP (nohup does) or SIGINT, and a child inherits that.
        exec env --default-signal {variable}=1 \"$@\""
    );
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", &setup, "world"])
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::null());
    command
}
