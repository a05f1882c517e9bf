//! Restricts the system calls of a compiler, by seccomp.
//!
//! A list of what is allowed is stricter than one of what is not, and does not go out of date
//! as kernels grow; but a C library may use a new call at any time, on each processor another.
//! So a call that is not listed fails as if the kernel did not have it. Libraries are prepared
//! for that, since they run on older kernels too. The few calls that a compiler never makes by
//! itself, and that are worth most to somebody who has taken it over, end the process, so that
//! they are noticed.

use std::collections::BTreeMap;

use libc::{CLONE_THREAD, ENOSYS, O_ACCMODE, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// The rules for each system call; without a rule, every call is meant.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What a compiler needs.
const ALLOWED: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads. `clone3` is absent because its arguments cannot be seen here; all C libraries
    // use `clone` instead if they have to.
    libc::SYS_clone,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_prctl,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals, to itself only.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Its pipes, and files that it only reads.
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // What it can know about the machine and itself.
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// The older names of some of these.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];

#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// What ends a compiler.
const FORBIDDEN: &[c_long] = &[
    // The network.
    libc::SYS_connect,
    libc::SYS_socket,
    libc::SYS_socketpair,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_kill,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Parts of the kernel that many attacks on it begin with.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_perf_event_open,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    // Names of files.
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
];

#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_fork,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_vfork,
];

#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[c_long] = &[];

/// Restricts the calling thread and those that it starts. Processes under an emulator, as when
/// an image is built for another processor, cannot be restricted, and are left as they are.
pub(super) fn restrict() -> Result<(), Error> {
    let forbidden = program(
        forbidden()?,
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )?;
    let absent = SeccompAction::Errno(ENOSYS.cast_unsigned());
    let allowed = program(allowed()?, absent, SeccompAction::Allow)?;
    // Of two filters the kernel heeds the stricter answer. The second cannot be installed
    // before the first, because it does not allow that.
    match apply_filter(&forbidden) {
        Err(Error::Seccomp(error))
            if [Some(ENOSYS), Some(libc::EINVAL)].contains(&error.raw_os_error()) =>
        {
            return Ok(());
        }
        applied => applied?,
    }
    apply_filter(&allowed)
}

/// The system calls that end the process.
fn forbidden() -> Result<Rules, BackendError> {
    let mut rules = all_of(FORBIDDEN, FORBIDDEN_HERE);
    // A process of its own, which is what a call without this flag makes.
    rules.insert(libc::SYS_clone, vec![rule(0, CLONE_THREAD, 0)?]);
    for (call, flags) in opening() {
        let write = [
            rule(flags, O_ACCMODE, O_WRONLY)?,
            rule(flags, O_ACCMODE, O_RDWR)?,
            rule(flags, O_CREAT, O_CREAT)?,
            rule(flags, O_TRUNC, O_TRUNC)?,
        ];
        rules.insert(call, write.into());
    }
    // A signal to another process, and another one's limits; 0 is this process.
    let other = vec![is_not(0, std::process::id())?];
    rules.insert(libc::SYS_tgkill, other);
    rules.insert(libc::SYS_prlimit64, vec![is_not(0, 0)?]);
    Ok(rules)
}

/// The system calls that work.
fn allowed() -> Result<Rules, BackendError> {
    let mut rules = all_of(ALLOWED, ALLOWED_HERE);
    for (call, flags) in opening() {
        // No mode of access is the one for reading.
        rules.insert(call, vec![rule(flags, O_ACCMODE | O_CREAT | O_TRUNC, 0)?]);
    }
    Ok(rules)
}

fn all_of(calls: &[c_long], here: &[c_long]) -> Rules {
    let calls = calls.iter().chain(here);
    calls.map(|call| (*call, Vec::new())).collect()
}

/// The system calls that open files, and which of their arguments has the flags.
fn opening() -> impl Iterator<Item = (c_long, u8)> {
    let openat = (libc::SYS_openat, 2);
    #[cfg(target_arch = "x86_64")]
    return [openat, (libc::SYS_open, 1)].into_iter();
    #[cfg(not(target_arch = "x86_64"))]
    return [openat].into_iter();
}

/// Calls in whose argument the bits of `mask` are those of `value`.
fn rule(argument: u8, mask: i32, value: i32) -> Result<SeccompRule, BackendError> {
    let bits = |flags: i32| u64::from(flags.cast_unsigned());
    let operator = SeccompCmpOp::MaskedEq(bits(mask));
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bits(value))?;
    SeccompRule::new(vec![condition])
}

/// Calls whose argument is another number.
fn is_not(argument: u8, value: u32) -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Dword;
    let condition = SeccompCondition::new(argument, length, SeccompCmpOp::Ne, value.into())?;
    SeccompRule::new(vec![condition])
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let processor = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, matched, processor)?.try_into()
}
