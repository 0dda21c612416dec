//! normalise.
/// How a feature is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Location and scale are learnt online.
    Adaptive,
    /// The value is multiplied by a constant.
    Fixed {
        /// The constant.
        gain: f32,
    },
}
