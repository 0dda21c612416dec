//! Tasks with published answers, which show that the model learns.
//!
//! Each runs its network through a protocol and gives the numbers that the literature reports; what
//! they must be is in the tests. Invariant: everything follows from the description and the seed.

pub mod mackey_glass;
pub mod okr;
pub mod regressor;
