//! The resource limits that the starter has set for a job, where the job does not descend from the
//! process that the starter has made for it.

use std::ffi::OsStr;
use std::io;
use system::kernel::{Limit, Resource, limit};

/// How many resources there are (`RLIM_NLIMITS`, asm-generic/resource.h).
const RESOURCES: Resource = 16;

/// This process's limits, soft and hard of each resource, as one word.
///
/// # Errors
/// getrlimit(2)'s.
pub(crate) fn own() -> io::Result<String> {
    let mut all = Vec::new();
    for resource in 0..RESOURCES {
        let Limit { soft, hard } = limit(resource, None)?;
        all.push(format!("{soft}:{hard}"));
    }
    Ok(all.join(","))
}

/// Takes limits as [`own`] gives them; none of an empty word. What is more than this process may have
/// stays what it is.
///
/// # Errors
/// It is no such word, or the kernel's.
pub(crate) fn take(word: &OsStr) -> io::Result<()> {
    if word.is_empty() {
        return Ok(());
    }
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "the job's limits cannot be read");
    let mut given = word.to_str().ok_or_else(none)?.split(',');
    for resource in 0..RESOURCES {
        let (soft, hard) = given.next().and_then(|one| one.split_once(':')).ok_or_else(none)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| none());
        let most = limit(resource, None)?.hard;
        let hard = number(hard)?.min(most);
        limit(resource, Some(Limit { soft: number(soft)?.min(hard), hard }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_ones_own_change_nothing_and_what_is_no_limit_is_told() {
        let before = own().unwrap();
        take(OsStr::new(&before)).unwrap();
        assert_eq!(own().unwrap(), before);
        take(OsStr::new("")).unwrap();
        for bad in ["1:1", "x", "1:1,2", &before.replace(':', ";")] {
            assert!(take(OsStr::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(before.split(',').count(), 16);
    }
}
