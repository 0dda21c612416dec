//! LSTMs answer as PyTorch does, from fresh windows and from streams, however they are run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod pytorch;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::lstm::Lstm;
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use pytorch::{assert_close, bits, read};

const STREAM: usize = 70;

struct Case {
    name: &'static str,
    inputs: usize,
    outputs: usize,
    steps: usize,
    windows: usize,
    hidden: &'static str,
}

const CASES: [Case; 2] = [
    Case { name: "lstm", inputs: 12, outputs: 2, steps: 50, windows: 5, hidden: "[64, 32]" },
    Case {
        name: "lstm_single",
        inputs: 10,
        outputs: 1,
        steps: 11,
        windows: 3,
        hidden: "[20, 20, 20]",
    },
];

impl Case {
    fn network(&self, serving: &Serving) -> Lstm {
        let Self { inputs, outputs, steps, hidden, .. } = self;
        let text = format!(
            "kind = \"lstm\"\ninputs = {inputs}\noutputs = {outputs}\nsteps = {steps}\n\
             hidden = {hidden}\n"
        );
        let Architecture::Lstm(network) = Architecture::from_toml(&text).unwrap() else {
            panic!("{text}");
        };
        Lstm::new(&network, read(self.name).0, serving).unwrap()
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        read(self.name).1.take(name, shape).unwrap()
    }

    fn windows(&self) -> Vec<f32> {
        self.vector("inputs", &[self.windows, self.steps, self.inputs])
    }

    /// The answers of one stream.
    fn streamed(&self, network: &mut Lstm, rows: &[f32]) -> Vec<f32> {
        let mut all = Vec::new();
        for row in rows.chunks(self.inputs) {
            let mut answer = vec![0.0; self.outputs];
            network.step(row, &[true], &mut answer);
            all.extend(answer);
        }
        all
    }
}

#[test]
fn fresh_windows_equal_pytorchs_on_every_instruction_set_to_the_same_bit() {
    for case in CASES {
        let (windows, width) = (case.windows(), case.outputs);
        let expected = case.vector("outputs", &[case.windows, width]);
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::here() {
            let mut network = case.network(&Serving { isa, ..Serving::new(case.windows) });
            let mut got = vec![0.0; case.windows * width];
            network.infer(&windows, &mut got);
            assert_close(&got, &expected, case.name);
            assert_eq!(&bits(&got), first.get_or_insert_with(|| bits(&got)), "{isa:?}");
            let mut single = vec![0.0; width];
            let singles = windows.chunks(case.steps * case.inputs);
            for (window, got) in singles.zip(got.chunks(width)) {
                network.infer(window, &mut single);
                assert_eq!(bits(&single), bits(got), "one window is one of many");
            }
        }
    }
}

#[test]
fn more_windows_than_are_computed_side_by_side_give_the_same_bits() {
    let case = &CASES[0];
    let (windows, window) = (case.windows(), case.steps * case.inputs);
    let many: Vec<f32> = windows.iter().copied().cycle().take(37 * window).collect();
    let mut network = case.network(&Serving::new(37));
    let (mut few, mut all) = (vec![0.0; case.windows * 2], vec![0.0; 37 * 2]);
    network.infer(&windows, &mut few);
    network.infer(&many, &mut all);
    for (i, got) in all.chunks(2).enumerate() {
        assert_eq!(bits(got), bits(&few[i % case.windows * 2..][..2]), "window {i}");
    }
}

#[test]
fn a_stream_equals_pytorchs_with_the_state_carried() {
    for case in CASES {
        let rows = case.vector("stream", &[STREAM, case.inputs]);
        let expected = case.vector("streamed", &[STREAM, case.outputs]);
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::here() {
            let mut network = case.network(&Serving { isa, ..Serving::new(1) });
            let got = case.streamed(&mut network, &rows);
            assert_close(&got, &expected, case.name);
            assert_eq!(&bits(&got), first.get_or_insert_with(|| bits(&got)), "{isa:?}");
        }
    }
}

