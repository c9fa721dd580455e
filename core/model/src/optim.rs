//! AdamW over the whole model, with state that is saved by parameter name.

use crate::{
    Error, Result, Vla,
    checkpoint::{read_tensors, write_tensors},
    fused,
    parameters::{Path as Name, parameter_shapes},
};
use burn::{
    backend::{Flex, flex::FlexTensor},
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// Numbers of [`AdamW`]; the defaults are those of the built-in benchmark's recipe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the running mean of the gradient.
    pub beta1: f32,
    /// Decay of the running mean of its square.
    pub beta2: f32,
    /// Added to the root of the latter.
    pub epsilon: f32,
    /// Decoupled weight decay, on the matrices of linear maps alone.
    pub weight_decay: f32,
    /// Greatest norm of the gradient of all parameters together; a longer one is scaled down to it.
    pub clip_norm: Option<f32>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.02,
            clip_norm: Some(1.0),
        }
    }
}

/// AdamW (Loshchilov & Hutter 2019) with clipping by the global norm.
///
/// burn's optimizers clip per tensor and keep state by process-wide identities; this one clips the whole
/// gradient, saves by name, and on the CPU updates in one parallel pass.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    /// Running means of gradient and square by parameter name, flat, on the model's device.
    moments: BTreeMap<String, [Tensor<1>; 2]>,
}

/// Elements per task; partial sums are added in order, so the norm does not depend on scheduling.
const RUN: usize = 1 << 15;
const FORMAT: &str = "gazelab-adamw/1";

impl AdamW {
    /// An optimizer that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One step with learning rate `lr`. Returns the model and the norm of the gradient before clipping.
    /// Parameters without a gradient stay. A norm that is not finite leaves model and state as they
    /// were: the caller decides what a diverged run means.
    pub fn step(&mut self, lr: f64, vla: Vla, grads: GradientsParams) -> (Vla, f32) {
        let norm = global_norm(&vla, &grads);
        if !norm.is_finite() {
            return (vla, norm as f32);
        }
        self.step += 1;
        let scale = match self.config.clip_norm {
            Some(limit) if norm > f64::from(limit) => f64::from(limit) / norm,
            _ => 1.0,
        };
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(self.step as f64))) as f32;
        let AdamWConfig { beta1, beta2, .. } = self.config;
        let mut update = Update {
            name: Name::default(),
            grads,
            config: self.config,
            correction: [correction(beta1), correction(beta2)],
            scale: scale as f32,
            lr: lr as f32,
            moments: &mut self.moments,
        };
        (vla.map(&mut update), norm as f32)
    }

    /// Writes the state to a safetensors file; equal states give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = BTreeMap::new();
        // Two f32 hold 48 bits of the count exactly.
        let step = vec![(self.step >> 24) as f32, (self.step & 0xff_ffff) as f32];
        tensors.insert("step".to_owned(), (vec![2], step));
        for (name, moments) in &self.moments {
            for (which, moment) in ["first", "second"].iter().zip(moments) {
                let values: Vec<f32> = moment.to_data().iter::<f32>().collect();
                tensors.insert(format!("{which}.{name}"), (vec![values.len()], values));
            }
        }
        write_tensors(path, tensors, FORMAT)
    }

    /// Reads the state of an optimizer of `vla`.
    ///
    /// # Errors
    /// When the file is missing, damaged or belongs to another model.
    pub fn load(config: AdamWConfig, path: &Path, vla: &Vla) -> Result<Self> {
        let mut shapes = vec![("step".to_owned(), vec![2])];
        // Before the first step there is nothing but the count.
        if let Ok(values) = read_tensors(path, &shapes)
            && values["step"] == [0.0, 0.0]
        {
            return Ok(Self::new(config));
        }
        let parameters = parameter_shapes(vla);
        for (name, shape) in &parameters {
            for which in ["first", "second"] {
                shapes.push((format!("{which}.{name}"), vec![shape.iter().product()]));
            }
        }
        let mut values = read_tensors(path, &shapes)?;
        let step = values.remove("step").unwrap_or_default();
        let whole = |v: f32| v >= 0.0 && v < (1u32 << 24) as f32 && v.fract() == 0.0;
        let [high, low] = step[..] else {
            return Err(Error::Format {
                reason: "no step count".into(),
                path: path.into(),
            });
        };
        if !whole(high) || !whole(low) {
            return Err(Error::Format {
                reason: "the step count is no number".into(),
                path: path.into(),
            });
        }
        let device = vla.device().inner();
        let mut moments = BTreeMap::new();
        for (name, _) in parameters {
            let [first, second] = ["first", "second"].map(|which| {
                let values = values
                    .remove(&format!("{which}.{name}"))
                    .unwrap_or_default();
                let count = values.len();
                Tensor::from_data(TensorData::new(values, [count]), &device)
            });
            moments.insert(name, [first, second]);
        }
        Ok(Self {
            config,
            step: ((high as u64) << 24) | low as u64,
            moments,
        })
    }
}

