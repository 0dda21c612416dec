//! Kernels for NVIDIA GPUs, and what compiles, loads and launches them.
//!
//! The sources lie beside this crate as `*.cu` ([`sources`]). They are CUDA C++ without headers, so that the same
//! text goes through NVRTC on a host with a GPU and, as plain C++, through the emulator ([`emulator`], behind
//! the feature of that name), which runs them on the CPU in tests. Everything that talks to a device does so
//! through [`driver::Driver`], of which there are the real one, the emulator, and a wrapper that injects
//! faults.
//!
//! From a source to a launch: [`nvrtc`] compiles a module for a [`target`], without a GPU too; [`images`] decides
//! which image a device gets, of those that the build embedded, those in the [`cache`] and a new one; [`real`] loads
//! it and launches its kernels. [`cubin`] and [`compile_log`] say what a kernel takes, [`probe`] what a host has.
//!
//! Invariants: nothing here is linked against CUDA, so one program serves hosts with and without a GPU; a
//! missing library, driver or device is an error with its name, never a panic.

mod api;
mod branches;
pub mod cache;
pub mod compile_log;
pub mod cubin;
pub mod driver;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "emulator")]
pub mod faults;
pub mod flags;
pub mod images;
pub mod manifest;
pub mod nvrtc;
mod patience;
pub mod probe;
pub mod real;
pub mod sources;
pub mod target;
