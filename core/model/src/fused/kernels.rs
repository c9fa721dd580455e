//! Arithmetic on slices: the loops that the operations of this module are made of.
//!
//! Each kernel is compiled three times (plain, AVX2, AVX-512) and the widest version the processor has
//! is taken at run time. Sums run over fixed lanes, so a result depends on the shapes and the
//! instruction set alone, never on the number of threads.

use std::mem::MaybeUninit;

/// Lanes of a running sum; four AVX-512 or eight AVX2 registers hide the latency of an addition.
const LANES: usize = 32;
const EPSILON: f32 = 1e-5;

/// Compiles a kernel for the instruction sets named above. The body may call [`fma`] with `FMA`.
macro_rules! simd {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "a kernel takes its operands one by one")]
        pub(crate) fn $name($($arg: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body<const FMA: bool>($($arg: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx512($($arg: $type),*) {
                    body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx2($($arg: $type),*) {
                    body::<true>($($arg),*)
                }
                match level() {
                    // SAFETY: `level` has asked the processor for these features.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Plain => {}
                }
            }
            body::<false>($($arg),*)
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Level {
    Plain,
    Avx2,
    Avx512,
}

#[cfg(target_arch = "x86_64")]
fn level() -> Level {
    // `is_x86_feature_detected!` caches, so asking costs one load.
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Plain
    }
}

/// `a · b + c`; fused where the instruction exists, since the library's emulation of it is slow.
#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// eˣ to about 1 unit in the last place for x in [-87, 88], clamped outside (Cody–Waite reduction and a
/// polynomial of degree 6). Branch-free so that a loop over it becomes vector instructions.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5·2²³: adding it rounds to the nearest integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND) - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = fma::<FMA>(n, 2.121_944_4e-4, fma::<FMA>(n, -0.693_359_4, x));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FMA>(p, r, c);
    }
    // SAFETY: the clamp keeps n within ±127 (NaN is clamped nowhere and caught by `max` below).
    let n = unsafe { n.max(-127.0).to_int_unchecked::<i32>() };
    p * f32::from_bits(((n + 127) << 23) as u32)
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs
        .remainder()
        .iter()
        .zip(ys.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = fma::<FMA>(*x, *y, *lane);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks
        .remainder()
        .iter()
        .fold(f32::MIN, |a, &b| if b > a { b } else { a });
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().fold(rest, |a, &b| if b > a { b } else { a })
}

/// Mean and 1/√(variance + ε) of one row, in two passes (the one-pass form cancels).
#[inline(always)]
fn moments<const FMA: bool>(x: &[f32]) -> (f32, f32) {
    let inverse = 1.0 / x.len() as f32;
    let mean = sum(x) * inverse;
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks
        .remainder()
        .iter()
        .map(|v| (v - mean) * (v - mean))
        .sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let centred = value - mean;
            *lane = fma::<FMA>(centred, centred, *lane);
        }
    }
    let variance = (lanes.iter().sum::<f32>() + rest) * inverse;
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

/// Normal distribution at x: (Φ(x), e^(-x²/2)). Φ by Abramowitz & Stegun 7.1.26, absolute error below
/// 1e-7; the tail keeps its relative accuracy because it is never computed as 1 - something near 1.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fma::<FMA>(z, 0.327_591_1, 1.0);
    let mut poly = 1.061_405_4f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        poly = fma::<FMA>(poly, t, c);
    }
    let e = exp::<FMA>(-z * z);
    let tail = 0.5 * poly * t * e;
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

simd! {
    /// Exact GELU: y = x Φ(x).
    fn gelu(x: &[f32], y: &mut [MaybeUninit<f32>]) {
        for (y, &x) in y.iter_mut().zip(x) {
            y.write(x * normal::<FMA>(x).0);
        }
    }
}

simd! {
    /// g ← g · d(x Φ(x))/dx.
    fn gelu_backward(x: &[f32], g: &mut [f32]) {
        const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
        for (g, &x) in g.iter_mut().zip(x) {
            let (phi, e) = normal::<FMA>(x);
            *g *= fma::<FMA>(x * FRAC_1_SQRT_2PI, e, phi);
        }
    }
}

simd! {
    /// Rows of `x` to mean 0 and variance 1, then `gamma · x + beta`.
    fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [MaybeUninit<f32>]) {
        let n = gamma.len();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let (mean, scale) = moments::<FMA>(x);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                y.write(fma::<FMA>((x - mean) * scale, *gamma, *beta));
            }
        }
    }
}

simd! {
    /// g ← gradient of the rows of `x`; the gradients of `gamma` and `beta` are added to theirs.
    fn layer_norm_backward(x: &[f32], gamma: &[f32], g: &mut [f32], d_gamma: &mut [f32], d_beta: &mut [f32]) {
        let n = gamma.len();
        let inverse = 1.0 / n as f32;
        for (x, g) in x.chunks_exact(n).zip(g.chunks_exact_mut(n)) {
            let (mean, scale) = moments::<FMA>(x);
            for ((((g, x), gamma), d_gamma), d_beta) in
                g.iter_mut().zip(x).zip(gamma).zip(d_gamma.iter_mut()).zip(d_beta.iter_mut())
            {
                *d_gamma = fma::<FMA>(*g, (x - mean) * scale, *d_gamma);
                *d_beta += *g;
                *g *= gamma;
            }
            let total = sum(g);
            // Σ g·x̂, with x̂ = (x - mean)·scale.
            let along = (dot::<FMA>(g, x) - mean * total) * scale;
            let (total, along) = (total * inverse, along * inverse);
            for (g, x) in g.iter_mut().zip(x) {
                *g = scale * (*g - total - (x - mean) * scale * along);
            }
        }
    }
}

