//! The system calls that the engine and the processes of `pptp` may still make on Linux (seccomp(2)), once they have all
//! their descriptors; [`refuse_calls`] has those of other processes.
//!
//! This is a list of allowed calls; every other one fails with EPERM, which libraries handle as a refusal. A
//! compromised engine can therefore open no file and no socket, change no socket's address, reach no other
//! process and map no new code. The list has the calls that the event loop, the allocator and process exit
//! need in glibc and in musl. Not filtered, because a filter cannot dereference pointers: the destination of
//! packets on a raw socket.

mod refused;

use std::{collections::BTreeMap, env, io};

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

pub use refused::{Restricted, refuse_calls};

type BackendResult<T> = Result<T, seccompiler::BackendError>;

/// Arguments are compared as 32-bit numbers.
const ARGUMENT_32: SeccompCmpArgLen = SeccompCmpArgLen::Dword;

/// A request of ioctl(2).
const FIONBIO: u32 = 0x5421;

/// Allowed with any arguments.
const CALLS: &[libc::c_long] = &[
    // Packets, messages and the log.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Existing descriptors.
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    // Time, waiting, random numbers.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    // Memory, but see RESTRICTED.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Own signals, resource usage and exit.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrusage,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Allowed if none of these bits is set in the argument with this number.
const RESTRICTED: &[(libc::c_long, u8, libc::c_int)] =
    &[(libc::SYS_mmap, 2, libc::PROT_EXEC), (libc::SYS_mprotect, 2, libc::PROT_EXEC)];

/// Restricts this thread to the calls of an engine, irrevocably; `requests` are those of ioctl(2) that it may make.
///
/// # Errors
/// Returns the kernel's error. A kernel without seccomp and a processor without a filter are no errors; there, the
/// other restrictions must suffice, and the reason is returned.
pub fn restrict_to_engine_calls(requests: &[u32]) -> io::Result<Option<String>> {
    install(|arch| program(arch, ioctl_rules(requests)?))
}

/// Returns the rules that allow ioctl(2) with these requests, and no others.
fn ioctl_rules(requests: &[u32]) -> BackendResult<BTreeMap<i64, Vec<SeccompRule>>> {
    let rule = |request: &u32| {
        let request = SeccompCondition::new(1, ARGUMENT_32, SeccompCmpOp::Eq, u64::from(*request))?;
        SeccompRule::new(vec![request])
    };
    let rules = requests.iter().map(rule).collect::<BackendResult<Vec<_>>>()?;
    // A call without rules is allowed with any arguments.
    Ok(if rules.is_empty() { BTreeMap::new() } else { BTreeMap::from([(libc::SYS_ioctl, rules)]) })
}

/// Restricts this thread to the same calls and ioctl(2) with FIONBIO, by which the standard library makes a socket
/// non-blocking.
///
/// # Errors
/// As [`restrict_to_engine_calls`].
pub fn restrict_to_drop_in_calls() -> io::Result<Option<String>> {
    install(|arch| program(arch, ioctl_rules(&[FIONBIO])?))
}

/// Installs a filter. Returns why there is none if the kernel or the processor has none.
fn install(program: impl FnOnce(TargetArch) -> BackendResult<BpfProgram>) -> io::Result<Option<String>> {
    // The name is the same for both orders of bytes, and the filters are those of one: the other would be killed.
    let arch = TargetArch::try_from(env::consts::ARCH).ok().filter(|_| cfg!(target_endian = "little"));
    let Some(arch) = arch else {
        return Ok(Some(format!("there is none for this processor ({})", env::consts::ARCH)));
    };
    match apply_filter(&program(arch).map_err(io::Error::other)?) {
        Err(Error::Prctl(error) | Error::Seccomp(error)) if is_missing(&error) => {
            Ok(Some(format!("the kernel refuses seccomp(2): {error}")))
        }
        outcome => outcome.map(|()| None).map_err(io::Error::other),
    }
}

fn program(arch: TargetArch, more: BTreeMap<i64, Vec<SeccompRule>>) -> BackendResult<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    for (call, argument, bits) in RESTRICTED {
        let bits = u64::from(bits.unsigned_abs());
        let none = SeccompCondition::new(*argument, ARGUMENT_32, SeccompCmpOp::MaskedEq(bits), 0)?;
        rules.insert(*call, vec![SeccompRule::new(vec![none])?]);
    }
    // Only signals to this process, for abort(3).
    let own = u64::from(std::process::id());
    let own = SeccompCondition::new(0, ARGUMENT_32, SeccompCmpOp::Eq, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    rules.extend(more);
    SeccompFilter::new(rules, refused(), SeccompAction::Allow, arch)?.try_into()
}

/// Returns the action for a call that is refused.
const fn refused() -> SeccompAction {
    SeccompAction::Errno(Errno::EPERM as u32)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{ErrorKind, Read, Write},
        net::{TcpStream, UdpSocket},
        os::unix::net::UnixStream,
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Runs `test` in a new thread; the filter applies only to that thread.
    fn confined<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(|| {
            restrict_to_engine_calls(&[]).unwrap();
            test()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn existing_descriptors_and_memory_still_work() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"before").unwrap();
        let received = confined(move || {
            let mut received = [0; 6];
            ours.read_exact(&mut received).unwrap();
            ours.write_all(b"after").unwrap();
            // Memory from the allocator, and time.
            let big = vec![1_u8; 8 << 20];
            thread::sleep(Duration::from_millis(1));
            assert!(Instant::now().elapsed() < Duration::from_secs(60));
            (received, big.len())
        });
        assert_eq!(received, (*b"before", 8 << 20));
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "after");
    }

    #[test]
    fn files_sockets_and_processes_are_refused() {
        let (socket, parent) = (UdpSocket::bind("127.0.0.1:0").unwrap(), nix::unistd::getppid());
        let refused = confined(move || {
            [
                File::open("/etc/passwd").err(),
                File::create("/tmp/pptpctl-filter-test").err(),
                TcpStream::connect("127.0.0.1:1").err(),
                UdpSocket::bind("127.0.0.1:0").err(),
                socket.connect("127.0.0.1:9").err(),
                Command::new("/bin/true").spawn().err(),
                nix::sys::signal::kill(parent, None).err().map(io::Error::from),
            ]
            .map(|error| error.map(|error| error.kind()))
        });
        assert_eq!(refused, [Some(ErrorKind::PermissionDenied); 7]);
    }

    #[test]
    fn engine_makes_only_the_requests_that_it_was_given() {
        let fionread = u32::try_from(libc::FIONREAD).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let results = thread::spawn(move || {
            restrict_to_engine_calls(&[FIONBIO, crate::os::ppp::ENGINE_REQUESTS[0]]).unwrap();
            let allowed = ours.set_nonblocking(true).is_ok();
            // Known to the kernel, but not for this descriptor; and one that is not in the list.
            let unknown = crate::os::ppp::set_flags(&ours, 0).map_err(|error| error.raw_os_error());
            let refused = crate::os::ppp::set_mode(&ours, 0x21, true).map_err(|error| error.raw_os_error());
            (allowed, unknown, refused)
        });
        assert!(!crate::os::ppp::ENGINE_REQUESTS.contains(&fionread));
        assert_eq!(results.join().unwrap(), (true, Err(Some(libc::ENOTTY)), Err(Some(libc::EPERM))));
        assert_eq!(
            confined(|| crate::os::ppp::set_flags(io::stderr(), 0).unwrap_err().raw_os_error()),
            Some(libc::EPERM)
        );
    }

    #[test]
    fn processes_of_pptp_log_without_blocking() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let results = thread::spawn(move || {
            restrict_to_drop_in_calls().unwrap();
            let opened = File::open("/etc/passwd").map(drop).map_err(|error| error.kind());
            (ours.set_nonblocking(true).is_ok(), opened)
        });
        assert_eq!(results.join().unwrap(), (true, Err(ErrorKind::PermissionDenied)));
    }

    #[test]
    #[expect(unsafe_code, reason = "the test calls mmap(2) directly")]
    fn executable_mappings_are_refused() {
        let map = |protection| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address that the kernel chooses; it is never accessed nor unmapped.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error().kind()) } else { Ok(()) }
        };
        let data = libc::PROT_READ | libc::PROT_WRITE;
        let results = confined(move || {
            [map(data), map(libc::PROT_READ | libc::PROT_EXEC), map(data | libc::PROT_EXEC)]
        });
        assert_eq!(results, [Ok(()), Err(ErrorKind::PermissionDenied), Err(ErrorKind::PermissionDenied)]);
    }
}
