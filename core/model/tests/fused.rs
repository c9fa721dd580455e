//! The kernels against burn's own operations, against finite differences, and against themselves on
//! another number of threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use burn::tensor::{Device, Tensor, TensorData};
use model::fused::{self, Visibility, plain};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product())
        .map(|_| rng.random_range(-1.0..1.0f32))
        .collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}[{index}]: {a} against {b}, scale {scale}"
        );
    }
}

/// Inputs of any rank as flat values; an operation on them, `true` for the kernels.
type Operation<'a> = &'a (dyn Fn(&[Tensor<1>], bool) -> Tensor<1> + Sync);

/// Result and gradients of Σ weights · operation.
fn gradients(
    inputs: &[Vec<f32>],
    operation: Operation,
    kernels: bool,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = Device::flex().autodiff();
    let tensors: Vec<Tensor<1>> = inputs
        .iter()
        .map(|v| Tensor::from_data(TensorData::new(v.clone(), [v.len()]), &device).require_grad())
        .collect();
    let result = operation(&tensors, kernels);
    let weights = random([result.dims()[0]], 99).autodiff();
    let gradients = (result.clone() * weights).sum().backward();
    let grads = tensors
        .iter()
        .map(|t| t.grad(&gradients).map_or_else(Vec::new, values))
        .collect();
    (values(result.inner()), grads)
}

fn loss(inputs: &[Vec<f32>], operation: Operation) -> f64 {
    let tensors: Vec<Tensor<1>> = inputs
        .iter()
        .map(|v| Tensor::from_data(TensorData::new(v.clone(), [v.len()]), &Device::flex()))
        .collect();
    let result = values(operation(&tensors, true));
    let weights = values(random([result.len()], 99));
    result
        .iter()
        .zip(weights)
        .map(|(r, w)| f64::from(*r) * f64::from(w))
        .sum()
}

fn check(what: &str, inputs: &[Vec<f32>], operation: Operation) {
    // Against the plain path.
    let (ours, our_grads) = gradients(inputs, operation, true);
    let (plain, plain_grads) = gradients(inputs, operation, false);
    close(what, &ours, &plain, 2e-6);
    for (index, (a, b)) in our_grads.iter().zip(&plain_grads).enumerate() {
        close(&format!("{what}, gradient {index}"), a, b, 1e-5);
    }
    // Without a graph the result is the same to the bit.
    let untracked: Vec<Tensor<1>> = inputs
        .iter()
        .map(|v| Tensor::from_data(TensorData::new(v.clone(), [v.len()]), &Device::flex()))
        .collect();
    assert_eq!(values(operation(&untracked, true)), ours, "{what}");
    // Against central differences along a random direction, one input at a time.
    for (index, gradient) in our_grads.iter().enumerate() {
        if gradient.is_empty() {
            continue;
        }
        let direction = values(random([gradient.len()], 7 + index as u64));
        let step = 5e-3f32;
        let moved = |sign: f32| {
            let mut inputs = inputs.to_vec();
            for (value, d) in inputs[index].iter_mut().zip(&direction) {
                *value += sign * step * d;
            }
            loss(&inputs, operation)
        };
        let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        let exact: f64 = gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| f64::from(*g) * f64::from(*d))
            .sum();
        let scale: f64 = gradient
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(
            (numeric - exact).abs() < 2e-3 * scale.max(1e-2),
            "{what}, input {index}: {numeric} against {exact}"
        );
    }
    // On other numbers of threads, to the bit.
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let other = pool.install(|| gradients(inputs, operation, true));
        assert!(
            other == (ours.clone(), our_grads.clone()),
            "{what} differs on {threads} threads"
        );
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.reshape([-1])
}

#[test]
fn linear() {
    // Both ways of splitting the weight gradient, with more rows than one task takes.
    for (rows, k, n) in [(301, 19, 33), (140, 70, 9), (5000, 7, 5)] {
        let inputs = [
            values(random([rows * k], 1)),
            values(random([k * n], 2)),
            values(random([n], 3)),
        ];
        check(
            &format!("linear {rows}×{k}×{n}"),
            &inputs,
            &|t, kernels| {
                let x: Tensor<3> = t[0].clone().reshape([1, rows, k]);
                let (w, b) = (t[1].clone().reshape([k, n]), t[2].clone());
                flat(if kernels {
                    fused::linear(x, w, b)
                } else {
                    plain::linear(x, w, b)
                })
            },
        );
    }
}

#[test]
fn linear_with_residual() {
    let (rows, k, n) = (150, 24, 40);
    let inputs = [
        values(random([rows * k], 1)),
        values(random([k * n], 2)),
        values(random([n], 3)),
        values(random([rows * n], 4)),
    ];
    check("linear_add", &inputs, &|t, kernels| {
        let (x, w, b) = (
            t[0].clone().reshape([rows, k]),
            t[1].clone().reshape([k, n]),
            t[2].clone(),
        );
        let residual: Tensor<2> = t[3].clone().reshape([rows, n]);
        flat(if kernels {
            fused::linear_add(x, w, b, residual)
        } else {
            plain::linear(x, w, b) + residual
        })
    });
}

