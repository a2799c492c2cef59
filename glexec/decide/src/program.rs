//! What the kernel does with a program by its first bytes: which other program it starts for it
//! (execve(2), elf(5)).

use nix::errno::Errno;
use system::text::{cut, escaped};

/// So many bytes of a file say what it is. The kernel itself reads fewer of a script.
pub const HEAD: usize = 4096;
/// Longest name of an interpreter: older kernels (before 5.1) cut a script's line off at byte 127,
/// and would start what the rest names.
const LONGEST_LINE: usize = 127;
/// Most bytes of program headers that the kernel reads.
const MOST_HEADERS: usize = 65_536;
/// Longest name that is shown of a command, or what follows it would be lost.
const LONGEST_SHOWN: usize = 1024;
/// Longest name of a loader, its NUL included (`PATH_MAX`).
const LONGEST_LOADER: usize = 4096;

/// What a file is, as far as the kernel can execute it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'h> {
    /// A script, and the interpreter that its first line names.
    Script(&'h str),
    /// A program of this machine.
    Elf(Headers),
}

/// Where an ELF file's program headers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Bytes from the begin of the file.
    pub offset: u64,
    /// Bytes.
    pub length: usize,
    /// 64 bits, not 32.
    wide: bool,
}

/// Where the name of an ELF file's loader is, its NUL included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loader {
    /// Bytes from the begin of the file.
    pub offset: u64,
    /// Bytes.
    pub length: usize,
}

/// What a file is by its first [`HEAD`] bytes, or all of them where it is shorter.
///
/// # Errors
/// One clause, to follow the file's name.
pub fn kind(head: &[u8]) -> Result<Kind<'_>, &'static str> {
    if let Some(rest) = head.strip_prefix(b"#!") {
        return interpreter(rest).map(Kind::Script);
    }
    if head.starts_with(b"\x7fELF") {
        return headers(head).map(Kind::Elf);
    }
    Err("is neither a script that begins with `#!` nor a program of this machine")
}

/// The name in a script's first line, of which `rest` is what follows `#!`.
fn interpreter(rest: &[u8]) -> Result<&str, &'static str> {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(
            "has a carriage return at the end of its `#!` line; write it with the ends of lines of Unix",
        );
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let named = line.get(begin..).unwrap_or_default();
    let length = named.iter().position(|byte| blank(byte) || *byte == 0).unwrap_or(named.len());
    if begin + length + b"#!".len() > LONGEST_LINE {
        return Err("has a `#!` line that the kernel cuts off; use a shorter name");
    }
    let name = named.get(..length).unwrap_or_default();
    match std::str::from_utf8(name) {
        Ok("") => Err("names no interpreter after `#!`"),
        Ok(name) if name.starts_with('/') => Ok(name),
        Ok(_) => Err("names an interpreter after `#!` that is not absolute"),
        Err(_) => Err("names an interpreter after `#!` that is no UTF-8"),
    }
}

/// The program that a script has env(1) look for along PATH; `None` where its first line does not
/// begin with env, or does not say plainly.
pub fn found_by_env(head: &[u8]) -> Option<&str> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
    let (interpreter, word) = line.split_once([' ', '\t'])?;
    if interpreter.rsplit('/').next() != Some("env") {
        return None;
    }
    // The kernel makes one word of all that follows; env takes it apart after -S only.
    let word = word.trim_matches([' ', '\t']);
    let word = match word.strip_prefix("-S") {
        Some(words) => {
            words.split([' ', '\t']).find(|word| !word.is_empty() && !word.contains('='))?
        }
        None => word,
    };
    (!word.starts_with('-') && !word.contains(['=', '"', '\'', '\\', '$'])).then_some(word)
}

/// The machines whose programs this one's kernels run, as elf(5) numbers them; the second is the
/// same processor with 32 bits.
const MACHINES: Option<[u16; 2]> = if cfg!(target_arch = "x86_64") {
    Some([62, 3])
} else if cfg!(target_arch = "aarch64") {
    Some([183, 40])
} else {
    None
};

