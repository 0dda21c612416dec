//! The shipped parameter sets held against the literature: what they pass, and that what they fail
//! is known with its reason.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use purkinje_kernels::cerebellum::CerebellumConfig;
use purkinje_kernels::cerebellum::description::{Cell, preset};
use purkinje_kernels::cerebellum::validation::{
    Options, Report, Verdict, validate, validate_trading,
};

#[test]
fn look() {
    for name in ["okr-2012", "mouse-awake", "scaffold", "benchmark-s"] {
        println!("{}\n", validate(&preset(name).unwrap(), &Options::default()).unwrap());
    }
    println!("{}\n", validate_trading(&CerebellumConfig::default(), &Options::default()).unwrap());
}
