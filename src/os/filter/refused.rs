//! Lists of refused system calls (seccomp(2)), for processes that need more than a list of allowed ones can name: the
//! resolver, whose NSS modules are unknown, and the supervisor, which does every step.
//!
//! A refused call fails with EPERM. Whatever else such a process could do as the user that it is, it can do.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{ARGUMENT_32, BackendResult, install, refused};
use crate::os::cgroup::PROG_QUERY;

/// fchmodat2(2), which has the same number for all processors. libc lacks it for aarch64 with musl.
const FCHMODAT2: libc::c_long = 452;

/// Executing programs; debugging and reading other processes; loading code into the kernel; changing mounts, namespaces,
/// clocks; interfaces with a history of errors in the kernel.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_capset,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
];

/// Servers have no part in looking a name up, nor have other processes.
const RESOLVER: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_setns,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setfsgid,
];

/// The supervisor starts no process: its launcher does.
const SUPERVISOR: &[libc::c_long] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// It changes files by descriptors, and those that have none through its launcher: owner, mode, length, attributes and
/// links of every file of root's would else be its to change, which Landlock does not refuse.
const CHANGES_BY_NAME: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// The bits of a mode that a file never gets: set-user-ID, set-group-ID, and writing by group or others.
const BAD_MODE: u64 = 0o6022;

/// Numbers in the x32 ABI of calls that it numbers apart: execve, ptrace, kexec_load, process_vm_readv, process_vm_writev,
/// execveat.
#[cfg(target_arch = "x86_64")]
const X32: [libc::c_long; 6] = [520, 521, 528, 539, 540, 545];

/// The process that is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restricted {
    /// A process that looks up names or finds out why one was not resolved.
    Resolver,
    /// A supervisor; whether its tunnel is in another network namespace.
    Supervisor {
        /// `link.netns` is set.
        enters_namespace: bool,
        /// The kernel may move the tunnel's packets, which needs a PPTP socket.
        kernel_path: bool,
    },
}

/// Restricts this thread, irrevocably. Returns why there is no filter, if the kernel or the processor has none.
///
/// # Errors
/// Returns the kernel's error.
pub fn refuse_calls(process: Restricted) -> io::Result<Option<String>> {
    install(|arch| program(process, arch))
}