fn headers(head: &[u8]) -> Result<Headers, &'static str> {
    const FOREIGN: &str = "is a program of another machine, or no whole program";
    let little = if cfg!(target_endian = "little") { 1 } else { 2 };
    let wide = match (head.get(4), head.get(5)) {
        (Some(1), Some(order)) if *order == little => false,
        (Some(2), Some(order)) if *order == little => true,
        _ => return Err(FOREIGN),
    };
    let half = |at: usize| number(head, at, 2).and_then(|n| u16::try_from(n).ok()).ok_or(FOREIGN);
    let (kind, machine) = (half(16)?, half(18)?);
    // ET_EXEC and ET_DYN.
    if !matches!(kind, 2 | 3) || MACHINES.is_some_and(|known| !known.contains(&machine)) {
        return Err(FOREIGN);
    }
    let (offset, size, count, entry) = if wide {
        (number(head, 32, 8), half(54)?, half(56)?, Headers::WIDE)
    } else {
        (number(head, 28, 4), half(42)?, half(44)?, Headers::NARROW)
    };
    let length = usize::from(size) * usize::from(count);
    if usize::from(size) != entry || length == 0 || length > MOST_HEADERS {
        return Err(FOREIGN);
    }
    Ok(Headers { offset: offset.ok_or(FOREIGN)?, length, wide })
}

impl Headers {
    /// Bytes of one program header.
    const WIDE: usize = 56;
    const NARROW: usize = 32;

    /// Where the loader's name is, in the program headers as they were read; `None` where the
    /// program is static.
    ///
    /// # Errors
    /// One clause, to follow the file's name.
    pub fn loader(&self, read: &[u8]) -> Result<Option<Loader>, &'static str> {
        const PT_INTERP: u64 = 3;
        const BROKEN: &str = "is a program whose headers make no sense";
        if read.len() != self.length {
            return Err(BROKEN);
        }
        let size = if self.wide { Self::WIDE } else { Self::NARROW };
        let mut all = read.chunks_exact(size);
        let Some(header) = all.find(|header| number(header, 0, 4) == Some(PT_INTERP)) else {
            return Ok(None);
        };
        let (offset, length) = if self.wide {
            (number(header, 8, 8), number(header, 32, 8))
        } else {
            (number(header, 4, 4), number(header, 16, 4))
        };
        let length = length.and_then(|length| usize::try_from(length).ok());
        match (offset, length) {
            (Some(offset), Some(length)) if (2..=LONGEST_LOADER).contains(&length) => {
                Ok(Some(Loader { offset, length }))
            }
            _ => Err(BROKEN),
        }
    }
}

/// The loader's name from its bytes.
///
/// # Errors
/// One clause, to follow the file's name.
pub fn loader_name(bytes: &[u8]) -> Result<&str, &'static str> {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let ended = name.len() < bytes.len() && name.starts_with(b"/");
    let name = std::str::from_utf8(name).ok().filter(|_| ended);
    name.ok_or("is a program whose loader has no absolute name")
}

/// Why a command that was found could not be executed, as a sentence for who called it: what exec
/// answered, and what the file's first bytes say, where they can be read.
pub fn not_executed(command: &[u8], errno: Errno, head: Option<&[u8]>) -> String {
    let why = match (errno, head.map(kind)) {
        (Errno::ENOENT | Errno::ENOTDIR, None) => "it is not there any more".to_owned(),
        (Errno::ENOENT | Errno::ENOTDIR, Some(Ok(Kind::Script(name)))) => {
            let name = escaped(name.as_bytes());
            format!("its interpreter {name} is not there; install it, or correct the `#!` line")
        }
        (Errno::ENOENT | Errno::ENOTDIR, Some(Ok(Kind::Elf(_)))) => {
            "its loader is not there; install the library that it needs".to_owned()
        }
        (Errno::EACCES, Some(Ok(Kind::Script(name)))) => {
            let name = escaped(name.as_bytes());
            format!(
                "it, or its interpreter {name}, may not be executed; look at their permissions and mounts"
            )
        }
        (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ENOEXEC, Some(Err(clause))) => {
            format!("it {clause}")
        }
        (errno, _) => errno.desc().to_owned(),
    };
    format!("{} cannot be executed: {why}", cut(escaped(command), LONGEST_SHOWN))
}

