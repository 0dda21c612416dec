//! One connection to a venue as an I/O-free state machine.