fn program(process: Restricted, arch: TargetArch) -> BackendResult<BpfProgram> {
    let mut calls = ALWAYS.to_vec();
    let mut rules = BTreeMap::new();
    let families: &[libc::c_int] = match process {
        Restricted::Resolver => {
            calls.extend_from_slice(RESOLVER);
            &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
        }
        Restricted::Supervisor { enters_namespace, kernel_path } => {
            calls.extend_from_slice(SUPERVISOR);
            calls.extend_from_slice(CHANGES_BY_NAME);
            rules.insert(libc::SYS_fchmod, bits(1, BAD_MODE)?);
            if !enters_namespace {
                calls.push(libc::SYS_setns);
            }
            // It only counts the programs of its control group.
            rules.insert(libc::SYS_bpf, vec![unless(0, &[PROG_QUERY])?]);
            const FAMILIES: [libc::c_int; 6] = [
                libc::AF_UNIX,
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
                libc::AF_PACKET,
                crate::os::ppp::AF_PPPOX,
            ];
            if kernel_path { &FAMILIES } else { FAMILIES.split_last().map_or(&[], |(_, others)| others) }
        }
    };
    let families: Vec<libc::c_long> = families.iter().map(|family| libc::c_long::from(*family)).collect();
    let mut sockets = vec![unless(0, &families)?];
    if matches!(process, Restricted::Supervisor { .. }) {
        // Programs that serve root at a Unix socket, such as systemd, would do for it what it may not do. Datagrams remain,
        // for syslog(3) and sd_notify(3).
        sockets.extend([connected(libc::SOCK_STREAM)?, connected(libc::SOCK_SEQPACKET)?]);
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    #[cfg(target_arch = "x86_64")]
    {
        /// The bit of a system call in the x32 ABI.
        const BIT: libc::c_long = 0x4000_0000;
        let twins: Vec<_> = rules.keys().map(|call| (*call | BIT, Vec::new())).collect();
        rules.extend(twins);
        rules.extend(X32.iter().map(|call| (*call | BIT, Vec::new())));
    }
    SeccompFilter::new(rules, SeccompAction::Allow, refused(), arch)?.try_into()
}

/// Returns a rule that fits unless an argument has one of these values.
fn unless(argument: u8, values: &[libc::c_long]) -> BackendResult<SeccompRule> {
    let other = |value: &libc::c_long| {
        SeccompCondition::new(argument, ARGUMENT_32, SeccompCmpOp::Ne, value.unsigned_abs())
    };
    SeccompRule::new(values.iter().map(other).collect::<BackendResult<_>>()?)
}

/// Returns a rule that fits socket(2) of this type in the family `AF_UNIX`.
fn connected(kind: libc::c_int) -> BackendResult<SeccompRule> {
    let number = |number: libc::c_int| u64::from(number.unsigned_abs());
    let family = SeccompCondition::new(0, ARGUMENT_32, SeccompCmpOp::Eq, number(libc::AF_UNIX))?;
    // The other bits are flags.
    let kind = SeccompCondition::new(1, ARGUMENT_32, SeccompCmpOp::MaskedEq(0xf), number(kind))?;
    SeccompRule::new(vec![family, kind])
}

/// Returns rules that fit if one of these bits is set in an argument.
fn bits(argument: u8, bits: u64) -> BackendResult<Vec<SeccompRule>> {
    let each = (0..u64::BITS).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
    each.map(|bit| {
        SeccompRule::new(vec![SeccompCondition::new(
            argument,
            ARGUMENT_32,
            SeccompCmpOp::MaskedEq(bit),
            bit,
        )?])
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{ErrorKind, Read},
        net::{ToSocketAddrs, UdpSocket},
        process::Command,
        thread,
    };

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    fn restricted<T: Send + 'static>(process: Restricted, test: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(move || {
            refuse_calls(process).unwrap();
            test()
        });
        thread.join().unwrap()
    }

    const SUPERVISOR: Restricted = Restricted::Supervisor { enters_namespace: false, kernel_path: false };

    #[test]
    fn programs_and_other_families_of_sockets_are_refused() {
        for process in [Restricted::Resolver, SUPERVISOR] {
            let refused = restricted(process, || {
                let vsock = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None);
                let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS);
                [
                    Command::new("/bin/true").spawn().map(drop).map_err(|error| error.kind()),
                    vsock.map(drop).map_err(|error| io::Error::from(error).kind()),
                    unshared.map_err(|error| io::Error::from(error).kind()),
                    nix::unistd::chroot("/").map_err(|error| io::Error::from(error).kind()),
                ]
            });
            assert_eq!(refused, [Err(ErrorKind::PermissionDenied); 4], "{process:?}");
        }
    }

    #[test]
    fn names_files_and_sockets_still_work() {
        for process in [Restricted::Resolver, SUPERVISOR] {
            restricted(process, || {
                assert!(("localhost", 1).to_socket_addrs().unwrap().next().is_some());
                let mut text = String::new();
                File::open("/etc/passwd").unwrap().read_to_string(&mut text).unwrap();
                assert!(!text.is_empty());
                UdpSocket::bind("127.0.0.1:0").unwrap().connect("127.0.0.1:9").unwrap();
            });
        }
    }

    #[test]
    fn supervisor_enters_namespaces_only_for_its_profile() {
        let enter = || {
            let own = File::open("/proc/thread-self/ns/net").unwrap();
            nix::sched::setns(own, nix::sched::CloneFlags::CLONE_NEWNET)
        };
        let before = enter();
        assert_eq!(
            restricted(Restricted::Supervisor { enters_namespace: true, kernel_path: false }, enter),
            before
        );
        assert_eq!(restricted(SUPERVISOR, enter), Err(nix::errno::Errno::EPERM));
    }

    #[test]
    fn supervisor_opens_pptp_sockets_only_for_the_kernels_path() {
        let open = || crate::os::ppp::pptp_socket().map(drop).map_err(|error| error.raw_os_error());
        let before = open();
        assert_eq!(
            restricted(Restricted::Supervisor { enters_namespace: false, kernel_path: true }, open),
            before
        );
        assert_eq!(restricted(SUPERVISOR, open), Err(Some(libc::EPERM)));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    #[expect(unsafe_code, reason = "the test makes a system call of the x32 ABI")]
    fn x32_calls_are_refused_too() {
        let errno = restricted(SUPERVISOR, || {
            // SAFETY: a null path makes execve(2) of the x32 ABI fail, whether a filter is in force or not.
            let result = unsafe { libc::syscall(0x4000_0000 | 520, 0, 0, 0) };
            (result, io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(errno, (-1, Some(libc::EPERM)));
    }

    #[test]
    fn supervisor_changes_files_by_descriptor_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        let seen = restricted(SUPERVISOR, move || {
            let by_name =
                |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).is_ok();
            let by_file = |mode| file.set_permissions(std::fs::Permissions::from_mode(mode)).is_ok();
            let owned = std::os::unix::fs::chown(&path, None, None).is_ok();
            let linked = std::os::unix::fs::symlink("/etc/passwd", path.with_extension("link")).is_ok();
            ([by_name(0o600), owned, linked], [0o600, 0o644, 0o4755, 0o2755, 0o666, 0o620].map(by_file))
        });
        assert_eq!(seen, ([false; 3], [true, true, false, false, false, false]));
    }

    #[test]
    fn supervisor_connects_to_no_service_of_this_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service");
        let _service = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let seen = restricted(SUPERVISOR, move || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let packets = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
            let datagrams = std::os::unix::net::UnixDatagram::unbound();
            let pair = std::os::unix::net::UnixStream::pair();
            let stream = std::os::unix::net::UnixStream::connect(path);
            (stream.is_err(), packets.is_err(), datagrams.is_ok(), pair.is_ok())
        });
        assert_eq!(seen, (true, true, true, true));
    }
}
