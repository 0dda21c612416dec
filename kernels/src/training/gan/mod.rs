//! Paths of market features that were never seen but could have been, for augmentation and stress.
//!
//! Two networks learn against each other (Goodfellow et al., 2014): the generator, an LSTM, makes windows of
//! noise, a number of fresh deviates for each step (as Esteban, Hyland and Rätsch, 2017, do); the
//! discriminator, convolutions along time, tells them from windows of the data. What has to keep the pair
//! stable can use first derivatives only, which is all that `burn` has, so no gradient penalty: the
//! discriminator's weights are divided by their spectral norm (Miyato et al., 2018), the loss is the hinge
//! of Lim and Ye, 2017, the two learn at rates of their own (Heusel et al., 2017), and paths come from a
//! running mean of the generator's weights (Yazıcı et al., 2019).
//!
//! Invariants: equal data, configuration and seed give equal weights and equal paths, bit for bit, on one
//! kind of processor; a run that was cut and resumed ends as one that was not.

mod checkpoint;
pub mod config;
pub mod generator;
pub mod likeness;
mod networks;
pub mod trainer;
