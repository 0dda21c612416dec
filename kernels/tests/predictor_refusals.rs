//! Weights that do not fit their network are refused by name; no bytes make the reader panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod random_weights;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use purkinje_kernels::predictors::architecture::{Architecture, LstmArchitecture};
use purkinje_kernels::predictors::lstm::Lstm;
use purkinje_kernels::predictors::predictor::{BATCH_MAX, Serving};
use purkinje_kernels::predictors::weights::Tensors;

fn network() -> LstmArchitecture {
    let text = "kind = \"lstm\"\ninputs = 3\noutputs = 1\nhidden = [5, 4]\n";
    let Architecture::Lstm(network) = Architecture::from_toml(text).unwrap() else {
        panic!("{text}");
    };
    network
}

fn refusal(names: &[(String, Vec<usize>)]) -> String {
    let tensors = random_weights::tensors(names, 1);
    Lstm::new(&network(), tensors, &Serving::new(1)).unwrap_err().to_string()
}

#[test]
fn every_tensor_that_is_missing_or_misshapen_or_too_many_is_named() {
    let right = random_weights::lstm(3, &[5, 4]);
    Lstm::new(&network(), random_weights::tensors(&right, 1), &Serving::new(1)).unwrap();
    for (n, (name, shape)) in right.iter().enumerate() {
        let mut names = right.clone();
        names.remove(n);
        assert_eq!(refusal(&names), format!("{name}: missing, expected shape {shape:?}"));
        let mut names = right.clone();
        names[n].1[0] += 1;
        let found = &names[n].1;
        assert_eq!(refusal(&names), format!("{name}: shape {found:?}, expected {shape:?}"));
    }
    let mut names = right;
    names.extend((0..7).map(|n| (format!("lstm.{}.bias_ih_l0", 9 - n), vec![2])));
    assert_eq!(
        refusal(&names),
        "unknown tensors, 7 of them: lstm.3.bias_ih_l0, lstm.4.bias_ih_l0, lstm.5.bias_ih_l0, \
         lstm.6.bias_ih_l0, lstm.7.bias_ih_l0"
    );
}

#[test]
fn counts_out_of_range_are_refused_before_anything_is_allocated() {
    let tensors = random_weights::tensors(&random_weights::lstm(3, &[5, 4]), 1);
    for (instruments, max_batch, told) in [
        (0, 1, "instruments = 0: expected 1 to 65536".to_owned()),
        (1, usize::MAX, format!("max_batch = {}: expected 1 to {BATCH_MAX}", usize::MAX)),
    ] {
        let serving = Serving { max_batch, ..Serving::new(instruments) };
        let refused = Lstm::new(&network(), tensors.clone(), &serving).unwrap_err();
        assert_eq!(refused.to_string(), told);
    }
}

#[test]
fn more_windows_than_a_network_was_built_for_are_refused_by_every_kind() {
    for (kind, names) in [
        ("feed-forward", random_weights::feed_forward(&[3, 128, 64, 32, 1])),
        ("lstm", random_weights::lstm(3, &[64, 32])),
        ("cnn", random_weights::cnn(3, &[32, 32, 32], 3)),
        ("transformer", random_weights::transformer(3, 64, 2, 256)),
        ("autoencoder", random_weights::autoencoder(3, &[32, 16, 8])),
    ] {
        let outputs = if kind == "autoencoder" { "" } else { "outputs = 1\n" };
        let network = format!("kind = \"{kind}\"\ninputs = 3\n{outputs}");
        let serving = Serving { max_batch: 2, ..Serving::new(4) };
        let tensors = random_weights::tensors(&names, 1);
        let mut model =
            Architecture::from_toml(&network).unwrap().build(tensors, &serving).unwrap();
        let (window, width) = (3 * model.steps(), model.outputs());
        model.infer(&vec![0.1; 2 * window], &mut vec![0.0; 2 * width]);
        let three = catch_unwind(AssertUnwindSafe(|| {
            model.infer(&vec![0.1; 3 * window], &mut vec![0.0; 3 * width]);
        }));
        let told = three.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*told, "3 windows, built for 2", "{kind}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Tensors::read(&bytes);
        let framed = [&(bytes.len() as u64 / 2).to_le_bytes()[..], &bytes].concat();
        let _ = Tensors::read(&framed);
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_and_never_panics(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = random_weights::file(&random_weights::lstm(3, &[5, 4]), 1);
        let mut damaged = whole.clone();
        *at.get_mut(&mut damaged) = byte;
        if let Ok(tensors) = Tensors::read(&damaged) {
            let _ = Lstm::new(&network(), tensors, &Serving::new(1));
        }
        prop_assert!(Tensors::read(&whole[..cut.index(whole.len())]).is_err());
    }
}
