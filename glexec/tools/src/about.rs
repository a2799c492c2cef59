//! What each of the programs says of itself.

use about::Program;

/// glexec-wrapenv.
pub const WRAP: Program = Program {
    name: "glexec-wrapenv",
    words: "[--exclude=NAME[,NAME...]]...",
    summary: "put an environment into one variable that passes glexec",
    details: &[
        "It prints its environment as one word, for a command that glexec-unwrapenv starts behind glexec:",
        "export GLEXEC_ENV=$(glexec-wrapenv); glexec /usr/sbin/glexec-unwrapenv -- COMMAND",
        "HOME, LOGNAME, USER, X509_USER_PROXY and _ are left out, for they are the target's, and so is GLEXEC_ENV; --exclude leaves out more. Names are compared as a whole. Each name that is left out is told on standard error. It is also installed by the name that it had with gLExec 0.9, glexec_wrapenv.pl.",
        "Exit code 0; 255 where the word would be longer than the 128 KiB that the kernel takes, or an option is wrong.",
    ],
};

/// glexec-unwrapenv.
pub const UNWRAP: Program = Program {
    name: "glexec-unwrapenv",
    words: "[--exclude=NAME[,NAME...]]... [--] COMMAND [ARG...]",
    summary: "run a command in the environment that glexec-wrapenv put into GLEXEC_ENV",
    details: &[
        "The variables in GLEXEC_ENV are set beside those that are there, but for HOME, LOGNAME, USER, X509_USER_PROXY, _ and what --exclude names; then it becomes COMMAND, which is looked up in the PATH that is in force then. It is also installed by the name that it had with gLExec 0.9, glexec_unwrapenv.pl.",
        "Exit code: the command's; 126 or 127 where it cannot be executed or is not there; 255 where GLEXEC_ENV is not set or was not made by glexec-wrapenv.",
    ],
};

/// mkgltempdir.
pub const MKGLTEMPDIR: Program = Program {
    name: "mkgltempdir",
    words: "[-h] [-t MODE] [-m MODE] [DIRECTORY] | -r [-f] TARGET-DIRECTORY",
    summary: "make a directory that belongs to the account glexec maps to, or remove it",
    details: &[
        "It prints the path of a new directory, made by glexec in DIRECTORY (without it in TMPDIR, or else in /tmp). The directory above it is the caller's, for what the caller wants the target to see.",
        "-t MODE is the new directory's mode, 0700 without it; -m MODE that of the two directories above it, 0755 without it: the target must be able to pass through them. Directories above DIRECTORY that are the caller's are made passable for everybody.",
        "-r removes such a directory, and those above it that this program made; they must be empty, or with -f what is in them is removed, too.",
        "glexec is $OSG_GLEXEC_LOCATION, or else $GLEXEC_LOCATION/sbin/glexec, $GLITE_LOCATION/sbin/glexec, /usr/sbin/glexec.",
        "Exit code 0; glexec's 201 to 204 where glexec could not do its part; else 1.",
    ],
};

/// Every program of this crate.
pub const PROGRAMS: [Program; 3] = [WRAP, UNWRAP, MKGLTEMPDIR];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_is_built_is_described() {
        let manifest = include_str!("../Cargo.toml");
        let built = manifest.split("[[bin]]\nname = \"").skip(1);
        let built: Vec<&str> = built.filter_map(|part| part.split('"').next()).collect();
        assert_eq!(built, PROGRAMS.map(|program| program.name));
    }
}
