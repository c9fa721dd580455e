//! Where a model computes.

use crate::{Error, Result};
use burn::{
    backend::{CubeDevice, DispatchDevice, WgpuDevice, WgpuDeviceKind},
    tensor::{
        Device, DeviceKind, DeviceType,
        wgpu::{WgpuBackend, WgpuInitError},
    },
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
const SOFTWARE: u8 = 3;

/// How good an adapter is, smaller is better.
fn rank(device: &Device) -> Option<u8> {
    Some(match kind(device)? {
        WgpuDeviceKind::DiscreteGpu(_) => 0,
        WgpuDeviceKind::IntegratedGpu(_) => 1,
        WgpuDeviceKind::VirtualGpu(_) => 2,
        WgpuDeviceKind::Cpu => SOFTWARE,
        // An adapter that does not say what it is comes from OpenGL.
        WgpuDeviceKind::Other(_) | WgpuDeviceKind::DefaultDevice | WgpuDeviceKind::Existing(_) => {
            return None;
        }
    })
}

fn kind(device: &Device) -> Option<&WgpuDeviceKind> {
    match device.as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Wgpu(device)) => Some(&device.kind),
        _ => None,
    }
}

/// The graphics interfaces that the kernels run on. OpenGL is none of them: it lacks what the kernels ask of a group of
/// threads, and a model on it answers with numbers that mean nothing.
const INTERFACES: &[WgpuBackend] = if cfg!(target_os = "macos") {
    &[WgpuBackend::Metal]
} else if cfg!(windows) {
    &[WgpuBackend::Vulkan, WgpuBackend::Dx12]
} else {
    &[WgpuBackend::Vulkan]
};

/// Opens an adapter, so that a driver that refuses is an error here and not a panic later.
fn open(device: Device) -> Result<(Device, String)> {
    let unknown = || Error::NoGpu("the adapter is of no known kind".into());
    let kind = kind(&device).ok_or_else(unknown)?;
    let selector = match kind {
        WgpuDeviceKind::DiscreteGpu(index) => DeviceKind::DiscreteGpu(*index),
        WgpuDeviceKind::IntegratedGpu(index) => DeviceKind::IntegratedGpu(*index),
        WgpuDeviceKind::VirtualGpu(index) => DeviceKind::VirtualGpu(*index),
        WgpuDeviceKind::Cpu => DeviceKind::Cpu,
        _ => return Err(unknown()),
    };
    let mut refusal = unknown();
    for &interface in INTERFACES {
        let options = Device::wgpu_options().device_kind(selector.clone());
        let opened = match options.graphics_api(interface).init() {
            Ok(device) => device,
            // An adapter that was opened before cannot be registered again.
            Err(WgpuInitError::Registration { .. }) => {
                CubeDevice::Wgpu(WgpuDevice::new(kind.clone()).on(interface)).into()
            }
            Err(WgpuInitError::AdapterUnavailable { .. }) => {
                refusal = Error::NoGpu("no graphics driver lists a device".into());
                continue;
            }
            Err(error) => {
                refusal = Error::NoGpu(error.to_string());
                continue;
            }
        };
        let name = opened
            .identity()
            .map_or_else(|| "GPU".to_owned(), |identity| identity.name);
        return Ok((opened, name));
    }
    Err(refusal)
}
