//! The same operations composed of burn's own: the path of every device but the CPU, and the reference
//! that the kernels are tested against.

use super::Visibility;
use burn::tensor::{Bool, Int, Tensor, activation, module, ops::ConvOptions};

/// See [`linear`](super::linear).
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    let mut shape = x.dims();
    let [inputs, outputs] = weight.dims();
    let rows: usize = shape[..D - 1].iter().product();
    shape[D - 1] = outputs;
    // One large product instead of a batch of small ones.
    (x.reshape([rows, inputs]).matmul(weight) + bias.unsqueeze()).reshape(shape)
}

/// See [`gelu`](super::gelu).
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// See [`layer_norm`](super::layer_norm).
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<D> {
    let mean = x.clone().mean_dim(D - 1);
    let centred = x - mean;
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / (variance + 1e-5).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// Queries, keys and values as `[batch, heads, tokens, head]`.
fn split(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [batch, tokens, width] = qkv.dims();
    let head = width / 3 / heads;
    let parts = qkv
        .reshape([batch, tokens, 3, heads, head])
        .permute([2, 0, 3, 1, 4]);
    std::array::from_fn(|part| {
        parts
            .clone()
            .slice_dim(0, part..part + 1)
            .reshape([batch, heads, tokens, head])
    })
}

/// Weights of the tokens `queries`, `[batch, heads, queries, tokens]`.
fn weights(
    q: Tensor<4>,
    k: Tensor<4>,
    keep: Tensor<2>,
    prefix: usize,
    queries: Tensor<1, Int>,
) -> Tensor<4> {
    let [batch, _, tokens, head] = k.dims();
    let [count] = queries.dims();
    let scores = q.matmul(k.swap_dims(2, 3)) / (head as f32).sqrt();
    let key = Tensor::<1, Int>::arange(0..tokens as i64, &scores.device()).reshape([1, tokens]);
    let behind: Tensor<2, Bool> = key
        .clone()
        .expand([count, tokens])
        .lower_equal(queries.reshape([count, 1]).expand([count, tokens]));
    let before = key.lower_elem(prefix as i64).expand([count, tokens]);
    let hidden = behind
        .bool_or(before)
        .bool_not()
        .reshape([1, 1, count, tokens]);
    let padding = keep.lower_elem(0.5).reshape([batch, 1, 1, tokens]);
    let shape = scores.dims();
    let hidden = hidden.expand(shape).bool_or(padding.expand(shape));
    activation::softmax(scores.mask_fill(hidden, -1e9), 3)
}

/// See [`attention`](super::attention).
pub fn attention(qkv: Tensor<3>, keep: Tensor<2>, heads: usize, visible: Visibility) -> Tensor<3> {
    let tokens = qkv.dims()[1];
    let [q, k, v] = split(qkv, heads);
    let q = q.slice_dim(2, visible.first..tokens);
    let queries = Tensor::arange(visible.first as i64..tokens as i64, &q.device());
    merge(weights(q, k, keep, visible.prefix, queries).matmul(v))
}

/// The last step of attention: values of `qkv` `[batch, tokens, 3 · width]` weighed by `weights`
/// `[batch, heads, queries, tokens]`. Returns `[batch, queries, width]`.
pub fn weigh(weights: Tensor<4>, qkv: Tensor<3>) -> Tensor<3> {
    let [_, _, v] = split(qkv, weights.dims()[1]);
    merge(weights.matmul(v))
}

/// Heads `[batch, heads, queries, head]` side by side.
fn merge(heads: Tensor<4>) -> Tensor<3> {
    let [batch, count, queries, head] = heads.dims();
    heads
        .swap_dims(1, 2)
        .reshape([batch, queries, count * head])
}

/// See [`attention_rows`](super::attention_rows).
pub fn attention_rows(
    qkv: Tensor<3>,
    keep: Tensor<2>,
    heads: usize,
    visible: Visibility,
    queries: &[usize],
) -> Tensor<4> {
    let [q, k, _] = split(qkv, heads);
    let queries: Vec<i32> = queries.iter().map(|&query| query as i32).collect();
    let queries = Tensor::<1, Int>::from_ints(queries.as_slice(), &q.device());
    weights(
        q.select(2, queries.clone()),
        k,
        keep,
        visible.prefix,
        queries,
    )
}

/// See [`convolution`](super::convolution).
pub fn convolution(
    x: Tensor<4>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let channels = x.dims()[3];
    let outputs = weight.dims()[1];
    let weight = weight
        .reshape([kernel, kernel, channels, outputs])
        .permute([3, 2, 0, 1]);
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    module::conv2d(x.permute([0, 3, 1, 2]), weight, Some(bias), options).permute([0, 2, 3, 1])
}
