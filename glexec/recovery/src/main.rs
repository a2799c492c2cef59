//! The door of glexec-settle.

fn main() {
    recovery::run()
}
