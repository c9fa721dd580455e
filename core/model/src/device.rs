//! Where a model computes.

use crate::{Error, Result};
use burn::{
    backend::{CubeDevice, DispatchDevice, WgpuDeviceKind},
    tensor::{Device, DeviceKind, DeviceType, wgpu::WgpuInitError},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The device asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU if there is one, else the processor. Software renderers do not count as a GPU.
    #[default]
    Auto,
    /// The processor, with this crate's own kernels.
    Cpu,
    /// A GPU through wgpu; a software renderer is taken if there is nothing better.
    Gpu,
}

impl DeviceChoice {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Cpu, Self::Gpu];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }

    /// The device, without gradients ([`Device::autodiff`] adds them), and its name for people.
    ///
    /// # Errors
    /// [`Error::NoGpu`] when a GPU is asked for and there is none that works.
    pub fn resolve(self) -> Result<(Device, String)> {
        if self == Self::Cpu {
            return Ok(cpu());
        }
        let best = Device::enumerate(DeviceType::Wgpu)
            .into_iter()
            .filter_map(|device| Some((rank(&device)?, device)))
            .min_by_key(|(rank, _)| *rank);
        match (self, best) {
            (Self::Gpu, None) => Err(Error::NoGpu("no graphics driver lists a device".into())),
            (Self::Gpu, Some((_, device))) => open(device),
            (_, Some((rank, device))) if rank < SOFTWARE => open(device).or_else(|error| {
                // A driver that lists a device it cannot open must not keep `auto` from running.
                tracing::warn!(%error, "computing on the processor instead");
                Ok(cpu())
            }),
            _ => Ok(cpu()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or_else(|| Error::Unknown {
                what: "device",
                given: text.into(),
                expected: "auto, cpu, gpu",
            })
    }
}

fn cpu() -> (Device, String) {
    (
        Device::flex(),
        format!("CPU ({} threads)", rayon::current_num_threads()),
    )
}

/// [`rank`] of a software renderer.
const SOFTWARE: u8 = 4;

/// How good an adapter is, smaller is better.
fn rank(device: &Device) -> Option<u8> {
    Some(match kind(device)? {
        WgpuDeviceKind::DiscreteGpu(_) => 0,
        WgpuDeviceKind::IntegratedGpu(_) => 1,
        WgpuDeviceKind::VirtualGpu(_) => 2,
        WgpuDeviceKind::Other(_) => 3,
        WgpuDeviceKind::Cpu => SOFTWARE,
        WgpuDeviceKind::DefaultDevice | WgpuDeviceKind::Existing(_) => return None,
    })
}

fn kind(device: &Device) -> Option<&WgpuDeviceKind> {
    match device.as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Wgpu(device)) => Some(&device.kind),
        _ => None,
    }
}

/// Opens an adapter, so that a driver that refuses is an error here and not a panic later.
fn open(device: Device) -> Result<(Device, String)> {
    let selector = match kind(&device) {
        Some(WgpuDeviceKind::DiscreteGpu(index)) => Some(DeviceKind::DiscreteGpu(*index)),
        Some(WgpuDeviceKind::IntegratedGpu(index)) => Some(DeviceKind::IntegratedGpu(*index)),
        Some(WgpuDeviceKind::VirtualGpu(index)) => Some(DeviceKind::VirtualGpu(*index)),
        Some(WgpuDeviceKind::Cpu) => Some(DeviceKind::Cpu),
        // Unclassified adapters cannot be named here; they open with the first tensor.
        _ => None,
    };
    if let Some(selector) = selector {
        match Device::wgpu_options().device_kind(selector).init() {
            // An adapter opened before, by us or by the window, cannot be registered again.
            Ok(_) | Err(WgpuInitError::Registration { .. }) => {}
            Err(error) => return Err(Error::NoGpu(error.to_string())),
        }
    }
    let name = device
        .identity()
        .map_or_else(|| "GPU".to_owned(), |identity| identity.name);
    Ok((device, name))
}
