//! Reads what the compiler's log says of each kernel, for tables and for checking [`crate::cubin`].
//!
//! Of the spills nothing else tells: machine code only has the stack that they lie on. A line that is not known is
//! passed over, so a later release may say more.

use std::collections::BTreeMap;

/// What a log says of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, bytes.
    pub shared_bytes: u64,
    /// Stack of a thread, bytes, with what is spilled to it.
    pub stack_bytes: u32,
    /// Stores to it for want of registers, bytes.
    pub spill_store_bytes: u32,
    /// Loads from it for want of registers, bytes.
    pub spill_load_bytes: u32,
}

/// Reads a log, by kernel.
#[must_use]
pub fn read(log: &str) -> BTreeMap<String, Reported> {
    let mut found = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            current = rest.split_once('\'').map(|(name, _)| name.to_owned());
        }
        let Some(name) = &current else { continue };
        let figure = |after: &str| figure_before(line, after);
        let registers = figure(" registers");
        let stack = figure(" bytes stack frame");
        if registers.is_none() && stack.is_none() {
            continue;
        }
        let kernel: &mut Reported = found.entry(name.clone()).or_default();
        if let Some(registers) = registers {
            kernel.registers = registers;
            kernel.shared_bytes = u64::from(figure(" bytes smem").unwrap_or(0));
        }
        if let Some(stack) = stack {
            kernel.stack_bytes = stack;
            kernel.spill_store_bytes = figure(" bytes spill stores").unwrap_or(0);
            kernel.spill_load_bytes = figure(" bytes spill loads").unwrap_or(0);
        }
    }
    found
}

/// The number right before these words.
fn figure_before(line: &str, words: &str) -> Option<u32> {
    let (before, _) = line.split_once(words)?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_has_the_figures_of_its_own_lines() {
        let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for a
ptxas         .     1728 bytes stack frame, 1272 bytes spill stores, 1540 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1728 bytes cumulative stack size, 320 bytes smem
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 376 bytes cmem[0]
";
        let found = read(log);
        let a = Reported {
            registers: 255,
            shared_bytes: 320,
            stack_bytes: 1728,
            spill_store_bytes: 1272,
            spill_load_bytes: 1540,
        };
        assert_eq!(found["a"], a);
        assert_eq!(found["b"], Reported { registers: 10, ..Reported::default() });
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert!(read("").is_empty());
        assert!(read("Used 3 registers\nCompiling entry function 'unended\n").is_empty());
    }
}
