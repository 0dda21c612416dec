//! Who reaches whom: the connections of one projection, drawn from its pattern and a key.
//!
//! Invariants: rows are by source unit and list targets in ascending order; a target occurs once in
//! a row (but see `spread` of [`Pattern::Neighbours`]); what a cell draws depends on the key and on
//! that cell alone; cells of a population do not reach themselves unless the pattern is
//! [`Pattern::AllToAll`], [`Pattern::OneToOne`] or [`Pattern::Neighbours`]. A valid description
//! (`Description::validate`) is assumed.

use std::ops::Range;

use super::description::{Pattern, Population, Projection, Weight};
use crate::rng::Key;

/// The connections of one projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All to all within each zone: nothing is listed. Sources and targets are cut by [`part`].
    Blocks {
        /// Source cells.
        sources: usize,
        /// Target units: cells, or clusters where the receptors are shared by them.
        targets: usize,
        /// Parts between which nothing crosses; 1 for a dense matrix.
        zones: usize,
    },
    /// Listed by source unit.
    Sparse(Rows),
}

/// Targets by source unit, in compressed rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Source units.
    pub sources: usize,
    /// Target units: cells, or clusters where the receptors are shared by them.
    pub targets: usize,
    /// Source cells that share a row: cell `c` has row `c / cells_per_source`.
    pub cells_per_source: usize,
    /// The targets of row `r` are `target[start[r]..start[r + 1]]`; `sources + 1` entries.
    pub start: Vec<u32>,
    /// Target units.
    pub target: Vec<u32>,
}

impl Rows {
    /// Where the row of a source cell begins and ends.
    #[inline]
    pub(crate) fn bounds(&self, source: u32) -> (usize, usize) {
        let r = match self.cells_per_source {
            1 => source as usize,
            cells => source as usize / cells,
        };
        (self.start[r] as usize, self.start[r + 1] as usize)
    }

    /// The targets of a source unit.
    pub fn row(&self, unit: usize) -> &[u32] {
        &self.target[self.start[unit] as usize..self.start[unit + 1] as usize]
    }

    /// Lists the targets of each row in turn.
    fn by_source(
        [sources, targets, cells_per_source]: [usize; 3],
        mut row: impl FnMut(usize, &mut Vec<u32>),
    ) -> Self {
        let mut start = Vec::with_capacity(sources + 1);
        let mut target = Vec::new();
        start.push(0);
        for s in 0..sources {
            let first = target.len();
            row(s, &mut target);
            target[first..].sort_unstable();
            start.push(index(target.len()));
        }
        Self { sources, targets, cells_per_source, start, target }
    }

    /// Lists the sources of each target in turn, then turns the lists round.
    fn by_target(
        sources: usize,
        targets: usize,
        mut column: impl FnMut(usize, &mut Vec<u32>),
    ) -> Self {
        let mut ends = Vec::with_capacity(targets);
        let mut source = Vec::new();
        for t in 0..targets {
            column(t, &mut source);
            ends.push(index(source.len()) as usize);
        }
        let mut start = vec![0_u32; sources + 1];
        for &s in &source {
            start[s as usize + 1] += 1;
        }
        for s in 0..sources {
            start[s + 1] += start[s];
        }
        let mut next = start.clone();
        let mut target = vec![0; source.len()];
        let mut first = 0;
        for (t, end) in ends.into_iter().enumerate() {
            for &s in &source[first..end] {
                let place = &mut next[s as usize];
                target[*place as usize] = t as u32;
                *place += 1;
            }
            first = end;
        }
        Self { sources, targets, cells_per_source: 1, start, target }
    }
}

impl Connections {
    /// Source units: rows.
    pub const fn sources(&self) -> usize {
        match self {
            Self::Blocks { sources, .. } => *sources,
            Self::Sparse(rows) => rows.sources,
        }
    }

