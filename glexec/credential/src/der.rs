//! DER (X.690), as far as certificates need it: one element after the other, never past the end.

/// What cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDer;

/// A row of elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'d>(pub(crate) &'d [u8]);

/// One element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'d> {
    pub(crate) tag: u8,
    pub(crate) content: &'d [u8],
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

impl<'d> Reader<'d> {
    pub(crate) const fn is_at_end(self) -> bool {
        self.0.is_empty()
    }

    /// The next element: a tag of one byte, a definite length of at most four.
    pub(crate) fn any(&mut self) -> Result<Element<'d>, NotDer> {
        const LONG: u8 = 0x80;
        let (&tag, rest) = self.0.split_first().ok_or(NotDer)?;
        let (&first, rest) = rest.split_first().ok_or(NotDer)?;
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (length, rest) = if first < LONG {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & !LONG);
            if !(1..=4).contains(&count) {
                return Err(NotDer);
            }
            let (bytes, rest) = rest.split_at_checked(count).ok_or(NotDer)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
        self.0 = rest;
        Ok(Element { tag, content })
    }

    /// The content of the next element, which has this tag.
    pub(crate) fn tagged(&mut self, tag: u8) -> Result<&'d [u8], NotDer> {
        self.optional(tag)?.ok_or(NotDer)
    }

    /// The same where the next element has this tag, else nothing.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'d [u8]>, NotDer> {
        if self.0.first() == Some(&tag) { self.any().map(|it| Some(it.content)) } else { Ok(None) }
    }
}

/// An object identifier with dots.
pub(crate) fn dotted(content: &[u8]) -> Result<String, NotDer> {
    let (mut text, mut arc) = (String::new(), 0u64);
    for byte in content {
        if arc >> 56 != 0 {
            return Err(NotDer);
        }
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            text = format!("{first}.{}", arc - first * 40);
        } else {
            text += &format!(".{arc}");
        }
        arc = 0;
    }
    if text.is_empty() || arc != 0 { Err(NotDer) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_are_read_in_their_row() {
        let mut row = Reader(&[0x30, 3, 1, 1, 0xff, 4, 0x81, 1, 7]);
        let mut inner = Reader(row.tagged(SEQUENCE).unwrap());
        assert_eq!(inner.optional(OBJECT), Ok(None));
        assert_eq!((inner.tagged(BOOLEAN), inner.is_at_end()), (Ok(&[0xff][..]), true));
        assert_eq!((row.any().unwrap().content, row.is_at_end()), (&[7][..], true));
        for bad in
            [&[][..], &[0x30], &[0x30, 1], &[0x30, 0x80], &[0x1f, 0], &[4, 0x85, 0, 0, 0, 0, 0]]
        {
            assert!(Reader(bad).any().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn object_identifiers_have_dots() {
        assert_eq!(dotted(&[0x55, 4, 3]).unwrap(), "2.5.4.3");
        assert_eq!(dotted(&[0x09, 0x92, 0x26, 0x89]), Err(NotDer), "the last arc goes on");
        assert_eq!(dotted(&[0x88, 0x37, 3]).unwrap(), "2.999.3");
        assert_eq!(dotted(&[]), Err(NotDer));
    }

    proptest! {
        #[test]
        fn no_bytes_read_past_the_end(bytes: Vec<u8>) {
            let mut row = Reader(&bytes);
            while row.any().is_ok() {}
            let _ = dotted(&bytes);
        }
    }
}
