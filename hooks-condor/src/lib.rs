//! Adapters between glexec and HTCondor. Nothing is here yet: the work on it has not begun.
