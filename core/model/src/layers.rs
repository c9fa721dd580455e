//! The parts a transformer is made of, and how their parameters begin.

use crate::fused::{self, Visibility};
use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Shape, Tensor, TensorData},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// Makes parameters. Each draws from a stream of its own, given by the seed and the parameter's full
/// name, so the shared part of two models with the same seed begins equal whatever else they hold, and
/// equal on every device.
#[derive(Clone)]
pub(crate) struct Init<'a> {
    seed: u64,
    path: String,
    device: &'a Device,
}

impl<'a> Init<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            seed,
            path: String::new(),
            device,
        }
    }

    /// The part named `name` of the part this belongs to.
    pub(crate) fn at(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Self {
            path,
            ..self.clone()
        }
    }

    /// A parameter drawn from a normal distribution around 0.
    pub(crate) fn normal<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        std: f64,
    ) -> Param<Tensor<D>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(fnv1a(&self.at(name).path));
        self.lazy(shape, move |count| {
            // A standard deviation that is finite and not negative always makes a distribution.
            Normal::new(0.0, std)
                .map(|normal| (0..count).map(|_| normal.sample(&mut rng) as f32).collect())
                .unwrap_or_else(|_| vec![0.0; count])
        })
    }

    /// A parameter whose elements are all `value`.
    pub(crate) fn constant<const D: usize>(
        &self,
        shape: [usize; D],
        value: f32,
    ) -> Param<Tensor<D>> {
        self.lazy(shape, move |count| vec![value; count])
    }

    /// A parameter with the given row-major values.
    pub(crate) fn values<const D: usize>(
        &self,
        shape: [usize; D],
        values: impl FnOnce() -> Vec<f32> + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        self.lazy(shape, move |_| values())
    }

    /// Values are made when first needed: a model whose weights come from a file never makes them.
    fn lazy<const D: usize>(
        &self,
        shape: [usize; D],
        values: impl FnOnce(usize) -> Vec<f32> + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        Param::uninitialized(
            ParamId::new(),
            move |device, require_grad| {
                let data = TensorData::new(values(shape.iter().product()), shape);
                let tensor = Tensor::from_data(data, device);
                if require_grad {
                    tensor.require_grad()
                } else {
                    tensor
                }
            },
            self.device.clone(),
            true,
            Shape::from(shape),
        )
    }
}

/// 64-bit FNV-1a hash: a stable number for a name.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Fixed two-dimensional sine–cosine positions as in MAE: half of the width for the row, half for the
/// column, amplitude 1. `[rows · columns, width]`, row-major; `width` is a multiple of 4.
pub(crate) fn sine_positions(rows: usize, columns: usize, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let mut values = Vec::with_capacity(rows * columns * width);
    for row in 0..rows {
        for column in 0..columns {
            for place in [row, column] {
                let angle = |i: usize| place as f64 / 10_000f64.powf(i as f64 / quarter as f64);
                values.extend((0..quarter).map(|i| angle(i).sin() as f32));
                values.extend((0..quarter).map(|i| angle(i).cos() as f32));
            }
        }
    }
    values
}

/// x · weight + bias.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[inputs, outputs]`
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Linear {
    /// Standard deviation 0.7 / √inputs.
    pub(crate) fn new(init: &Init, inputs: usize, outputs: usize) -> Self {
        Self::with_std(init, inputs, outputs, 0.7 / (inputs as f64).sqrt())
    }

    /// Standard deviation √(2 / inputs), for maps followed by a rectifier (He et al. 2015).
    pub(crate) fn kaiming(init: &Init, inputs: usize, outputs: usize) -> Self {
        Self::with_std(init, inputs, outputs, (2.0 / inputs as f64).sqrt())
    }

    fn with_std(init: &Init, inputs: usize, outputs: usize, std: f64) -> Self {
        Self {
            weight: init.normal("weight", [inputs, outputs], std),
            bias: init.constant([outputs], 0.0),
        }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::linear(x, self.weight.val(), self.bias.val())
    }

    pub(crate) fn forward_add<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Tensor<D>,
    ) -> Tensor<D> {
        fused::linear_add(x, self.weight.val(), self.bias.val(), residual)
    }

    /// The map as a convolution over channels-last pictures; its inputs are `kernel² · channels`.
    pub(crate) fn convolve(
        &self,
        x: Tensor<4>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Tensor<4> {
        fused::convolution(
            x,
            self.weight.val(),
            self.bias.val(),
            kernel,
            stride,
            padding,
        )
    }
}

