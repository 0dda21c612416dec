//! The table an operator reads: every population and projection of a description with its units,
//! and what they add up to.
//!
//! Invariants: plain text, columns aligned, one line a population or projection; sizes of drawn
//! projections are expected values.

use std::fmt;

use super::{
    Climbing, Description, Extent, Kernel, Model, Pattern, Plasticity, Population, Projection,
    Weight,
};

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.source)?;
        writeln!(f, "step {} ms\n", self.step_ms)?;
        let mut cells = Columns::new(["population", "cells", "clusters", "model", "receptors"]);
        for p in &self.populations {
            let clusters = if p.cluster > 1 { p.clusters().to_string() } else { "-".into() };
            let receptors = receptors(p);
            cells.row([
                p.cell.to_string(),
                p.count.to_string(),
                clusters,
                model(&p.model),
                receptors,
            ]);
        }
        writeln!(f, "{cells}")?;
        let mut links = Columns::new([
            "projection",
            "pattern",
            "fan-in",
            "fan-out",
            "weight",
            "delay ms",
            "synapses",
            "plasticity",
        ]);
        let (mut synapses, mut plastic, mut bytes) = (0.0, 0.0, 0.0);
        for p in &self.projections {
            let ends = self.population(p.pre).zip(self.population(p.post));
            let extent = ends.map(|(pre, post)| Extent::new(p, pre, post));
            let show =
                |of: &dyn Fn(&Extent) -> f64| extent.as_ref().map_or("?".into(), |e| number(of(e)));
            let current = ends.is_some_and(|(_, post)| matches!(post.model, Model::Current(_)));
            links.row([
                format!("{} to {}", p.pre, p.post),
                pattern(p),
                show(&|e| e.fan_in),
                show(&|e| e.fan_out),
                format!("{} {}", weight(p.weight), if current { "thr" } else { "nS" }),
                (p.delay_steps as f32 * self.step_ms).to_string(),
                show(&|e| e.synapses),
                p.plasticity.as_ref().map_or("-".into(), plasticity),
            ]);
            if let Some(extent) = extent {
                synapses += extent.synapses;
                bytes += extent.bytes();
                plastic += if p.plasticity.is_some() { extent.edges } else { 0.0 };
            }
        }
        writeln!(f, "{links}")?;
        let cells: usize = self.populations.iter().map(|p| p.count).sum();
        let state: f64 = self.populations.iter().map(state_bytes).sum();
        write!(
            f,
            "{cells} cells, {} synapses ({} plastic); weights and lists {:.1} MB, state {:.1} MB",
            number(synapses),
            number(plastic),
            bytes / 1e6,
            state / 1e6,
        )
    }
}

/// Bytes of one state in single precision: potential, adaptation, refractory count and receptors.
fn state_bytes(population: &Population) -> f64 {
    let own = match population.model {
        Model::Input => return 0.0,
        Model::Current(_) => 5,
        Model::Conductance(m) => 5 + if m.ahp.is_some() { 4 } else { 0 },
        Model::AdEx(_) => 9,
    };
    let receptors: usize = population
        .receptors
        .iter()
        .map(|r| 4 * if r.by_cluster { population.clusters() } else { population.count })
        .sum();
    (own * population.count + receptors) as f64
}

fn model(model: &Model) -> String {
    match model {
        Model::Input => "input".into(),
        Model::Current(m) => format!(
            "current LIF, tau_m {} ms, refractory {} ms, drive {}",
            m.tau_m_ms, m.refractory_ms, m.drive
        ),
        Model::Conductance(m) => {
            let ahp =
                m.ahp.map_or(String::new(), |a| format!(", AHP {} nS {} ms", a.g_ns, a.tau_ms));
            format!(
                "conductance LIF, tau_m {} ms, {} to {} mV, {} pA{ahp}",
                significant(m.c_pf / m.leak_ns),
                m.leak_mv,
                m.threshold_mv,
                m.current_pa
            )
        }
        Model::AdEx(m) => format!(
            "AdEx, tau_m {} ms, {} to {} mV, {} pA, tau_w {} ms, {} sub-steps",
            significant(m.c_pf / m.leak_ns),
            m.leak_mv,
            m.threshold_mv,
            m.current_pa,
            m.tau_w_ms,
            m.substeps
        ),
    }
}

