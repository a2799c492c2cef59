//! A large environment, and many and long arguments.

use super::added::{self, Pair, Question};
use super::ground::{self, C_EPILOGUE, C_LINGER};
use super::{Row, Tools};
use crate::caller::Line;
use crate::peers::{AND_EPILOGUE, LINGER};
use anyhow::Result;

const ROUNDS: u32 = 60;
/// A word that is long, but not too long for the kernel, and how many of them are a megabyte.
const LONG: usize = 64 * 1024 - 16;
const OF_A_MEGABYTE: usize = 16;
const MANY: usize = 10_000;

/// What is made of a plain line.
type Grown = fn(Line) -> Line;

fn long() -> Vec<String> {
    (0..OF_A_MEGABYTE).map(|n| format!("LONG{n}={}", "x".repeat(LONG))).collect()
}

fn with_long_variables(line: Line) -> Line {
    Line { variables: long(), ..line }
}

fn with_many_variables(line: Line) -> Line {
    Line { variables: (0..MANY).map(|n| format!("V{n}=1")).collect(), ..line }
}

fn with_long_arguments(mut line: Line) -> Line {
    line.words.extend(long());
    line
}

/// Beside what the same words cost the C program.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let rows: [(&str, &str, Grown); 4] = [
        ("1 MB of environment", LINGER, with_long_variables),
        ("10,000 variables", LINGER, with_many_variables),
        ("1 MB of arguments", LINGER, with_long_arguments),
        ("1 MB of arguments, with epilogue", AND_EPILOGUE, with_long_arguments),
    ];
    let mut measured = Vec::new();
    for (what, settings, grown) in rows {
        let site = ground::site(tools, settings)?;
        let (word, beside) =
            if settings == LINGER { ("linger", C_LINGER) } else { ("epilogue", C_EPILOGUE) };
        let question = Question { what, beside, rounds: ROUNDS };
        let pair = |name: &str, plain: Line| -> Result<Pair> {
            Ok(Pair {
                plain: ground::way(&site, name, plain.clone())?,
                grown: ground::way(&site, &format!("{name}, grown"), grown(plain))?,
            })
        };
        let ours = pair("glexec", ground::glexec())?;
        let base = pair("C", ground::features(word))?;
        measured.push(added::measure(&question, ours, Some(base), tools)?);
    }
    Ok(measured)
}
