//! Sink tokens: image tokens that draw attention without meaning (Kang et al., ICLR 2025, arXiv 2503.03321).

use crate::selection::SinkRule;
use crate::{Error, Result};

/// Added to the mean square before the root, as RMSNorm does.
const EPSILON: f64 = 1e-6;

/// φ of every token: the largest absolute hidden value after division by the root mean square of the token.
///
/// `hidden` is `[tokens, width]`; `dims` restricts the search to known sink dimensions. φ never exceeds √width.
///
/// # Errors
/// [`Error::Shape`] when lengths do not fit, [`Error::NonFinite`] with the flat index, [`Error::Option`] for a
/// dimension outside the width.
pub fn sink_phi(hidden: &[f32], width: usize, dims: Option<&[usize]>) -> Result<Vec<f64>> {
    if width == 0 || hidden.is_empty() || !hidden.len().is_multiple_of(width) {
        return Err(Error::Shape(format!(
            "{} hidden values of width {width}",
            hidden.len()
        )));
    }
    if let Some(index) = hidden.iter().position(|v| !v.is_finite()) {
        return Err(Error::NonFinite { index });
    }
    if let Some(dims) = dims
        && (dims.is_empty() || dims.iter().any(|&d| d >= width))
    {
        return Err(Error::Option(format!(
            "sink dimensions {dims:?} of hidden states of width {width}"
        )));
    }
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |m, v| m.max(v.abs()));
    Ok(hidden
        .chunks_exact(width)
        .map(|token| {
            let square = token
                .iter()
                .map(|&v| f64::from(v) * f64::from(v))
                .sum::<f64>()
                / width as f64;
            let peak = match dims {
                Some(dims) => largest(&mut dims.iter().map(|&d| token[d])),
                None => largest(&mut token.iter().copied()),
            };
            f64::from(peak) / (square + EPSILON).sqrt()
        })
        .collect())
}

/// Which tokens are sinks, from their φ.
///
/// # Errors
/// [`Error::Option`] for an absolute threshold that φ ≤ √width can never exceed: the published 20 below width 401.
pub fn detect(phi: &[f64], width: usize, rule: SinkRule) -> Result<Vec<bool>> {
    let bound = (width as f64).sqrt();
    let threshold = match rule {
        SinkRule::Relative(share) => share * bound,
        SinkRule::Absolute(tau) => tau,
    };
    if threshold >= bound {
        return Err(Error::Option(format!(
            "sink threshold {threshold} can never fire: the statistic is at most {bound:.2} at width {width}"
        )));
    }
    Ok(phi.iter().map(|&phi| phi > threshold).collect())
}
