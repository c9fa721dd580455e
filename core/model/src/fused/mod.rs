//! The model's operations, with CPU kernels of our own.
//!
//! burn's CPU backend runs elementwise loops on one thread and splits attention, normalisation and GELU
//! into a dozen passes each when gradients are needed. The operations here do each in one parallel pass
//! over memory and know their own gradient, which makes a training step of the small VLA several times
//! faster. On any other device the same functions are composed of burn's own operations ([`plain`]):
//! the same mathematics, checked against each other by the tests.
//!
//! Results are bit-identical from run to run and do not depend on the number of threads.

mod kernels;
mod ops;
pub mod plain;

pub(crate) use kernels::adamw;

use burn::{
    backend::{
        Autodiff, DispatchDevice, Flex,
        autodiff::{
            checkpoint::base::Checkpointer,
            checkpoint::strategy::NoCheckpointing,
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        flex::FlexTensor,
    },
    tensor::{Device, Tensor},
};
use ops::Op;

/// Whether tensors on `device` take the kernels of this module.
pub fn is_fused(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        // Recomputing activations is not implemented here; the plain path does it.
        DispatchDevice::Autodiff(inner) => {
            matches!(**inner, DispatchDevice::Flex(_))
                && inner.gradient_checkpointing_strategy()
                    == burn::backend::GradientCheckpointingStrategy::Disabled
        }
        _ => false,
    }
}

/// Which tokens see which in [`attention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// Tokens below this see each other both ways; every other token sees itself and all before it.
    /// 0 is causal attention, the number of tokens is attention both ways.
    pub prefix: usize,
    /// The first token whose result is needed.
    pub first: usize,
}

/// x · weight + bias over the last dimension; `weight` is `[inputs, outputs]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if !is_fused(&weight.device()) {
        return plain::linear(x, weight, bias);
    }
    run(
        ops::Linear,
        [Input::new(x), Input::new(weight), Input::new(bias)],
    )
}

/// x · weight + bias + residual.
pub fn linear_add<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    residual: Tensor<D>,
) -> Tensor<D> {
    if !is_fused(&weight.device()) {
        return plain::linear(x, weight, bias) + residual;
    }
    run(
        ops::Linear,
        [
            Input::new(x),
            Input::new(weight),
            Input::new(bias),
            Input::new(residual),
        ],
    )
}

/// Exact GELU, x Φ(x).
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !is_fused(&x.device()) {
        return plain::gelu(x);
    }
    run(ops::Gelu, [Input::new(x)])
}

/// Layer normalisation over the last dimension (ε = 1e-5).
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<D> {
    if !is_fused(&gamma.device()) {
        return plain::layer_norm(x, gamma, beta);
    }
    run(
        ops::LayerNorm,
        [Input::new(x), Input::new(gamma), Input::new(beta)],
    )
}

/// Multi-head attention. `qkv` is `[batch, tokens, 3 · width]` (queries, keys, values), `keep` is
/// `[batch, tokens]` with 1 for keys that may be seen and 0 for padding. Returns
/// `[batch, tokens - first, width]`.
pub fn attention(qkv: Tensor<3>, keep: Tensor<2>, heads: usize, visible: Visibility) -> Tensor<3> {
    if !is_fused(&qkv.device()) {
        return plain::attention(qkv, keep, heads, visible);
    }
    run(op(heads, visible), [Input::new(qkv), Input::new(keep)])
}

/// Post-softmax weights of single query tokens, `[batch, heads, queries, tokens]`, without gradient.
pub fn attention_rows(
    qkv: Tensor<3>,
    keep: Tensor<2>,
    heads: usize,
    visible: Visibility,
    queries: &[usize],
) -> Tensor<4> {
    let (qkv, keep) = (qkv.inner(), keep.inner());
    if !is_fused(&qkv.device()) {
        return plain::attention_rows(qkv, keep, heads, visible, queries);
    }
    let rows = op(heads, visible).rows(&primitive(qkv), &primitive(keep), queries);
    Tensor::from_primitive::<Flex>(rows)
}

/// Convolution of a channels-last picture `[batch, height, width, channels]` with a square kernel given as
/// the matrix `[kernel² · channels, outputs]` (rows ordered by kernel row, kernel column, channel).
/// Returns `[batch, rows, columns, outputs]`.
pub fn convolution(
    x: Tensor<4>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    if !is_fused(&weight.device()) {
        return plain::convolution(x, weight, bias, kernel, stride, padding);
    }
    let windows: Tensor<4> = run(
        ops::Unfold {
            kernel,
            stride,
            padding,
        },
        [Input::new(x)],
    );
    linear(windows, weight, bias)
}

fn op(heads: usize, visible: Visibility) -> ops::Attention {
    ops::Attention {
        heads,
        prefix: visible.prefix,
        first: visible.first,
    }
}

type Tracked = burn::backend::tensor::FloatTensor<Autodiff<Flex>>;

/// A tensor of the CPU backend, of any rank, with or without its place in a graph.
enum Input {
    Plain(FlexTensor),
    Tracked(Tracked),
}

impl Input {
    fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        if tensor.is_autodiff() {
            Self::Tracked(tracked(tensor))
        } else {
            Self::Plain(primitive(tensor))
        }
    }

    fn primitive(&self) -> &FlexTensor {
        match self {
            Self::Plain(tensor) => tensor,
            Self::Tracked(tensor) => tensor.primitive(),
        }
    }

    fn track(self) -> Tracked {
        match self {
            // The rank is only a label here; tensors of the backend carry their own shape.
            Self::Plain(tensor) => tracked(Tensor::<1>::from_primitive::<Flex>(tensor).autodiff()),
            Self::Tracked(tensor) => tensor,
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "callers have asked `is_fused`, so the backend is known"
)]
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("a tensor of the CPU backend")
}

#[expect(
    clippy::expect_used,
    reason = "callers have asked `is_fused`, so the backend is known"
)]
fn tracked<const D: usize>(tensor: Tensor<D>) -> Tracked {
    tensor
        .try_into_primitive::<Autodiff<Flex>>()
        .expect("a tensor of the CPU backend with gradients")
}

/// Runs an operation, and records it where an input carries gradients.
fn run<O: Op<N>, const N: usize, const D: usize>(op: O, inputs: [Input; N]) -> Tensor<D>
where
    Step<O>: Backward<Flex, N, State = [FlexTensor; N]>,
{
    if inputs.iter().all(|input| matches!(input, Input::Plain(_))) {
        return Tensor::from_primitive::<Flex>(op.forward(inputs.each_ref().map(Input::primitive)));
    }
    let inputs = inputs.map(Input::track);
    let result = op.forward(inputs.each_ref().map(|input| input.primitive()));
    let prepared = Step(op).prepare::<NoCheckpointing>(inputs.each_ref().map(|input| input.node()));
    let result = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            prepared.finish(inputs.map(|input| input.into_primitive()), result)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(result),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(result)
}

/// The recorded form of an operation.
#[derive(Clone, Debug)]
struct Step<O>(O);

impl<O: Op<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = [FlexTensor; N];

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = self.0.backward(ops.state, gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