#[test]
fn gelu() {
    let inputs = [values(random([40_000], 1) * 4.0)];
    check("gelu", &inputs, &|t, kernels| {
        if kernels {
            fused::gelu(t[0].clone())
        } else {
            plain::gelu(t[0].clone())
        }
    });
}

#[test]
fn layer_norm() {
    for (rows, n) in [(300, 48), (7, 33)] {
        let inputs = [
            values(random([rows * n], 1) * 3.0 + 5.0),
            values(random([n], 2)),
            values(random([n], 3)),
        ];
        check("layer_norm", &inputs, &|t, kernels| {
            let (x, gamma, beta) = (t[0].clone().reshape([rows, n]), t[1].clone(), t[2].clone());
            flat(if kernels {
                fused::layer_norm(x, gamma, beta)
            } else {
                plain::layer_norm(x, gamma, beta)
            })
        });
    }
}

/// Padding in the middle of the first sample.
fn keep(batch: usize, tokens: usize) -> Tensor<2> {
    let keep = (0..batch * tokens)
        .map(|i| if (2..5).contains(&i) { 0.0 } else { 1.0 })
        .collect();
    Tensor::from_data(
        TensorData::new::<f32, _>(keep, [batch, tokens]),
        &Device::flex(),
    )
}

#[test]
fn attention() {
    let (batch, tokens, width, heads) = (2, 37, 24, 3);
    let inputs = [values(random([batch * tokens * 3 * width], 1) * 2.0)];
    for (prefix, first) in [(0, 0), (30, 0), (37, 0), (30, 36), (0, 20)] {
        let visible = Visibility { prefix, first };
        check(
            &format!("attention, {visible:?}"),
            &inputs,
            &|t, kernels| {
                let qkv: Tensor<3> = t[0].clone().reshape([batch, tokens, 3 * width]);
                let keep = keep(batch, tokens);
                flat(if kernels {
                    fused::attention(qkv, keep, heads, visible)
                } else {
                    plain::attention(qkv, keep, heads, visible)
                })
            },
        );
    }
}

#[test]
fn attention_rows_are_the_weights_that_attention_uses() {
    let (batch, tokens, width, heads) = (2, 37, 24, 3);
    let qkv: Tensor<3> = random([batch, tokens, 3 * width], 1) * 2.0;
    let queries = [0, 5, 31, 36];
    for prefix in [0, 30] {
        let visible = Visibility { prefix, first: 0 };
        let keep = keep(batch, tokens);
        let rows = fused::attention_rows(qkv.clone(), keep.clone(), heads, visible, &queries);
        let reference = plain::attention_rows(qkv.clone(), keep.clone(), heads, visible, &queries);
        close("rows", &values(rows.clone()), &values(reference), 2e-6);
        for row in values(rows.clone()).chunks(tokens) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        // Padding of the first sample gets nothing at all.
        assert!(
            values(rows.clone().slice([0..1, 0..heads, 1..4, 2..5]))
                .iter()
                .all(|v| *v == 0.0)
        );
        // Weights times values are what the whole operation returns for these tokens.
        let head = width / heads;
        let v = qkv
            .clone()
            .slice_dim(2, 2 * width..3 * width)
            .reshape([batch, tokens, heads, head])
            .swap_dims(1, 2);
        let expected =
            rows.clone()
                .matmul(v)
                .swap_dims(1, 2)
                .reshape([batch, queries.len(), width]);
        let index = Tensor::<1, burn::tensor::Int>::from_ints([0, 5, 31, 36], &Device::flex());
        let whole = fused::attention(qkv.clone(), keep, heads, visible).select(1, index);
        close(
            "attention from rows",
            &values(expected.clone()),
            &values(whole),
            2e-6,
        );
        close(
            "weighing",
            &values(plain::weigh(rows, qkv.clone())),
            &values(expected),
            2e-6,
        );
    }
}

#[test]
fn convolution() {
    for (kernel, stride, padding) in [(3, 2, 1), (4, 4, 0), (3, 1, 1)] {
        let (batch, height, width, channels, outputs) = (2, 12, 8, 5, 6);
        let inputs = [
            values(random([batch * height * width * channels], 1)),
            values(random([kernel * kernel * channels * outputs], 2)),
            values(random([outputs], 3)),
        ];
        check(
            &format!("convolution {kernel}/{stride}"),
            &inputs,
            &|t, kernels| {
                let x: Tensor<4> = t[0].clone().reshape([batch, height, width, channels]);
                let (w, b) = (
                    t[1].clone().reshape([kernel * kernel * channels, outputs]),
                    t[2].clone(),
                );
                flat(if kernels {
                    fused::convolution(x, w, b, kernel, stride, padding)
                } else {
                    plain::convolution(x, w, b, kernel, stride, padding)
                })
            },
        );
    }
}

#[test]
fn views_of_larger_tensors_are_read_correctly() {
    let whole: Tensor<3> = random([3, 10, 16], 1);
    let view = whole.clone().slice([1..2, 2..9, 0..16]).swap_dims(0, 1);
    let (w, b) = (random([16, 4], 2), random([4], 3));
    let copied = Tensor::<3>::from_data(view.clone().into_data(), &Device::flex());
    let result = values(fused::linear(view, w.clone(), b.clone()));
    assert_eq!(result, values(fused::linear(copied, w, b)));
}
