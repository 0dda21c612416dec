//! Which online rules a cerebellum has, and with what constants.
//!
//! The default is what measured best: climbing fibres and synaptic scaling recover 79 to 82 % of the
//! best possible gain on three simulated markets. The brake takes 3 to 4 of them, as it stops teaching
//! short of the probability; metaplasticity at its usual threshold never acts, as weights move less
//! than that. Invariant: a rule that is off changes nothing and costs nothing worth measuring.

use super::config::{ConfigError, range};
use crate::cerebellum::rules::{
    Bcm, BcmConfig, Intrinsic, IntrinsicConfig, Metaplasticity, MetaplasticityConfig,
    PairStdpConfig, PairTraces, Scaling, ScalingConfig,
};

/// Rate at which synaptic scaling holds the Purkinje cells, Hz (in vivo 60 to 90).
pub(super) const PURKINJE_HZ: f32 = 60.0;

/// The online rules of a [`super::Cerebellum`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RulesConfig {
    /// Depression of parallel fibres gated by climbing fibres, with the potentiation that balances
    /// it.
    pub climbing_fibre: bool,
    /// Nucleo-olivary inhibition: a zone's climbing fibres fire less where its nuclei already answer.
    pub brake: bool,
    /// Share of the value's distance from one half that the brake takes off the error: 0 to 4.
    pub brake_strength: f32,
    /// Synaptic scaling of the parallel fibres on the mean rate of both zones.
    pub scaling: ScalingConfig,
    /// Pair STDP, weights in initial weights. Needs weights of each instrument's own.
    pub stdp: PairStdpConfig,
    /// Slower learning of Purkinje cells whose weights moved much, as a share of the weight's range.
    pub metaplasticity: MetaplasticityConfig,
    /// The sliding threshold, which adds a Hebbian term of its own to what an outcome teaches.
    pub bcm: BcmConfig,
    /// Change by the sliding threshold at a modification of 1 and one parallel-fibre spike, in
    /// initial weights: 0 to 1.
    pub bcm_rate: f32,
    /// Drive of the Purkinje cells that follows their rate, cell by cell.
    pub intrinsic: IntrinsicConfig,
}

impl Default for RulesConfig {
    fn default() -> Self {
        let scaling =
            ScalingConfig { enabled: true, target_hz: PURKINJE_HZ, eta: 0.02, span: 20.0 };
        Self {
            climbing_fibre: true,
            brake: false,
            brake_strength: 0.5,
            scaling,
            stdp: PairStdpConfig::default(),
            metaplasticity: MetaplasticityConfig::default(),
            bcm: BcmConfig::default(),
            bcm_rate: 0.001,
            intrinsic: IntrinsicConfig::default(),
        }
    }
}

impl RulesConfig {
    /// Checks every setting.
    pub(super) fn validate(&self, step_ms: f32) -> Result<(), ConfigError> {
        range("rules.brake_strength", self.brake_strength, 0.0, 4.0)?;
        range("rules.bcm_rate", self.bcm_rate, 0.0, 1.0)?;
        Scaling::new(self.scaling, 1.0)?;
        Metaplasticity::new(self.metaplasticity, 1)?;
        Bcm::new(self.bcm, 1)?;
        Intrinsic::new(self.intrinsic)?;
        PairTraces::new(self.stdp, 1, 1, step_ms)?;
        Ok(())
    }

    /// Appends every setting as little-endian bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (m, b, i) = (&self.metaplasticity, &self.bcm, &self.intrinsic);
        let (scaling, stdp) = (&self.scaling, &self.stdp);
        let switches = [
            self.climbing_fibre,
            self.brake,
            scaling.enabled,
            stdp.enabled,
            m.enabled,
            b.enabled,
            i.enabled,
        ];
        out.extend(switches.map(u8::from));
        let numbers = [
            self.brake_strength,
            scaling.target_hz,
            scaling.eta,
            scaling.span,
            stdp.tau_pre_ms,
            stdp.tau_post_ms,
            stdp.a_plus,
            stdp.a_minus,
            stdp.rate,
            m.threshold_per_s,
            m.tau_ms,
            m.factor,
            m.rate_min,
            m.rate_max,
            self.bcm_rate,
            b.theta0_hz,
            b.tau_ms,
            b.theta_max_hz,
            b.modulation_max,
            i.target_hz,
            i.eta_per_hz,
            i.drive_min,
            i.drive_max,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}