    /// Target units.
    pub const fn targets(&self) -> usize {
        match self {
            Self::Blocks { targets, .. } => *targets,
            Self::Sparse(rows) => rows.targets,
        }
    }

    /// Source cells that share a row.
    pub const fn cells_per_source(&self) -> usize {
        match self {
            Self::Blocks { .. } => 1,
            Self::Sparse(rows) => rows.cells_per_source,
        }
    }

    /// Entries of the weight vector: by row, and within a row by ascending target.
    pub fn edges(&self) -> usize {
        match self {
            Self::Blocks { sources, targets, zones } => (0..*zones)
                .map(|z| part(*sources, *zones, z).len() * part(*targets, *zones, z).len())
                .sum(),
            Self::Sparse(rows) => rows.target.len(),
        }
    }

    /// The same connections as lists.
    ///
    /// # Panics
    /// When there are more than u32 can count.
    #[must_use]
    pub fn into_rows(self) -> Rows {
        match self {
            Self::Blocks { sources, targets, zones } => {
                Rows::by_source([sources, targets, 1], |s, row| {
                    let reached = part(targets, zones, part_of(sources, zones, s));
                    row.extend(reached.map(|t| t as u32));
                })
            }
            Self::Sparse(rows) => rows,
        }
    }
}

/// The `k`th of `parts` equal parts of `0..count`; the last takes what is left over.
pub const fn part(count: usize, parts: usize, k: usize) -> Range<usize> {
    let size = count / parts;
    k * size..if k + 1 == parts { count } else { (k + 1) * size }
}

/// The part of `0..count` that holds `i`: the inverse of [`part`].
pub const fn part_of(count: usize, parts: usize, i: usize) -> usize {
    let size = count / parts;
    if size == 0 || i / size >= parts { parts - 1 } else { i / size }
}

/// Whether the projection addresses clusters of its targets.
pub fn addresses_clusters(projection: &Projection, post: &Population) -> bool {
    projection
        .onto
        .iter()
        .any(|port| post.receptors.get(port.receptor).is_some_and(|r| r.by_cluster))
}

/// The connections of `projection` between `pre` and `post`.
///
/// # Panics
/// When the projection is not valid: there are more connections than u32 counts, or clusters of
/// [`Pattern::Neighbours`] do not lie on one square.
pub fn connect(
    projection: &Projection,
    pre: &Population,
    post: &Population,
    key: Key,
) -> Connections {
    let clusters = addresses_clusters(projection, post);
    let targets = if clusters { post.clusters() } else { post.count };
    let ends = Ends {
        sources: pre.count,
        range: projection.pre_range.clone().unwrap_or(0..pre.count),
        targets,
        zones: projection.zones,
        recurrent: pre.cell == post.cell && !clusters,
    };
    match projection.pattern {
        Pattern::AllToAll if projection.pre_range.is_none() => {
            Connections::Blocks { sources: pre.count, targets, zones: projection.zones }
        }
        Pattern::AllToAll => ends.all_to_all(),
        Pattern::OneToOne => ends.one_to_one(),
        Pattern::InDegree { sources } => ends.in_degree(sources, key),
        Pattern::OutDegree { targets } => ends.out_degree(targets, key),
        Pattern::Probability { p } => ends.probability(f64::from(p), key),
        Pattern::Stripes { columns, reach } => ends.stripes(columns, reach),
        Pattern::Neighbours { from, to, p, spread } => {
            // Where the receptors are those of single cells, a cluster stands for all of its own.
            let cells = if clusters { 1 } else { post.cluster };
            let lattice = Lattice::new(pre, post);
            Connections::Sparse(Rows::by_source(
                [pre.clusters(), targets, pre.cluster],
                |s, row| {
                    lattice.reached(s, (from, to), p, spread, key.fork(s as u64), |cluster| {
                        row.extend(
                            (cluster * cells..targets.min((cluster + 1) * cells)).map(index),
                        );
                    });
                },
            ))
        }
    }
}

