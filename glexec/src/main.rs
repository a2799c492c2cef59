//! The door.

fn main() {
    glexec::run()
}