/// Norm of all gradients together.
fn global_norm(vla: &Vla, grads: &GradientsParams) -> f64 {
    struct Squares<'a> {
        grads: &'a GradientsParams,
        host: f64,
        /// Sums that still lie on another device.
        device: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(grad) = self.grads.get::<D>(param.id) else {
                return;
            };
            if fused::is_fused(&grad.device()) {
                let grad = fused::primitive(grad).to_contiguous();
                let squares: Vec<f64> = grad
                    .storage::<f32>()
                    .par_chunks(RUN)
                    .map(|run| run.iter().map(|&g| f64::from(g) * f64::from(g)).sum())
                    .collect();
                self.host += squares.iter().sum::<f64>();
            } else {
                self.device.push(grad.square().sum());
            }
        }
    }
    let mut squares = Squares {
        grads,
        host: 0.0,
        device: Vec::new(),
    };
    vla.visit(&mut squares);
    let device: f64 = match squares.device.is_empty() {
        true => 0.0,
        // One transfer for all parameters.
        false => Tensor::cat(squares.device, 0)
            .into_data()
            .iter::<f64>()
            .sum(),
    };
    (squares.host + device).sqrt()
}

struct Update<'a> {
    name: Name,
    grads: GradientsParams,
    config: AdamWConfig,
    correction: [f32; 2],
    scale: f32,
    lr: f32,
    moments: &'a mut BTreeMap<String, [Tensor<1>; 2]>,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.name.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.name.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return param;
        };
        let name = self.name.name();
        // Matrices of linear maps; not embeddings, positions, norms or biases.
        let decays = D == 2 && name.ends_with("weight");
        let decay = if decays {
            self.lr * self.config.weight_decay
        } else {
            0.0
        };
        let (id, tensor, mapper): (ParamId, _, _) = param.consume();
        let autodiff = tensor.is_autodiff();
        let tensor = tensor.inner();
        let moments = self.moments.remove(&name).unwrap_or_else(|| {
            let count = tensor.shape().num_elements();
            [(); 2].map(|()| Tensor::zeros([count], &tensor.device()))
        });
        let (tensor, moments) = if fused::is_fused(&tensor.device()) {
            self.update_fused(tensor, grad, moments, decay)
        } else {
            self.update_plain(tensor, grad, moments, decay)
        };
        self.moments.insert(name, moments);
        let tensor = if autodiff {
            tensor.autodiff().require_grad()
        } else {
            tensor
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl Update<'_> {
    fn update_fused<const D: usize>(
        &self,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<1>; 2],
        decay: f32,
    ) -> (Tensor<D>, [Tensor<1>; 2]) {
        let dense = |tensor: FlexTensor| tensor.to_contiguous();
        let [first, second] = moments;
        let mut p = dense(fused::primitive(tensor));
        let g = dense(fused::primitive(grad));
        let mut m = dense(fused::primitive(first));
        let mut v = dense(fused::primitive(second));
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            ..
        } = self.config;
        let (correction, scale, lr) = (self.correction, self.scale, self.lr);
        p.storage_mut::<f32>()
            .par_chunks_mut(RUN)
            .zip(g.storage::<f32>().par_chunks(RUN))
            .zip(m.storage_mut::<f32>().par_chunks_mut(RUN))
            .zip(v.storage_mut::<f32>().par_chunks_mut(RUN))
            .for_each(|(((p, g), m), v)| {
                fused::adamw(
                    p,
                    g,
                    m,
                    v,
                    [beta1, beta2],
                    correction,
                    scale,
                    lr,
                    decay,
                    epsilon,
                );
            });
        let moments = [m, v].map(Tensor::from_primitive::<Flex>);
        (Tensor::from_primitive::<Flex>(p), moments)
    }

    fn update_plain<const D: usize>(
        &self,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        [first, second]: [Tensor<1>; 2],
        decay: f32,
    ) -> (Tensor<D>, [Tensor<1>; 2]) {
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            ..
        } = self.config;
        let shape = tensor.dims();
        let grad = grad.reshape([-1]) * self.scale;
        let first = first * beta1 + grad.clone() * (1.0 - beta1);
        let second = second * beta2 + grad.square() * (1.0 - beta2);
        let root = (second.clone() * self.correction[1]).sqrt() + epsilon;
        let step = first.clone() * self.correction[0] / root * self.lr;
        let tensor = tensor.clone() - tensor * decay - step.reshape(shape);
        (tensor, [first, second])
    }
}