/// Initial weights of `edges` connections; the weight of each depends on its number alone.
pub fn weights(weight: Weight, edges: usize, key: Key) -> Vec<f32> {
    match weight {
        Weight::Constant { value } => vec![value; edges],
        Weight::Uniform { mean, jitter } => (0..edges as u64)
            .map(|edge| mean * (1.0 - jitter + 2.0 * jitter * key.uniform(edge)))
            .collect(),
    }
}

/// The two ends of a projection whose units lie in a line.
struct Ends {
    sources: usize,
    /// The sources that take part.
    range: Range<usize>,
    targets: usize,
    zones: usize,
    /// Whether both ends are the same cells.
    recurrent: bool,
}

impl Ends {
    /// Where source `s` stands: the first and the number of the sources of its zone, and the
    /// targets of that zone. None if it takes no part.
    fn of_source(&self, s: usize) -> Option<(Range<usize>, Range<usize>)> {
        self.range.contains(&s).then(|| {
            let zone = part_of(self.range.len(), self.zones, s - self.range.start);
            (self.sources_of(zone), part(self.targets, self.zones, zone))
        })
    }

    /// The sources of a zone.
    fn sources_of(&self, zone: usize) -> Range<usize> {
        let local = part(self.range.len(), self.zones, zone);
        self.range.start + local.start..self.range.start + local.end
    }

    /// The sources that may reach target `t`.
    fn of_target(&self, t: usize) -> Range<usize> {
        self.sources_of(part_of(self.targets, self.zones, t))
    }

    fn rows(
        &self,
        mut reached: impl FnMut(usize, Range<usize>, Range<usize>, &mut Vec<u32>),
    ) -> Connections {
        Connections::Sparse(Rows::by_source([self.sources, self.targets, 1], |s, row| {
            if let Some((sources, targets)) = self.of_source(s) {
                reached(s, sources, targets, row);
            }
        }))
    }

    fn all_to_all(&self) -> Connections {
        self.rows(|_, _, targets, row| row.extend(targets.map(index)))
    }

    fn one_to_one(&self) -> Connections {
        self.rows(|s, sources, targets, row| {
            let parts = sources.len().min(targets.len());
            let local =
                part(targets.len(), parts, part_of(sources.len(), parts, s - sources.start));
            row.extend(local.map(|t| index(targets.start + t)));
        })
    }

    fn stripes(&self, columns: usize, reach: usize) -> Connections {
        self.rows(|s, sources, targets, row| {
            let column = (s - sources.start) * columns / sources.len();
            for t in targets.clone() {
                let centre = (t - targets.start) * columns / targets.len();
                let apart = column.abs_diff(centre);
                if apart.min(columns - apart) <= reach {
                    row.push(index(t));
                }
            }
        })
    }

    fn in_degree(&self, wanted: usize, key: Key) -> Connections {
        let mut draw = Distinct::new(self.sources);
        Connections::Sparse(Rows::by_target(self.sources, self.targets, |t, column| {
            let sources = self.of_target(t);
            let itself = self.recurrent.then_some(t);
            draw.from(sources, itself, wanted, key.fork(t as u64), |s| column.push(s));
        }))
    }

    fn out_degree(&self, wanted: usize, key: Key) -> Connections {
        let mut draw = Distinct::new(self.targets);
        self.rows(|s, _, targets, row| {
            let itself = self.recurrent.then_some(s);
            draw.from(targets, itself, wanted, key.fork(s as u64), |t| row.push(t));
        })
    }

