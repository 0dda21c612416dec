//! Tests that need a process of their own: to be killed, or to live under a limit. Such a test runs
//! itself again, alone, in a child process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the test `test` of the module `module` (`module_path!()`) in a child process.
pub(crate) fn spawn_child(module: &str, test: &str, path: &Path) -> Child {
    let module = module.split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture", "--test-threads", "1"])
        .env(format!("PURKINJE_CHILD_{test}"), path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The path that [`spawn_child`] was given, in the child.
pub(crate) fn child_path(test: &str) -> Option<PathBuf> {
    std::env::var_os(format!("PURKINJE_CHILD_{test}")).map(PathBuf::from)
}

/// Bounds the files of this process to `bytes`, or to what is allowed at most.
pub(crate) fn limit_file_size(bytes: Option<u64>) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for both calls, which keep no pointer to it.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
        limit.rlim_cur = bytes.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}