/// Layer normalisation.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Norm {
    pub(crate) fn new(init: &Init, width: usize) -> Self {
        Self {
            gamma: init.constant([width], 1.0),
            beta: init.constant([width], 0.0),
        }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::layer_norm(x, self.gamma.val(), self.beta.val())
    }
}

/// Two linear maps with GELU between.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    up: Linear,
    down: Linear,
}

impl Mlp {
    pub(crate) fn new(init: &Init, inputs: usize, hidden: usize, outputs: usize) -> Self {
        Self {
            up: Linear::new(&init.at("up"), inputs, hidden),
            down: Linear::new(&init.at("down"), hidden, outputs),
        }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.down.forward(fused::gelu(self.up.forward(x)))
    }

    pub(crate) fn forward_add<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Tensor<D>,
    ) -> Tensor<D> {
        self.down
            .forward_add(fused::gelu(self.up.forward(x)), residual)
    }
}

/// A pre-norm transformer block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    norm_attention: Norm,
    qkv: Linear,
    out: Linear,
    norm_mlp: Norm,
    mlp: Mlp,
    #[module(skip)]
    heads: usize,
}

impl Block {
    pub(crate) fn new(init: &Init, width: usize, heads: usize, mlp_ratio: usize) -> Self {
        Self {
            norm_attention: Norm::new(&init.at("norm_attention"), width),
            qkv: Linear::new(&init.at("qkv"), width, 3 * width),
            out: Linear::new(&init.at("out"), width, width),
            norm_mlp: Norm::new(&init.at("norm_mlp"), width),
            mlp: Mlp::new(&init.at("mlp"), width, mlp_ratio * width, width),
            heads,
        }
    }

    /// `[batch, tokens, width]` → `[batch, tokens - visible.first, width]`. `watch` names tokens whose
    /// attention weights `[batch, heads, watch, tokens]` are wanted, too.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        keep: Tensor<2>,
        visible: Visibility,
        watch: Option<&[usize]>,
    ) -> (Tensor<3>, Option<Tensor<4>>) {
        let qkv = self.qkv.forward(self.norm_attention.forward(x.clone()));
        let rows = watch.map(|queries| {
            fused::attention_rows(qkv.clone(), keep.clone(), self.heads, visible, queries)
        });
        let seen = fused::attention(qkv, keep, self.heads, visible);
        (self.finish(x, seen, visible), rows)
    }

    /// The same for a model at work, with weights that `change` has altered on the host, `[batch, heads, queries,
    /// tokens]`: those of all tokens where some are watched, else those from `visible.first` on.
    pub(crate) fn forward_changed(
        &self,
        x: Tensor<3>,
        keep: Tensor<2>,
        visible: Visibility,
        watch: Option<&[usize]>,
        change: impl FnOnce(&mut [f32]) -> crate::Result<()>,
    ) -> crate::Result<(Tensor<3>, Option<Tensor<4>>)> {
        let tokens = x.dims()[1];
        let first = if watch.is_some() { 0 } else { visible.first };
        let queries: Vec<usize> = (first..tokens).collect();
        let qkv = self.qkv.forward(self.norm_attention.forward(x.clone()));
        let weights = fused::attention_rows(qkv.clone(), keep, self.heads, visible, &queries);
        let (shape, device) = (weights.dims(), weights.device());
        let mut values: Vec<f32> = weights.into_data().iter::<f32>().collect();
        change(&mut values)?;
        let weights = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let rows = watch.map(|watch| {
            let watch: Vec<i32> = watch.iter().map(|&query| query as i32).collect();
            weights
                .clone()
                .select(2, Tensor::from_ints(watch.as_slice(), &device))
        });
        let needed = weights.slice_dim(2, visible.first - first..tokens - first);
        let seen = fused::plain::weigh(needed, qkv);
        Ok((self.finish(x, seen, visible), rows))
    }

    /// What follows once every token from `visible.first` on has seen what it looks at.
    fn finish(&self, x: Tensor<3>, seen: Tensor<3>, visible: Visibility) -> Tensor<3> {
        let x = if visible.first == 0 {
            x
        } else {
            x.clone().slice_dim(1, visible.first..x.dims()[1])
        };
        let x = self.out.forward_add(seen, x);
        self.mlp.forward_add(self.norm_mlp.forward(x.clone()), x)
    }
}