    /// Walks from success to success by the geometric distribution of the gaps between them, so
    /// that the cost is that of the connections made.
    fn probability(&self, p: f64, key: Key) -> Connections {
        let log_miss = (-p).ln_1p();
        Connections::Sparse(Rows::by_target(self.sources, self.targets, |t, column| {
            let sources = self.of_target(t);
            let key = key.fork(t as u64);
            let mut s = sources.start as u64;
            for draw in 0.. {
                // At p = 1, ln(1 - p) is minus infinity and every gap is 0; at p = 0 it is
                // infinite, which saturates.
                let uniform = ((key.word(draw) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                s = s.saturating_add((uniform.ln() / log_miss) as u64);
                if s >= sources.end as u64 {
                    break;
                }
                if !(self.recurrent && s == t as u64) {
                    column.push(s as u32);
                }
                s += 1;
            }
        }))
    }
}

/// Draws different numbers from a range (Floyd's algorithm; Bentley and Floyd, Commun. ACM 30,
/// 1987), in time proportional to their number.
struct Distinct {
    /// The draw that last chose each number.
    chosen_in: Vec<u32>,
    draws: u32,
}

impl Distinct {
    fn new(bound: usize) -> Self {
        Self { chosen_in: vec![0; bound], draws: 0 }
    }

    /// `wanted` different numbers of `range` other than `except`, or all when there are fewer.
    fn from(
        &mut self,
        range: Range<usize>,
        except: Option<usize>,
        wanted: usize,
        key: Key,
        mut give: impl FnMut(u32),
    ) {
        self.draws += 1;
        let except = except.filter(|x| range.contains(x));
        let bound = range.len() - usize::from(except.is_some());
        for top in bound.saturating_sub(wanted)..bound {
            let draw = key.below(top as u64, index(top) + 1) as usize;
            let number = if self.chosen_in[draw] == self.draws { top } else { draw };
            self.chosen_in[number] = self.draws;
            // Numbers from the exception on stand for the ones after them.
            let shift = usize::from(except.is_some_and(|x| range.start + number >= x));
            give(index(range.start + number + shift));
        }
    }
}

/// The square torus on which the clusters of both ends lie.
struct Lattice {
    side: i64,
}

impl Lattice {
    fn new(pre: &Population, post: &Population) -> Self {
        let side = pre.clusters().isqrt();
        assert!(
            side * side == pre.clusters() && post.clusters() == pre.clusters(),
            "clusters of both ends lie on one square, not {} and {}",
            pre.clusters(),
            post.clusters()
        );
        Self { side: side as i64 }
    }

    /// Every target cluster of source cluster `s`.
    fn reached(
        &self,
        s: usize,
        (from, to): (i32, i32),
        p: f32,
        spread: usize,
        key: Key,
        mut give: impl FnMut(usize),
    ) {
        let (x, y) = (s as i64 / self.side, s as i64 % self.side);
        let mut counter = 0;
        for dx in i64::from(from)..=i64::from(to) {
            for dy in i64::from(from)..=i64::from(to) {
                let connected = key.uniform(counter) < p;
                counter += 1;
                if !connected {
                    continue;
                }
                for ex in 0..spread as i64 {
                    for ey in 0..spread as i64 {
                        let at_x = (x + dx - ex).rem_euclid(self.side);
                        let at_y = (y + dy - ey).rem_euclid(self.side);
                        give((at_x * self.side + at_y) as usize);
                    }
                }
            }
        }
    }
}

/// An index or count as it is stored.
fn index(value: usize) -> u32 {
    u32::try_from(value).expect("a valid projection has fewer than 2^32 connections")
}

#[cfg(test)]
mod tests {
    use super::super::description::{Cell, Model, Port, Receptor};
    use super::*;

    fn population(cell: Cell, count: usize, cluster: usize, by_cluster: bool) -> Population {
        let receptor = Receptor { name: "R".into(), tau_ms: 1.0, reversal_mv: 0.0, by_cluster };
        Population { cell, count, cluster, model: Model::Input, receptors: vec![receptor] }
    }

    fn projection(pattern: Pattern, zones: usize) -> Projection {
        Projection {
            pre: Cell::Granule,
            pre_range: None,
            post: Cell::Purkinje,
            onto: vec![Port { receptor: 0, share: 1.0 }],
            pattern,
            zones,
            weight: Weight::Constant { value: 1.0 },
            delay_steps: 1,
            plasticity: None,
        }
    }

    fn rows(pattern: Pattern, zones: usize, sources: usize, targets: usize, seed: u64) -> Rows {
        let pre = population(Cell::Granule, sources, 1, false);
        let post = population(Cell::Purkinje, targets, 1, false);
        connect(&projection(pattern, zones), &pre, &post, Key::new(seed)).into_rows()
    }

    fn in_degrees(rows: &Rows) -> Vec<usize> {
        let mut n = vec![0; rows.targets];
        rows.target.iter().for_each(|&t| n[t as usize] += 1);
        n
    }

    fn assert_rows_ascend(rows: &Rows) {
        assert_eq!(rows.start.len(), rows.sources + 1);
        for s in 0..rows.sources {
            assert!(rows.row(s).is_sorted_by(|a, b| a < b), "row {s}: {:?}", rows.row(s));
            assert!(rows.row(s).iter().all(|&t| (t as usize) < rows.targets));
        }
    }

    #[test]
    fn every_target_has_its_in_degree_of_different_sources_evenly_drawn() {
        let rows = rows(Pattern::InDegree { sources: 4 }, 1, 50, 10_000, 1);
        assert_rows_ascend(&rows);
        assert!(in_degrees(&rows).iter().all(|&n| n == 4));
        // 800 a source; the standard deviation is 27.
        assert!((0..50).all(|s| rows.row(s).len().abs_diff(800) < 140));
    }

    #[test]
    fn every_source_has_its_out_degree_of_different_targets_evenly_drawn() {
        let rows = rows(Pattern::OutDegree { targets: 7 }, 1, 10_000, 70, 2);
        assert_rows_ascend(&rows);
        assert!((0..10_000).all(|s| rows.row(s).len() == 7));
        assert!(in_degrees(&rows).iter().all(|&n| n.abs_diff(1000) < 150));
    }

    #[test]
    fn a_probability_gives_that_share_of_all_pairs_evenly() {
        for p in [0.0, 0.03, 0.5, 1.0] {
            let rows = rows(Pattern::Probability { p }, 1, 400, 500, 3);
            assert_rows_ascend(&rows);
            let (n, p) = (200_000.0, f64::from(p));
            let expected = n * p;
            let deviation = (n * p * (1.0 - p)).sqrt();
            assert!((rows.target.len() as f64 - expected).abs() <= 5.0 * deviation);
            let spread = 5.5 * (500.0 * p * (1.0 - p)).sqrt();
            for s in 0..400 {
                assert!((rows.row(s).len() as f64 - 500.0 * p).abs() <= spread, "row {s} at {p}");
            }
        }
    }

    #[test]
    fn what_a_target_draws_does_not_depend_on_the_others() {
        for pattern in [Pattern::Probability { p: 0.1 }, Pattern::InDegree { sources: 20 }] {
            let few = rows(pattern, 1, 300, 10, 5);
            let many = rows(pattern, 1, 300, 40, 5);
            for s in 0..300 {
                let head: Vec<u32> = many.row(s).iter().copied().filter(|&t| t < 10).collect();
                assert_eq!(few.row(s), head);
            }
        }
    }

    #[test]
    fn nothing_crosses_zones_and_the_last_takes_what_is_left_over() {
        for pattern in [
            Pattern::AllToAll,
            Pattern::OneToOne,
            Pattern::InDegree { sources: 5 },
            Pattern::OutDegree { targets: 2 },
            Pattern::Probability { p: 0.4 },
            Pattern::Stripes { columns: 4, reach: 1 },
        ] {
            let rows = rows(pattern, 3, 100, 20, 7);
            assert_rows_ascend(&rows);
            assert!(!rows.target.is_empty());
            for s in 0..100 {
                let zone = [33, 66, 100].iter().position(|&end| s < end).unwrap();
                let targets = [0..6, 6..12, 12..20][zone].clone();
                assert!(rows.row(s).iter().all(|t| targets.contains(t)), "{pattern:?} source {s}");
            }
        }
        let degrees = in_degrees(&rows(Pattern::AllToAll, 3, 100, 20, 7));
        assert_eq!(degrees, [[33; 12].as_slice(), &[34; 8]].concat());
    }

    #[test]
    fn dense_connections_are_counted_without_being_listed() {
        let pre = population(Cell::Granule, 100_001, 1, false);
        let post = population(Cell::Purkinje, 101, 1, false);
        let dense = connect(&projection(Pattern::AllToAll, 2), &pre, &post, Key::new(1));
        assert_eq!(dense, Connections::Blocks { sources: 100_001, targets: 101, zones: 2 });
        assert_eq!(dense.edges(), 50_000 * 50 + 50_001 * 51);
    }

    #[test]
    fn one_to_one_pairs_equal_parts() {
        let wide = rows(Pattern::OneToOne, 1, 3, 12, 1);
        assert_eq!(wide.row(1), [4, 5, 6, 7]);
        let narrow = rows(Pattern::OneToOne, 1, 12, 3, 1);
        assert!((0..12).all(|s| narrow.row(s) == [s as u32 / 4]));
    }

    #[test]
    fn a_range_of_sources_leaves_the_others_without_targets() {
        let pre = population(Cell::Mossy, 110, 1, false);
        let post = population(Cell::Granule, 100, 1, false);
        let mut projection = projection(Pattern::OneToOne, 1);
        projection.pre_range = Some(0..100);
        let rows = connect(&projection, &pre, &post, Key::new(1)).into_rows();
        assert!((0..100).all(|s| rows.row(s) == [s as u32]));
        assert!((100..110).all(|s| rows.row(s).is_empty()));
        projection.pattern = Pattern::AllToAll;
        projection.pre_range = Some(100..110);
        let rows = connect(&projection, &pre, &post, Key::new(1)).into_rows();
        assert!((0..100).all(|s| rows.row(s).is_empty()));
        assert!((100..110).all(|s| rows.row(s).len() == 100));
    }

    #[test]
    fn cells_do_not_reach_themselves() {
        let golgi = population(Cell::Golgi, 60, 1, false);
        for pattern in [
            Pattern::InDegree { sources: 59 },
            Pattern::OutDegree { targets: 59 },
            Pattern::Probability { p: 1.0 },
        ] {
            let rows = connect(&projection(pattern, 1), &golgi, &golgi, Key::new(1)).into_rows();
            for s in 0..60 {
                assert!(rows.row(s).iter().copied().eq((0..60).filter(|&t| t != s as u32)));
            }
        }
    }

    #[test]
    fn nine_of_32_columns_give_a_purkinje_cell_28_800_parallel_fibres() {
        // The stripes of Yamazaki and Nagao (PLoS ONE 7:e33319, 2012).
        let rows = rows(Pattern::Stripes { columns: 32, reach: 4 }, 1, 102_400, 16, 1);
        assert_rows_ascend(&rows);
        assert!(in_degrees(&rows).iter().all(|&n| n == 28_800));
        // Cell 3 sits at column 6: columns 2 to 10.
        for (column, reached) in [(1, false), (2, true), (10, true), (11, false)] {
            assert_eq!(rows.row(column * 3_200).contains(&3), reached, "column {column}");
        }
        // Cell 0 is reached across the end of the ring.
        assert!(rows.row(28 * 3_200).contains(&0) && !rows.row(27 * 3_200).contains(&0));
    }

    #[test]
    fn neighbours_are_clusters_in_a_square_around_the_source_on_a_torus() {
        let pre = population(Cell::Granule, 64 * 10, 10, false);
        let post = population(Cell::Golgi, 64, 1, false);
        let pattern = Pattern::Neighbours { from: -1, to: 2, p: 1.0, spread: 1 };
        let found = connect(&projection(pattern, 1), &pre, &post, Key::new(1));
        assert_eq!((found.sources(), found.cells_per_source()), (64, 10));
        let rows = found.into_rows();
        assert_rows_ascend(&rows);
        // Cluster 0 is at (0, 0): rows 7, 0, 1, 2 and the same columns.
        let mut expected = Vec::new();
        for x in [0, 1, 2, 7] {
            expected.extend([0, 1, 2, 7].map(|y| x * 8 + y));
        }
        assert_eq!(rows.row(0), expected);
        assert!(in_degrees(&rows).iter().all(|&n| n == 16));
    }

    #[test]
    fn neighbours_reach_clusters_where_they_share_a_receptor_and_their_cells_otherwise() {
        let pre = population(Cell::Golgi, 64, 1, false);
        let pattern = Pattern::Neighbours { from: 0, to: 0, p: 1.0, spread: 1 };
        // The last cluster is short.
        let shared = population(Cell::Granule, 637, 10, true);
        let rows = connect(&projection(pattern, 1), &pre, &shared, Key::new(1)).into_rows();
        assert_eq!((rows.targets, rows.row(63)), (64, [63].as_slice()));
        let single = population(Cell::Granule, 637, 10, false);
        let rows = connect(&projection(pattern, 1), &pre, &single, Key::new(1)).into_rows();
        assert_eq!(
            (rows.targets, rows.row(63)),
            (637, [630, 631, 632, 633, 634, 635, 636].as_slice())
        );
        assert!(in_degrees(&rows).iter().all(|&n| n == 1));
    }

    #[test]
    fn a_glomerulus_is_read_by_the_clusters_around_it() {
        let pre = population(Cell::Golgi, 1024, 1, false);
        let post = population(Cell::Granule, 1024 * 3, 3, true);
        let one = Pattern::Neighbours { from: 0, to: 0, p: 1.0, spread: 2 };
        let rows = connect(&projection(one, 1), &pre, &post, Key::new(1)).into_rows();
        // (1, 1) is read by itself and by those before it on either axis.
        assert_eq!(rows.row(33), [0, 1, 32, 33]);
        // Yamazaki and Nagao (2012): 81 places · 0.025 · 4 clusters reached by a Golgi cell.
        let okr = Pattern::Neighbours { from: -4, to: 4, p: 0.025, spread: 2 };
        let rows = connect(&projection(okr, 1), &pre, &post, Key::new(1)).into_rows();
        let expected = 1024.0 * 81.0 * 0.025 * 4.0;
        assert!((rows.target.len() as f64 / expected - 1.0).abs() < 0.05);
    }

    #[test]
    fn equal_keys_give_equal_connections_and_others_do_not() {
        for pattern in [
            Pattern::InDegree { sources: 4 },
            Pattern::OutDegree { targets: 4 },
            Pattern::Probability { p: 0.1 },
        ] {
            assert_eq!(rows(pattern, 1, 100, 100, 9), rows(pattern, 1, 100, 100, 9));
            assert_ne!(rows(pattern, 1, 100, 100, 9), rows(pattern, 1, 100, 100, 10));
        }
    }

    #[test]
    fn weights_lie_evenly_within_their_jitter() {
        let drawn = weights(Weight::Uniform { mean: 2.0, jitter: 0.25 }, 40_000, Key::new(3));
        assert!(drawn.iter().all(|w| (1.5..=2.5).contains(w)));
        let mean = drawn.iter().map(|&w| f64::from(w)).sum::<f64>() / 40_000.0;
        assert!((mean - 2.0).abs() < 0.01, "mean {mean}");
        let low = drawn.iter().filter(|&&w| w < 1.75).count();
        assert!(low.abs_diff(10_000) < 450, "{low} in the lowest quarter");
        assert_eq!(weights(Weight::Constant { value: 0.5 }, 3, Key::new(3)), [0.5; 3]);
    }
}
