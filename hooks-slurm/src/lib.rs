//! Adapters between glexec and Slurm. Nothing is here yet: the work on it has not begun.