#[test]
fn a_stream_from_its_beginning_is_the_window_bit_for_bit() {
    for case in CASES {
        let mut network = case.network(&Serving::new(1));
        for window in case.windows().chunks(case.steps * case.inputs) {
            network.reset(0);
            let streamed = case.streamed(&mut network, window);
            let mut fresh = vec![0.0; case.outputs];
            network.infer(window, &mut fresh);
            assert_eq!(bits(&streamed[streamed.len() - case.outputs..]), bits(&fresh));
        }
    }
}

#[test]
fn preparing_changes_no_bit_of_a_stream() {
    for precision in [Precision::F32, Precision::Bf16] {
        for case in CASES {
            let rows = case.vector("stream", &[STREAM, case.inputs]);
            let serving = Serving { precision, ..Serving::new(1) };
            let (mut plain, mut prepared) = (case.network(&serving), case.network(&serving));
            for (n, row) in rows.chunks(case.inputs).enumerate() {
                // At times twice, at times not at all, once before a reset.
                (0..n % 3).for_each(|_| prepared.prepare());
                if n == 40 {
                    prepared.prepare();
                    prepared.reset(0);
                    plain.reset(0);
                }
                let [a, b] =
                    [&mut plain, &mut prepared].map(|network| bits(&case.streamed(network, row)));
                assert_eq!(a, b, "{} step {n}", case.name);
            }
        }
    }
}

#[test]
fn each_instruments_stream_is_its_own_whoever_else_is_active() {
    const INSTRUMENTS: usize = 7;
    for precision in [Precision::F32, Precision::Bf16] {
        let case = &CASES[0];
        let (inputs, width) = (case.inputs, case.outputs);
        let rows = case.vector("stream", &[STREAM, inputs]);
        let serving = Serving { precision, ..Serving::new(INSTRUMENTS) };
        let alone = case.streamed(&mut case.network(&Serving { instruments: 1, ..serving }), &rows);
        let mut network = case.network(&serving);
        let mut taken = [0; INSTRUMENTS];
        for n in 0..2 * STREAM {
            let active: Vec<bool> = (0..INSTRUMENTS)
                .map(|i| (n * 5 + i * i) % 4 > i % 3 && taken[i] < STREAM)
                .collect();
            let mut batch = vec![f32::NAN; INSTRUMENTS * inputs];
            for (i, row) in batch.chunks_mut(inputs).enumerate().filter(|(i, _)| active[*i]) {
                row.copy_from_slice(&rows[taken[i] * inputs..][..inputs]);
            }
            let mut got = vec![7.0; INSTRUMENTS * width];
            network.step(&batch, &active, &mut got);
            for (i, got) in got.chunks(width).enumerate() {
                if active[i] {
                    let expected = &alone[taken[i] * width..][..width];
                    assert_eq!(bits(got), bits(expected), "instrument {i} step {}", taken[i]);
                    taken[i] += 1;
                } else {
                    assert_eq!(got, [7.0; 2], "instrument {i} took no part");
                }
            }
            if n % 4 == 1 {
                network.prepare();
            }
        }
        assert!(taken.iter().all(|t| *t > STREAM / 4), "every stream went on: {taken:?}");
    }
}

#[test]
fn what_is_no_number_stays_in_its_stream_until_that_is_reset() {
    let case = &CASES[0];
    let rows = case.vector("stream", &[STREAM, case.inputs]);
    let mut network = case.network(&Serving::new(2));
    let mut got = [0.0; 4];
    let mut both = [&rows[..case.inputs], &rows[..case.inputs]].concat();
    network.step(&both, &[true, true], &mut got);
    both[3] = f32::NAN;
    network.step(&both, &[true, true], &mut got);
    both[3] = 0.0;
    network.step(&both, &[true, true], &mut got);
    assert_eq!(got.map(f32::is_nan), [true, true, false, false]);
    network.reset(0);
    network.step(&both, &[true, false], &mut got);
    assert!(got.iter().all(|y| y.is_finite()), "{got:?}");
}
