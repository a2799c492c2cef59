//! A sandbox on its way through a pipe: one entry after the other, directories as a way down and
//! a way up, so that no entry has a path, only a name. Who writes it may be the payload: what is
//! read is checked, and no length in it makes anybody allocate.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

const MAGIC: &[u8; 8] = b"sandbox2";
/// PATH_MAX.
const LONGEST: usize = 4096;

/// Name, permissions and time of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: OsString,
    pub(crate) mode: u32,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// What follows, until the matching [`Entry::Up`], is in it.
    Directory(Head),
    /// Its content follows, in pieces.
    File(Head),
    /// With its target.
    Link(Head, OsString),
    /// The directory is complete.
    Up,
    /// So is the sandbox.
    End,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn put_text(out: &mut impl Write, text: &OsStr) -> io::Result<()> {
    let length = u16::try_from(text.len()).map_err(|_| bad("a name is too long"))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(text.as_bytes())
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(input: &mut impl Read) -> io::Result<OsString> {
    let length = usize::from(u16::from_be_bytes(array(input)?));
    if length > LONGEST {
        return Err(bad("a name is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(bad("a name is empty or has a NUL in it"));
    }
    Ok(OsString::from_vec(bytes))
}

impl Head {
    fn put(&self, out: &mut impl Write) -> io::Result<()> {
        put_text(out, &self.name)?;
        out.write_all(&self.mode.to_be_bytes())?;
        out.write_all(&self.modified.0.to_be_bytes())?;
        out.write_all(&self.modified.1.to_be_bytes())
    }

    fn take(input: &mut impl Read) -> io::Result<Self> {
        let name = text(input)?;
        let bytes = name.as_bytes();
        if bytes.contains(&b'/') || bytes == b"." || bytes == b".." {
            return Err(bad("a name is a path"));
        }
        let mode = u32::from_be_bytes(array(input)?);
        let seconds = i64::from_be_bytes(array(input)?);
        let nanoseconds = i64::from_be_bytes(array(input)?);
        if mode > 0o777 || !(0..1_000_000_000).contains(&nanoseconds) {
            return Err(bad("permissions or a time are none"));
        }
        Ok(Self { name, mode, modified: (seconds, nanoseconds) })
    }
}

/// Begins a stream.
pub(crate) fn begin(out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)
}

/// Reads the beginning of a stream.
pub(crate) fn expect_begin(input: &mut impl Read) -> io::Result<()> {
    if &array::<8>(input)? == MAGIC { Ok(()) } else { Err(bad("this is no sandbox")) }
}

impl Entry {
    pub(crate) fn put(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Directory(head) => out.write_all(b"D").and_then(|()| head.put(out)),
            Self::File(head) => out.write_all(b"F").and_then(|()| head.put(out)),
            Self::Link(head, target) => {
                out.write_all(b"L")?;
                head.put(out)?;
                put_text(out, target)
            }
            Self::Up => out.write_all(b"U"),
            Self::End => out.write_all(b"E"),
        }
    }

    pub(crate) fn take(input: &mut impl Read) -> io::Result<Self> {
        match &array::<1>(input)? {
            b"D" => Head::take(input).map(Self::Directory),
            b"F" => Head::take(input).map(Self::File),
            b"L" => Ok(Self::Link(Head::take(input)?, text(input)?)),
            b"U" => Ok(Self::Up),
            b"E" => Ok(Self::End),
            _ => Err(bad("an entry is of no known kind")),
        }
    }
}

/// Some bytes of a file.
pub(crate) fn put_data(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| bad("a piece is too long"))?;
    out.write_all(b"d")?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(bytes)
}

/// So many bytes of which the file has none.
pub(crate) fn put_hole(out: &mut impl Write, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    out.write_all(b"h")?;
    out.write_all(&length.to_be_bytes())
}

/// The file is complete.
pub(crate) fn put_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"e")
}

/// What takes a file's content.
pub(crate) trait Content: Write {
    /// So many bytes that are not there.
    fn hole(&mut self, length: u64) -> io::Result<()>;
    /// That was all.
    fn end(&mut self) -> io::Result<()>;
}

impl Content for File {
    fn hole(&mut self, length: u64) -> io::Result<()> {
        let length = i64::try_from(length).map_err(|_| bad("a hole is too long"))?;
        self.seek(SeekFrom::Current(length)).map(drop)
    }

    fn end(&mut self) -> io::Result<()> {
        let length = self.stream_position()?;
        self.set_len(length)
    }
}

impl Content for io::Sink {
    fn hole(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the content of one file; `may` is asked before so many bytes are written.
pub(crate) fn take_content(
    input: &mut impl Read,
    to: &mut impl Content,
    mut may: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match &array::<1>(input)? {
            b"d" => {
                let length = u64::from(u32::from_be_bytes(array(input)?));
                may(length)?;
                if io::copy(&mut input.by_ref().take(length), to)? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            b"h" => to.hole(u64::from_be_bytes(array(input)?))?,
            b"e" => return to.end(),
            _ => return Err(bad("a piece is of no known kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(name: &[u8]) -> Head {
        Head { name: OsString::from_vec(name.to_vec()), mode: 0o640, modified: (-5, 7) }
    }

    #[test]
    fn entries_come_as_they_went() {
        let all = [
            Entry::Directory(head(b"-rf *\n\xff")),
            Entry::File(head(b"f")),
            Entry::Link(head(b"l"), "../x".into()),
            Entry::Up,
            Entry::End,
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|entry| entry.put(&mut bytes).unwrap());
        let mut input = bytes.as_slice();
        assert!(all.iter().all(|entry| &Entry::take(&mut input).unwrap() == entry));
        assert!(input.is_empty() && Entry::take(&mut input).is_err());
    }

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "../x"] {
            let mut bytes = Vec::new();
            Entry::File(head(name.as_bytes())).put(&mut bytes).unwrap();
            assert!(Entry::take(&mut bytes.as_slice()).is_err(), "{name:?}");
        }
        let mut bytes = Vec::new();
        Entry::File(Head { mode: 0o4755, ..head(b"f") }).put(&mut bytes).unwrap();
        assert!(Entry::take(&mut bytes.as_slice()).is_err(), "setuid");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_name_that_leads_elsewhere(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut input = bytes.as_slice();
            while let Ok(entry) = Entry::take(&mut input) {
                let name = match entry {
                    Entry::Directory(head) | Entry::File(head) | Entry::Link(head, _) => head.name,
                    Entry::Up | Entry::End => continue,
                };
                prop_assert!(!name.is_empty() && !name.as_bytes().contains(&b'/') && name != "..");
            }
            let _ = take_content(&mut bytes.as_slice(), &mut io::sink(), |_| Ok(()));
        }
    }
}
