//! Every process of an account that was one run's alone: whether there is any, and their end.

use super::descendants;
use super::held_processes::{UNKILLABLE, held, look, wait_for_all};
use super::identity::assume_effective;
use super::root::Root;
use nix::errno::Errno;
use nix::unistd::Uid;
use std::time::{Duration, Instant};
use system::kernel::{self, Side};

/// Ends everything of an account that was one run's alone, whatever tree it has left: KILL to
/// all of them at once, from a process that none of them can reach. Gives how many were found
/// and how many are left; where the kernel does not say, at least one.
pub(super) fn clear_account(root: &Root, uid: Uid) -> (usize, usize) {
    if is_nobody(uid) {
        return (0, 0);
    }
    let of_account = || {
        let all = look()?.into_iter();
        Ok::<_, Errno>(all.filter(|seen| seen.uids.contains(&uid)).collect::<Vec<_>>())
    };
    let Ok(mut left) = of_account() else { return (1, 1) };
    let found = left.len();
    let until = Instant::now() + UNKILLABLE;
    while !left.is_empty() && Instant::now() < until {
        kill_all(root, uid);
        wait_for_all(held(left.iter()), Instant::now() + Duration::from_millis(100));
        let Ok(again) = of_account() else { return (found, 1) };
        left = again;
    }
    (found.max(left.len()), left.len())
}

/// Whether no process has this real uid, by the kernel's own word: a look at every process in /proc
/// takes 15 ms where there are a thousand. Who has it as effective and saved uid alone runs a program
/// that is set to it, and could begin that at any time. A zombie counts as a process. False where it
/// cannot be told.
pub(super) fn is_nobody(uid: Uid) -> bool {
    // Much hangs on it: two calls have to say so.
    let none = || kernel::has_process_of(uid) == Ok(false);
    none() && none()
}

/// In a child: KILL to every process whose real or saved uid is this one. The child's own real
/// and saved uid are nobody's, so it hits none of root's, and nothing of the account hits it.
fn kill_all(root: &Root, uid: Uid) {
    const NOBODYS: [u32; 2] = [u32::MAX - 1, 65_533];
    match kernel::fork() {
        Ok(Side::Child) => {
            for apart in NOBODYS {
                let who = Uid::from_raw(apart);
                if apart != uid.as_raw() && assume_effective(root, who, uid).is_ok() {
                    kernel::kill_every_process_of_euid();
                    break;
                }
            }
            kernel::exit_now(0)
        }
        Ok(Side::Parent(child)) => {
            let _ = kernel::wait_for_end(child);
            descendants::reap(child);
        }
        // The next look finds the processes that are left.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_processes_is_told_by_the_kernel() {
        let own = nix::unistd::getuid();
        assert!(!is_nobody(Uid::from_raw(0)), "there always is one of root's");
        assert!(!is_nobody(own));
        assert!(is_nobody(Uid::from_raw(3_999_999_999)));
    }
}