fn receptors(population: &Population) -> String {
    if population.receptors.is_empty() {
        return "-".into();
    }
    let one = |r: &super::Receptor| {
        let shared = if r.by_cluster { " by cluster" } else { "" };
        format!("{} {} ms{shared}", r.name, r.tau_ms)
    };
    population.receptors.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn pattern(projection: &Projection) -> String {
    let pattern = match projection.pattern {
        Pattern::AllToAll => "all to all".to_owned(),
        Pattern::OneToOne => "one to one".to_owned(),
        Pattern::InDegree { sources } => format!("{sources} sources each"),
        Pattern::OutDegree { targets } => format!("{targets} targets each"),
        Pattern::Probability { p } => format!("p {p}"),
        Pattern::Neighbours { from, to, p, .. } => format!("places {from} to {to}, p {p}"),
        Pattern::Stripes { columns, reach } => {
            format!("{} of {columns} columns", 2 * reach + 1)
        }
    };
    let zones =
        if projection.zones > 1 { format!(", {} zones", projection.zones) } else { String::new() };
    let range = projection.pre_range.as_ref().map_or(String::new(), |range| {
        format!(", cells {} to {}", range.start, range.end.saturating_sub(1))
    });
    pattern + &zones + &range
}

fn weight(weight: Weight) -> String {
    match weight {
        Weight::Constant { value } => significant(value),
        Weight::Uniform { mean, jitter } => format!("{} ± {} %", significant(mean), 100.0 * jitter),
    }
}

fn plasticity(rules: &Plasticity) -> String {
    let mut parts = Vec::new();
    if let Some(rule) = rules.potentiation {
        parts.push(format!(
            "+{} a spike{}",
            significant(rule.amount),
            if rule.soft { ", soft" } else { "" }
        ));
    }
    if let Some(rule) = rules.climbing {
        parts.push(climbing(rule));
    }
    if let Some(rule) = rules.stdp {
        parts.push(format!(
            "STDP +{} {} ms, -{} {} ms",
            significant(rule.a_plus),
            rule.tau_pre_ms,
            significant(rule.a_minus),
            rule.tau_post_ms
        ));
    }
    parts.push(format!("in {} to {}", rules.w_min, significant(rules.w_max)));
    parts.join("; ")
}

fn climbing(rule: Climbing) -> String {
    let kernel = match rule.kernel {
        Kernel::Exponential { tau_ms } => format!("decaying in {tau_ms} ms"),
        Kernel::Difference { slow_ms, fast_ms } => {
            let peak = (slow_ms / fast_ms).ln() * slow_ms * fast_ms / (slow_ms - fast_ms);
            format!("peak {} ms back", significant(peak))
        }
        Kernel::Window { length_ms } => format!("within {length_ms} ms"),
    };
    let amount = if rule.proportional {
        format!("{} %", significant(100.0 * rule.amount))
    } else {
        significant(rule.amount)
    };
    format!("-{amount} a climbing fibre, {kernel}")
}

/// Three significant digits.
fn significant(value: f32) -> String {
    let text = format!("{value:.2e}");
    let rounded: f32 = text.parse().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e5).contains(&rounded.abs()) { rounded.to_string() } else { text }
}

/// A count, or a mean of counts.
fn number(value: f64) -> String {
    let tenths = format!("{value:.1}");
    tenths.strip_suffix(".0").map_or_else(|| tenths.clone(), str::to_owned)
}

/// Text in aligned columns.
pub(in crate::cerebellum) struct Columns<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Columns<N> {
    /// A table of this first line.
    pub(in crate::cerebellum) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// Adds a line.
    pub(in crate::cerebellum) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Columns<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let padded = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}"));
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets::preset;

    #[test]
    fn the_table_says_what_each_part_is() {
        let table = preset("okr-2012").unwrap().to_string();
        for expected in [
            "okr-2012: Yamazaki and Nagao, PLoS ONE 7:e33319 (2012)\nstep 1 ms\n",
            "AMPA 1.2 ms, NMDA 52 ms, GABA 7 ms by cluster, GABA slow 59 ms by cluster",
            "granule to purkinje  9 of 32 columns",
            "0.0021 nS",
            "+2.10e-7 a spike, soft; -0.5 % a climbing fibre, within 50 ms; in 0 to 0.0021",
            "460800 plastic",
        ] {
            assert!(table.contains(expected), "{expected}\nnot in\n{table}");
        }
        let of = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        let fan_in = of("granule to purkinje");
        assert!(fan_in.contains("  28800 "), "{fan_in}");
    }

    #[test]
    fn columns_start_at_the_same_place_in_every_line() {
        let table = preset("benchmark-s").unwrap().to_string();
        let lines: Vec<&str> = table.lines().collect();
        let first = lines.iter().position(|l| l.starts_with("projection")).unwrap();
        let at = lines[first].find("delay ms").unwrap();
        for line in &lines[first + 1..first + 8] {
            // Columns are counted in characters: a weight holds a ±.
            let before: Vec<char> = line.chars().skip(at - 2).take(3).collect();
            assert!(before[..2] == [' ', ' '] && before[2] == '1', "{line}");
        }
    }
}