simd! {
    /// Softmax over the visible keys of each row of `scores` (`[rows, keys]`), in place. Row r belongs to
    /// token `first + r`, which sees the keys below `max(prefix, first + r + 1)` whose `keep` is 1;
    /// hidden keys get exactly 0, and so does a row that sees nothing.
    fn softmax(scores: &mut [f32], keep: &[f32], first: usize, prefix: usize, scale: f32) {
        const HIDDEN: f32 = -1e30;
        let keys = keep.len();
        for (r, row) in scores.chunks_exact_mut(keys).enumerate() {
            let visible = prefix.max(first + r + 1).min(keys);
            let (row, hidden) = row.split_at_mut(visible);
            hidden.fill(0.0);
            for (value, keep) in row.iter_mut().zip(keep) {
                *value = if *keep > 0.5 { *value * scale } else { HIDDEN };
            }
            let top = max(row);
            if top <= HIDDEN {
                row.fill(0.0);
                continue;
            }
            for (value, keep) in row.iter_mut().zip(keep) {
                *value = exp::<FMA>(*value - top) * keep;
            }
            let inverse = 1.0 / sum(row);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

simd! {
    /// g ← scale · p ∘ (g - Σ p∘g) per row: from the gradient of the weights to that of the raw scores.
    fn softmax_backward(p: &[f32], g: &mut [f32], keys: usize, scale: f32) {
        for (p, g) in p.chunks_exact(keys).zip(g.chunks_exact_mut(keys)) {
            let mean = dot::<FMA>(p, g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
        }
    }
}

simd! {
    /// Adds the rows of `x` to `total`.
    fn add_rows(x: &[f32], total: &mut [f32]) {
        for row in x.chunks_exact(total.len()) {
            for (total, x) in total.iter_mut().zip(row) {
                *total += x;
            }
        }
    }
}

simd! {
    /// One step of AdamW (Loshchilov & Hutter 2019) on a run of parameters. `gradient_scale` carries the
    /// clipping; `correction` holds 1/(1 - β₁ᵗ) and 1/(1 - β₂ᵗ); `decay` is lr · weight decay.
    fn adamw(
        p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32],
        betas: [f32; 2], correction: [f32; 2], gradient_scale: f32, lr: f32, decay: f32, epsilon: f32,
    ) {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
            let g = g * gradient_scale;
            *m = fma::<FMA>(betas[0], *m, (1.0 - betas[0]) * g);
            *v = fma::<FMA>(betas[1], *v, (1.0 - betas[1]) * g * g);
            let update = (*m * correction[0]) / ((*v * correction[1]).sqrt() + epsilon);
            *p -= fma::<FMA>(decay, *p, lr * update);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Taylor series in f64, exact to the last digits for |x| < 5.
    fn phi(x: f64) -> f64 {
        let z = x / 2f64.sqrt();
        let (mut term, mut total) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            total += term / f64::from(2 * n + 1);
        }
        0.5 * (1.0 + total * 2.0 / std::f64::consts::PI.sqrt())
    }

    #[test]
    fn gelu_is_the_exact_form() {
        let x: Vec<f32> = (-400..=400).map(|i| i as f32 / 100.0).collect();
        let mut y = vec![MaybeUninit::new(0.0); x.len()];
        gelu(&x, &mut y);
        // SAFETY: it was initialised to begin with.
        let y: Vec<f32> = y.into_iter().map(|y| unsafe { y.assume_init() }).collect();
        let mut slope = vec![1.0; x.len()];
        gelu_backward(&x, &mut slope);
        for ((&x, &y), &slope) in x.iter().zip(&y).zip(&slope) {
            let x = f64::from(x);
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(y) - x * phi(x)).abs() < 4e-7, "gelu({x}) = {y}");
            assert!(
                (f64::from(slope) - phi(x) - x * density).abs() < 1e-6,
                "gelu'({x}) = {slope}"
            );
        }
    }

    #[test]
    fn exp_is_accurate_over_its_range() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp::<false>(x)), f64::from(x).exp());
            assert!(
                ((ours - exact) / exact).abs() < 5e-7,
                "exp({x}) = {ours}, exact {exact}"
            );
        }
        assert!(exp::<false>(f32::NAN).is_finite() || exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn softmax_hides_what_may_not_be_seen() {
        let keep = [1.0, 0.0, 1.0, 1.0, 1.0];
        let mut causal = vec![0.5; 3 * 5];
        softmax(&mut causal, &keep, 1, 0, 1.0);
        assert_eq!(causal[..5], [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(causal[5..10], [0.5, 0.0, 0.5, 0.0, 0.0]);
        let mut prefix = vec![0.5; 5];
        softmax(&mut prefix, &keep, 0, 4, 1.0);
        assert!((prefix[3] - 1.0 / 3.0).abs() < 1e-6 && prefix[4] == 0.0 && prefix[1] == 0.0);
        let mut nothing = vec![0.5; 2];
        softmax(&mut nothing, &[0.0, 0.0], 0, 2, 1.0);
        assert_eq!(nothing, [0.0, 0.0]);
    }
}