/// A number of this machine's byte order.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    let mut whole = [0u8; 8];
    if cfg!(target_endian = "little") {
        whole.get_mut(..size)?.copy_from_slice(field);
    } else {
        whole.get_mut(8usize.checked_sub(size)?..)?.copy_from_slice(field);
    }
    Some(u64::from_ne_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_env_looks_for_is_known_where_the_line_says_it_plainly() {
        for (line, name) in [
            ("#!/usr/bin/env python3\nrest", Some("python3")),
            ("#! /usr/bin/env \t perl ", Some("perl")),
            ("#!/usr/bin/env -S python3 -u\n", Some("python3")),
            ("#!/usr/bin/env -S A=1 python3 -u\n", Some("python3")),
            // One word, as the kernel hands it over: env finds none of that name.
            ("#!/usr/bin/env python3 -u\n", Some("python3 -u")),
            ("#!/usr/bin/env\n", None),
            ("#!/usr/bin/env -i python3\n", None),
            ("#!/usr/bin/env A=1\n", None),
            ("#!/usr/bin/env -S 'a b'\n", None),
            ("#!/bin/sh env\n", None),
            ("#!/usr/bin/genv x\n", None),
            ("\x7fELF", None),
        ] {
            assert_eq!(found_by_env(line.as_bytes()), name, "{line:?}");
        }
    }
    use proptest::prelude::*;

    #[test]
    fn an_interpreter_is_what_the_kernel_takes_for_it() {
        for (head, name) in [
            (&b"#!/bin/sh\n"[..], "/bin/sh"),
            (b"#! \t/bin/sh -e\nx\r\n", "/bin/sh"),
            (b"#!/usr/bin/env\tpython3 -I\n", "/usr/bin/env"),
            (b"#!/bin/sh", "/bin/sh"),
            (b"#!/bin/sh\0garbage\n", "/bin/sh"),
        ] {
            assert_eq!(kind(head), Ok(Kind::Script(name)), "{head:?}");
        }
    }

    #[test]
    fn what_the_kernel_would_not_start_is_no_program() {
        let long = format!("#!/{}\n", "x".repeat(LONGEST_LINE));
        for head in [
            &b"#!/bin/sh\r\n"[..],
            b"#!/bin/sh -e\r\n",
            b"#!/bin/sh\r",
            b"#!\n/bin/sh\n",
            b"#!   ",
            b"#!sh\n",
            b"#!\xff\n",
            b"",
            b"#",
            b"echo\n",
            b"\x7fELF",
            b"\x7fELF\x02\x01\x01",
            long.as_bytes(),
        ] {
            assert!(kind(head).is_err(), "{head:?}");
        }
        assert!(kind(b"#!/bin/sh\r\n").unwrap_err().contains("carriage return"));
        let fits = format!("#!/{}\n", "x".repeat(LONGEST_LINE - 3));
        assert!(kind(fits.as_bytes()).is_ok());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a program to look at, in a test")]
    fn this_very_program_and_its_loader_are_read_as_they_are() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let Ok(Kind::Elf(headers)) = kind(&whole[..HEAD]) else { panic!("no ELF") };
        let at = usize::try_from(headers.offset).unwrap();
        let loader = headers.loader(&whole[at..at + headers.length]).unwrap();
        if let Some(Loader { offset, length }) = loader {
            let at = usize::try_from(offset).unwrap();
            assert!(loader_name(&whole[at..at + length]).unwrap().contains("/ld-"));
        }
        assert!(headers.loader(&[]).is_err());
        let mut foreign = whole[..HEAD].to_vec();
        foreign[18] ^= 0x55;
        assert!(kind(&foreign).is_err(), "another machine");
    }

    #[test]
    fn a_sentence_names_the_interpreter_that_is_missing() {
        for (errno, head, part) in [
            (Errno::ENOENT, Some(&b"#!/no/sh -e\n"[..]), "its interpreter /no/sh is not there"),
            (Errno::ENOENT, Some(b"#!/bin/sh\r\n"), "carriage return"),
            (Errno::ENOENT, Some(b"#!sh\n"), "not absolute"),
            (Errno::ENOENT, None, "not there any more"),
            (Errno::ENOEXEC, Some(b"echo\n"), "neither a script"),
            (Errno::ENOEXEC, Some(b""), "neither a script"),
            (Errno::EACCES, Some(b"#!/no/sh\n"), "its interpreter /no/sh, may not be executed"),
            (Errno::EACCES, None, "Permission denied"),
            (Errno::E2BIG, Some(b"#!/bin/sh\n"), Errno::E2BIG.desc()),
        ] {
            let told = not_executed(b"/tmp/a\nb", errno, head);
            assert!(told.starts_with("/tmp/a\\nb cannot be executed: "), "{told}");
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(mut bytes: Vec<u8>, elf: bool) {
            if elf {
                bytes.splice(0..0, *b"\x7fELF\x02\x01\x01");
            }
            if let Ok(Kind::Elf(headers)) = kind(&bytes) {
                let _ = headers.loader(&bytes);
            }
            let _ = loader_name(&bytes);
            let _ = Headers { offset: 0, length: bytes.len(), wide: elf }.loader(&bytes);
        }
    }
}
