//! Reads a [`stream`](super::stream) into a directory. Whoever wrote it gets no further than that
//! directory: every entry is made anew in a directory that was just made, by its plain name, and
//! nothing that is there is opened, followed or replaced.

use super::links::stays_inside;
use super::pack::LeftOut;
use super::room::Room;
use super::stream::{Entry, Head, expect_begin, take_content};
use adapter::tree::about;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::symlinkat;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// More than [`pack`](super::pack::pack) writes.
const DEEPEST: usize = 256;

/// What is not taken from a stream.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// These names at the top.
    pub(crate) skip: &'a [&'a OsStr],
    /// Links that lead out of this directory, as which it will be known.
    pub(crate) inside: Option<&'a Path>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An error with the name of the entry that it is about.
fn of(head: &Head) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{:?}: {error}", head.name))
}

const fn times(head: &Head) -> TimeSpec {
    TimeSpec::new(head.modified.0, head.modified.1)
}

/// Without what lets others write, as tar would make it: who can write in a directory that has come
/// back can put a link there, and the starter would follow it to a file of the pilot's.
fn permissions(head: &Head) -> Mode {
    Mode::from_bits_truncate(head.mode & !0o022)
}

/// One unpacking: the directories from the top to where the stream is now.
struct Unpacker<'a> {
    top: BorrowedFd<'a>,
    below: Vec<(OwnedFd, Head)>,
    rules: Rules<'a>,
    left: LeftOut,
    room: Room,
}

/// Reads a stream to its end. A stream that ends early is an error, and one that has more than there
/// is [`Room`] for.
pub(crate) fn unpack(
    top: BorrowedFd<'_>,
    input: &mut impl Read,
    rules: Rules<'_>,
) -> io::Result<LeftOut> {
    unpack_within(top, input, rules, Room::of(top)?)
}

fn unpack_within(
    top: BorrowedFd<'_>,
    input: &mut impl Read,
    rules: Rules<'_>,
    room: Room,
) -> io::Result<LeftOut> {
    expect_begin(input)?;
    let left = LeftOut::default();
    let mut unpacker = Unpacker { top, below: Vec::new(), rules, left, room };
    loop {
        match Entry::take(input)? {
            Entry::Directory(head) => unpacker.down(head)?,
            Entry::File(head) => unpacker.file(&head, input)?,
            Entry::Link(head, target) => unpacker.link(&head, &target)?,
            Entry::Up => unpacker.up()?,
            Entry::End if unpacker.below.is_empty() => return Ok(unpacker.left),
            Entry::End => return Err(bad("it ends in a directory")),
        }
    }
}

