//! Structures that several kernels of the cerebellum are given, as `kernels/cuda/cells.cuh` has them.
//!
//! Invariant: every structure is the twin of the one of its name there, field by field under the same names and
//! without padding: `bytemuck` holds the latter, tests the former.

use bytemuck::{Pod, Zeroable};

use super::engine;

/// Fields of the mossy fibres.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Fields {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) sd: f32,
    pub(super) background: f32,
    pub(super) peak: f32,
}

/// The exact solution of a membrane over one step.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Propagator {
    pub(super) keep_v: f32,
    pub(super) exc_to_v: f32,
    pub(super) inh_to_v: f32,
    pub(super) keep_exc: f32,
    pub(super) keep_inh: f32,
    pub(super) drive: f32,
    pub(super) unit: f32,
    pub(super) reset: f32,
}

impl From<&engine::Propagator> for Propagator {
    fn from(p: &engine::Propagator) -> Self {
        Self {
            keep_v: p.keep_v,
            exc_to_v: p.exc_to_v,
            inh_to_v: p.inh_to_v,
            keep_exc: p.keep_exc,
            keep_inh: p.keep_inh,
            drive: p.drive,
            unit: p.unit,
            reset: p.reset,
        }
    }
}

/// The fields of a structure in the text of a module: each kind and name, in order.
#[cfg(test)]
pub(super) fn declared(text: &str, structure: &str) -> Vec<(String, String)> {
    let text = text.split(&format!("struct {structure} {{")).nth(1).unwrap();
    let body = text.split("};").next().unwrap();
    let code: Vec<&str> =
        body.lines().map(|line| line.split("//").next().unwrap().trim()).collect();
    let mut fields = Vec::new();
    for declaration in code.join(" ").split(';').filter(|d| !d.trim().is_empty()) {
        let (kind, names) = declaration.trim().split_once(' ').unwrap();
        fields.extend(names.split(',').map(|name| (kind.to_owned(), name.trim().to_owned())));
    }
    fields
}
