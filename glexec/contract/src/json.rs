//! JSON as glexec writes it: without a space, each string and number as serde_json has it. The
//! setuid program only writes; who reads what it wrote has a parser (feature `read`).

use std::fmt::Write as _;

/// What can be written as JSON.
pub trait Json {
    /// Adds it to `out`.
    fn write(&self, out: &mut String);
}

/// A value as a line of its own, with its newline.
#[must_use]
pub fn line(value: &dyn Json) -> String {
    let mut line = String::new();
    value.write(&mut line);
    line.push('\n');
    line
}

/// An object that is being written.
#[derive(Debug)]
#[must_use = "it is closed by `end`"]
pub struct Object<'o> {
    out: &'o mut String,
    is_empty: bool,
}

impl<'o> Object<'o> {
    /// Opens one at the end of `out`.
    pub fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    /// Adds a member.
    pub fn with(mut self, key: &str, value: &dyn Json) -> Self {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(',');
        }
        key.write(self.out);
        self.out.push(':');
        value.write(self.out);
        self
    }

    /// Adds a member where `is_told`: it is left out where it says what its absence says.
    pub fn with_if(self, is_told: bool, key: &str, value: &dyn Json) -> Self {
        if is_told { self.with(key, value) } else { self }
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push('}');
    }
}

impl Json for str {
    fn write(&self, out: &mut String) {
        out.push('"');
        let mut rest = self;
        let is_escaped = |byte: u8| matches!(byte, b'"' | b'\\' | 0..b' ');
        // Each of them is a character of one byte, so the text may be cut before and after it.
        while let Some(at) = rest.bytes().position(is_escaped) {
            let (plain, tail) = rest.split_at(at);
            let (escaped, tail) = tail.split_at(1);
            out.push_str(plain);
            match escaped {
                "\"" => out.push_str("\\\""),
                "\\" => out.push_str("\\\\"),
                "\u{8}" => out.push_str("\\b"),
                "\u{c}" => out.push_str("\\f"),
                "\n" => out.push_str("\\n"),
                "\r" => out.push_str("\\r"),
                "\t" => out.push_str("\\t"),
                other => other
                    .bytes()
                    .for_each(|byte| added(out, format_args!("\\u{:04x}", u32::from(byte)))),
            }
            rest = tail;
        }
        out.push_str(rest);
        out.push('"');
    }
}

impl Json for String {
    fn write(&self, out: &mut String) {
        self.as_str().write(out);
    }
}

macro_rules! as_displayed {
    ($($kind:ty),*) => {
        $(impl Json for $kind {
            fn write(&self, out: &mut String) {
                added(out, format_args!("{self}"));
            }
        })*
    };
}

as_displayed!(bool, u8, u32, u64, i32);

/// As serde_json has it; where a number is large, or has two shortest forms, the same number in other
/// characters. What is no number is null.
impl Json for f64 {
    fn write(&self, out: &mut String) {
        match self.abs() {
            size if !size.is_finite() => out.push_str("null"),
            // Here std has an exponent already, and serde_json not yet.
            1e-5..1e-4 => added(out, format_args!("{self}")),
            _ => added(out, format_args!("{self:?}")),
        }
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut String) {
        out.push('[');
        for (number, value) in self.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            value.write(out);
        }
        out.push(']');
    }
}

impl<A: Json, B: Json> Json for (A, B) {
    fn write(&self, out: &mut String) {
        out.push('[');
        self.0.write(out);
        out.push(',');
        self.1.write(out);
        out.push(']');
    }
}

/// A string takes whatever is added to it.
fn added(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &impl Json) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn objects_are_closed_and_their_members_separated() {
        let object = |members: &[&str]| {
            let mut out = String::new();
            members
                .iter()
                .fold(Object::begin(&mut out), |object, key| object.with(key, &1u8))
                .end();
            out
        };
        assert_eq!(object(&[]), "{}");
        assert_eq!(object(&["a"]), r#"{"a":1}"#);
        assert_eq!(object(&["a", "\n"]), r#"{"a":1,"\n":1}"#);
        let mut out = String::new();
        let object = Object::begin(&mut out).with("kind", &"x").with_if(false, "no", &2u8);
        object.with_if(true, "yes", &None::<u8>).end();
        assert_eq!(out, r#"{"kind":"x","yes":null}"#);
    }

    #[test]
    fn every_character_is_as_serde_json_has_it() {
        let all: String = ('\0'..='\u{2ff}').chain(['\u{2028}', '\u{fffd}', '😀']).collect();
        assert_eq!(written(&all), serde_json::to_string(&all).unwrap());
        assert_eq!(
            written(&"\"\\\u{8}\u{c}\n\r\t\u{1f}\u{7f}é"),
            r#""\"\\\b\f\n\r\t\u001f"#.to_owned() + "\u{7f}é\""
        );
    }

    #[test]
    fn numbers_are_as_serde_json_has_them() {
        let small = [5e-324, f64::MIN_POSITIVE, 1e-7, 9.99e-6, 1e-5, 3.4e-5, 9.999e-5, 1e-4];
        let plain = [0.0, -0.0, 0.1 + 0.2, 1.0, -1.5, 1e9, 1e15, 9_007_199_254_740_993.0];
        let none = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for number in small.into_iter().chain(plain).chain(none) {
            assert_eq!(written(&number), serde_json::to_string(&number).unwrap());
        }
        let ends = (vec![(u8::MAX, u32::MAX)], (u64::MAX, i32::MIN));
        assert_eq!(written(&ends), serde_json::to_string(&ends).unwrap());
    }

    proptest! {
        #[test]
        fn whatever_it_is_serde_json_writes_the_same(
            text: String,
            few in proptest::collection::vec(proptest::option::of((any::<u32>(), any::<bool>())), 0..4),
            number in any::<f64>().prop_filter("a number", |number| number.is_finite()),
            bits: u64,
        ) {
            let nested = (text, few);
            prop_assert_eq!(written(&nested), serde_json::to_string(&nested).unwrap());
            // Of two shortest forms std and serde_json may take another: the number is the same.
            let clock = std::time::Duration::from_nanos(bits >> 12).as_secs_f64();
            for number in [number, clock] {
                prop_assert_eq!(written(&number).parse::<f64>().unwrap(), number);
            }
            // What an epilogue takes: whole nanoseconds of some minutes.
            let short = std::time::Duration::from_nanos(bits >> 24).as_secs_f64();
            prop_assert_eq!(written(&short), serde_json::to_string(&short).unwrap());
        }
    }
}