impl Unpacker<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.below.last().map_or(self.top, |(directory, _)| directory.as_fd())
    }

    fn is_skipped(&self, head: &Head) -> bool {
        self.below.is_empty() && self.rules.skip.contains(&head.name.as_os_str())
    }

    fn down(&mut self, head: Head) -> io::Result<()> {
        if self.below.len() >= DEEPEST {
            return Err(bad("directories are nested too deep"));
        }
        if self.is_skipped(&head) {
            return Err(bad("a directory has a name that is not the target's"));
        }
        self.room.entry().map_err(of(&head))?;
        let here = self.here();
        let name = head.name.as_os_str();
        mkdirat(here, name, Mode::S_IRWXU).map_err(about(name))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let inner = openat(here, name, flags, Mode::empty()).map_err(about(name))?;
        self.below.push((inner, head));
        Ok(())
    }

    fn up(&mut self) -> io::Result<()> {
        let Some((directory, head)) = self.below.pop() else {
            return Err(bad("it leaves the sandbox"));
        };
        futimens(&directory, &times(&head), &times(&head)).map_err(about(&head.name))?;
        fchmod(&directory, permissions(&head)).map_err(about(&head.name))
    }

    fn file(&mut self, head: &Head, input: &mut impl Read) -> io::Result<()> {
        if self.is_skipped(head) {
            return take_content(input, &mut io::sink(), |_| Ok(()));
        }
        self.room.entry().map_err(of(head))?;
        let name = head.name.as_os_str();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(self.here(), name, flags | OFlag::O_CLOEXEC, mode);
        let mut file = File::from(file.map_err(about(name))?);
        let room = &mut self.room;
        take_content(input, &mut file, |length| room.data(length)).map_err(of(head))?;
        fchmod(&file, permissions(head)).map_err(about(name))?;
        futimens(&file, &times(head), &times(head)).map_err(about(name))
    }

    fn link(&mut self, head: &Head, target: &OsStr) -> io::Result<()> {
        let leaves = |sandbox| !stays_inside(target, self.below.len(), sandbox);
        if self.is_skipped(head) || self.rules.inside.is_some_and(leaves) {
            self.left.links += 1;
            return Ok(());
        }
        self.room.entry().map_err(of(head))?;
        let name = head.name.as_os_str();
        symlinkat(target, self.here(), name).map_err(about(name))?;
        let flag = UtimensatFlags::NoFollowSymlink;
        utimensat(self.here(), name, &times(head), &times(head), flag).map_err(about(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::pack;
    use super::super::stream::{begin, put_data, put_end};
    use super::*;
    use adapter::tree::{clear, open_directory, remove};
    use proptest::prelude::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn packed(directory: &Path) -> (Vec<u8>, LeftOut) {
        let mut bytes = Vec::new();
        let left = pack(open_directory(directory).unwrap().as_fd(), &mut bytes, &[]).unwrap();
        (bytes, left)
    }

    fn unpacked(bytes: &[u8], rules: Rules<'_>) -> (TempDir, io::Result<LeftOut>) {
        let to = TempDir::new().unwrap();
        let result = unpack(open_directory(to.path()).unwrap().as_fd(), &mut &*bytes, rules);
        (to, result)
    }

    #[test]
    fn a_tree_comes_out_as_it_went_in() {
        let from = TempDir::new().unwrap();
        let at = |name: &str| from.path().join(name);
        fs::create_dir_all(at("-d/ü e/f")).unwrap();
        for (name, mode) in
            [("a b", 0o666), ("-rf", 0o755), ("new\nline", 0o640), ("-d/ü e/x", 0o4711)]
        {
            fs::write(at(name), name.repeat(20_000)).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(at("-d/ü e"), Permissions::from_mode(0o500)).unwrap();
        symlink("-d/ü e/x", at("link")).unwrap();
        symlink("/nowhere", at("away")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let (bytes, left) = packed(from.path());
        assert_eq!(left, LeftOut { special: 1, ..LeftOut::default() });
        let (to, result) = unpacked(&bytes, Rules::default());
        assert!(result.unwrap().is_nothing());
        for name in ["a b", "-rf", "new\nline", "-d/ü e/x", "-d/ü e"] {
            let (old, new) =
                (fs::metadata(at(name)).unwrap(), fs::metadata(to.path().join(name)).unwrap());
            // But for what would let others write.
            assert_eq!(new.mode() & 0o7777, old.mode() & 0o755, "{name:?}");
            assert_eq!((new.mtime(), new.mtime_nsec()), (old.mtime(), old.mtime_nsec()));
        }
        assert_eq!(fs::read(to.path().join("link")).unwrap(), "-d/ü e/x".repeat(20_000).as_bytes());
        assert_eq!(fs::read_link(to.path().join("away")).unwrap(), Path::new("/nowhere"));
        remove(to.path()).unwrap();
        assert!(!to.path().exists());
    }

    #[test]
    fn directories_nested_without_end_are_left_out_and_removed() {
        let from = TempDir::new().unwrap();
        let mut at = open_directory(from.path()).unwrap();
        for _ in 0..1000 {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = openat(&at, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        let (bytes, left) = packed(from.path());
        assert_eq!(left.deep, 1);
        unpacked(&bytes, Rules::default()).1.unwrap();
        clear(open_directory(from.path()).unwrap().as_fd(), &[]).unwrap();
        assert_eq!(fs::read_dir(from.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_forged_stream_writes_nothing_outside() {
        let head = |name: &str| Head { name: name.into(), mode: 0o644, modified: (0, 0) };
        let outside = TempDir::new().unwrap();
        let forged = |entries: &[Entry]| {
            let mut bytes = Vec::new();
            begin(&mut bytes).unwrap();
            for entry in entries {
                entry.put(&mut bytes).unwrap();
                if matches!(entry, Entry::File(_)) {
                    put_data(&mut bytes, b"bad").unwrap();
                    put_end(&mut bytes).unwrap();
                }
            }
            bytes
        };
        let link = |name: &str| Entry::Link(head(name), outside.path().into());
        let (a, f) = (|| Entry::Directory(head("a")), |name: &str| Entry::File(head(name)));
        let all: [&[Entry]; 9] = [
            &[Entry::Up, f("x"), Entry::End],
            &[link("a"), a(), f("x"), Entry::Up, Entry::End],
            &[Entry::Link(head("l"), outside.path().join("x").into()), f("l"), Entry::End],
            &[f("../x"), Entry::End],
            &[f("/tmp/x"), Entry::End],
            &[Entry::Directory(head("..")), f("x"), Entry::Up, Entry::End],
            &[f("x"), f("x"), Entry::End],
            &[a(), Entry::End],
            &[f("x")],
        ];
        for entries in all {
            let (_to, result) = unpacked(&forged(entries), Rules::default());
            assert!(result.is_err(), "{entries:?}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        }
        let rules = Rules { skip: &[OsStr::new("proxy")], inside: Some(Path::new("/s")) };
        let entries = [f("proxy"), link("a"), a(), f("x"), Entry::Up, Entry::End];
        let (to, result) = unpacked(&forged(&entries), rules);
        assert_eq!(result.unwrap().links, 1);
        assert!(to.path().join("a/x").is_file() && !to.path().join("proxy").exists());
    }

    #[test]
    fn a_forged_stream_is_not_nested_without_end() {
        let nested = |depth: usize| {
            let head = || Head { name: "d".into(), mode: 0o755, modified: (0, 0) };
            let mut bytes = Vec::new();
            begin(&mut bytes).unwrap();
            (0..depth).for_each(|_| Entry::Directory(head()).put(&mut bytes).unwrap());
            (0..depth).for_each(|_| Entry::Up.put(&mut bytes).unwrap());
            Entry::End.put(&mut bytes).unwrap();
            let (to, result) = unpacked(&bytes, Rules::default());
            remove(to.path()).unwrap();
            result.is_ok()
        };
        assert!(nested(DEEPEST));
        assert!(!nested(DEEPEST + 1));
    }

    #[test]
    fn a_length_that_nothing_follows_is_an_early_end() {
        let mut bytes = b"sandbox2F\0\x01x\0\0\x01\xa4".to_vec();
        bytes.extend([0; 16]);
        bytes.push(b'd');
        bytes.extend([0xff; 4]);
        bytes.extend([1; 100]);
        assert!(unpacked(&bytes, Rules::default()).1.is_err());
        assert!(unpacked(b"sandbox2F\xff\xff", Rules::default()).1.is_err());
        assert!(unpacked(b"", Rules::default()).1.is_err());
    }

    #[test]
    fn holes_stay_holes() {
        let from = TempDir::new().unwrap();
        let path = from.path().join("sparse");
        let file = File::create(&path).unwrap();
        let pieces: [(u64, &[u8]); 3] = [(0, b"begin"), (1 << 30, b"middle"), (3 << 30, b"end")];
        for (at, text) in pieces {
            std::os::unix::fs::FileExt::write_all_at(&file, text, at).unwrap();
        }
        file.set_len(4 << 30).unwrap();
        File::create(from.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        fs::write(from.path().join("full"), vec![0; 300_000]).unwrap();
        let (bytes, _) = packed(from.path());
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let (to, result) = unpacked(&bytes, Rules::default());
        result.unwrap();
        let data = |name: &str| fs::metadata(to.path().join(name)).unwrap();
        assert_eq!((data("sparse").len(), data("hole").len()), (4 << 30, 1 << 40));
        assert!(data("sparse").blocks() < 2000 && data("hole").blocks() < 100);
        assert_eq!(fs::read(to.path().join("full")).unwrap(), vec![0; 300_000]);
        let copy = File::open(to.path().join("sparse")).unwrap();
        for (at, text) in pieces {
            let mut read = vec![1; text.len() + 8];
            std::os::unix::fs::FileExt::read_exact_at(&copy, &mut read, at).unwrap();
            assert_eq!(read, [text, &[0; 8]].concat());
        }
    }

    #[test]
    fn a_stream_gets_no_more_than_there_is_room_for() {
        let head = |name: &str| Head { name: name.into(), mode: 0o755, modified: (0, 0) };
        let within = |bytes: &[u8], room: Room| {
            let to = TempDir::new().unwrap();
            let directory = open_directory(to.path()).unwrap();
            let result = unpack_within(directory.as_fd(), &mut &*bytes, Rules::default(), room);
            let made = all_below(to.path()).len();
            (result.map_err(|error| error.kind()), made)
        };
        let full = Err(io::ErrorKind::StorageFull);
        // Entries without end.
        let mut bytes = Vec::new();
        begin(&mut bytes).unwrap();
        for number in 0..1000 {
            Entry::Directory(head(&number.to_string())).put(&mut bytes).unwrap();
            Entry::Up.put(&mut bytes).unwrap();
        }
        let room = Room { bytes: u64::MAX, entries: 10 };
        assert_eq!(within(&bytes, room), (full, 10));
        assert_eq!(within(&bytes, Room { bytes: 50_000, entries: 1000 }), (full, 12));
        // Bytes without end: nothing of a piece that is too much is written.
        let mut bytes = Vec::new();
        begin(&mut bytes).unwrap();
        Entry::File(head("f")).put(&mut bytes).unwrap();
        for _ in 0..100 {
            put_data(&mut bytes, &[1; 60_000]).unwrap();
        }
        assert_eq!(within(&bytes, Room { bytes: 1 << 20, entries: 10 }), (full, 1));
        let real = Room::of(open_directory(Path::new("/tmp")).unwrap().as_fd()).unwrap();
        assert!(real.bytes > 0 && real.entries > 0 && real.entries <= 1_000_000);
    }

    /// An entry of a stream that somebody made up: names that meet each other and links that lead
    /// out are likely.
    fn made_up(outside: &'static str) -> impl Strategy<Value = Entry> {
        let name = prop_oneof![Just("a"), Just("b"), Just("kept"), Just(".x")];
        let head = name.prop_map(|name| Head { name: name.into(), mode: 0o755, modified: (1, 0) });
        let target = prop_oneof![
            Just(outside),
            Just(".."),
            Just("."),
            Just("a"),
            Just("../.."),
            Just("a/..")
        ];
        prop_oneof![
            head.clone().prop_map(Entry::Directory),
            head.clone().prop_map(Entry::File),
            (head, target).prop_map(|(head, target)| Entry::Link(head, target.into())),
            Just(Entry::Up),
        ]
    }

    /// Everything below a directory, links not followed.
    fn all_below(directory: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            all.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                all.extend(all_below(&entry.path()));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn no_stream_gets_out_or_leaves_a_way_out(
            entries in proptest::collection::vec(made_up("/proc/self/root"), 0..30)
        ) {
            let mut bytes = Vec::new();
            begin(&mut bytes).unwrap();
            for entry in &entries {
                entry.put(&mut bytes).unwrap();
                if matches!(entry, Entry::File(_)) {
                    put_data(&mut bytes, b"content").unwrap();
                    put_end(&mut bytes).unwrap();
                }
            }
            Entry::End.put(&mut bytes).unwrap();
            let base = TempDir::new().unwrap();
            let to = base.path().join("sandbox");
            fs::create_dir(&to).unwrap();
            fs::write(to.join("kept"), "ours").unwrap();
            let rules = Rules { skip: &[OsStr::new("kept")], inside: Some(&to) };
            let directory = open_directory(&to).unwrap();
            let _ = unpack(directory.as_fd(), &mut bytes.as_slice(), rules);
            prop_assert_eq!(fs::read(to.join("kept")).unwrap(), b"ours");
            prop_assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
            for path in all_below(&to) {
                if let Ok(there) = fs::canonicalize(&path) {
                    prop_assert!(there.starts_with(fs::canonicalize(&to).unwrap()), "{path:?}");
                }
            }
        }
    }
}
