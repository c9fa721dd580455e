//! Folders of fixtures: what the specification wants of given inputs.
//!
//! A folder holds `manifest.json`, one safetensors file per case (`in.*` tensors are given, `out.*` are wanted) and one
//! of edge cases. The set in `tests/fixtures` is small and always there; `GAZELAB_FIXTURES` names a further one.
#![allow(dead_code, reason = "not every test file needs all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use grounding::*;
use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A line that is seen whether or not the test fails, unlike those of `eprintln`.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Uniform numbers from 0 to 1, the same every time; the seed must not be 0.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// One folder of fixtures.
pub struct Folder {
    pub path: PathBuf,
    pub manifest: Value,
}

impl Folder {
    /// The set that comes with the sources.
    pub fn committed() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        Self::open(path).unwrap()
    }

    /// The set that `GAZELAB_FIXTURES` names, else the one beside the repository where there is one. Relative paths
    /// start at the root of the repository.
    pub fn external() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        match std::env::var_os("GAZELAB_FIXTURES") {
            Some(named) => Some(Self::open(root.join(named)).unwrap()),
            None => {
                let usual = root.join("../shared/fixtures/grounding");
                if !usual.join("manifest.json").is_file() {
                    say("not found, skipped: ../shared/fixtures/grounding");
                    return None;
                }
                Some(Self::open(usual).unwrap())
            }
        }
    }

    pub fn open(path: PathBuf) -> Result<Self, String> {
        let name = path.join("manifest.json");
        let text = std::fs::read(&name).map_err(|e| format!("{}: {e}", name.display()))?;
        let manifest =
            serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", name.display()))?;
        let folder = Self { path, manifest };
        match folder.files() {
            files if files.is_empty() => {
                Err(format!("no safetensors files in {}", folder.path.display()))
            }
            _ => Ok(folder),
        }
    }

    /// Names of all its safetensors files.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = names.filter(|n| n.ends_with(".safetensors")).collect();
        files.sort();
        files
    }

    pub fn fixture(&self, file: &str) -> Fixture {
        Fixture(std::fs::read(self.path.join(file)).unwrap())
    }

    /// What the manifest says about a generated case.
    pub fn entry(&self, file: &str) -> Option<&Value> {
        let cases = self.manifest["cases"].as_array()?;
        cases.iter().find(|case| case["file"] == file)
    }

    /// All generated cases.
    pub fn cases(&self) -> Vec<Case> {
        let files = self.files().into_iter();
        files
            .map(|file| (self.fixture(&file), file))
            .filter(|(fixture, _)| fixture.has("in.attn"))
            .map(|(fixture, file)| Case::new(fixture, self.entry(&file)).unwrap())
            .collect()
    }
}

/// The folders that are there.
pub fn folders() -> Vec<Folder> {
    [Some(Folder::committed()), Folder::external()]
        .into_iter()
        .flatten()
        .collect()
}

/// One safetensors file.
pub struct Fixture(pub Vec<u8>);

impl Fixture {
    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.file().names().into_iter().map(str::to_owned).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap().shape().to_vec()
    }

    pub fn dtype(&self, name: &str) -> Dtype {
        self.file().tensor(name).unwrap().dtype()
    }

    /// A tensor of any floating type, exactly.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            data.as_chunks().0.iter().map(|&b| number(b)).collect()
        }
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => each(data, f64::from_le_bytes),
            Dtype::F32 => each(data, |b| f32::from_le_bytes(b).into()),
            Dtype::F16 => each(data, |b| f16::from_le_bytes(b).into()),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// A tensor of f32 or f16, exactly.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.f64(name).into_iter().map(|v| v as f32).collect()
    }

    /// A tensor of any whole type.
    pub fn i64(&self, name: &str) -> Vec<i64> {
        fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            data.as_chunks().0.iter().map(|&b| number(b)).collect()
        }
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::I64 => each(data, i64::from_le_bytes),
            Dtype::I32 => each(data, |b| i32::from_le_bytes(b).into()),
            Dtype::I16 => each(data, |b| i16::from_le_bytes(b).into()),
            Dtype::U8 | Dtype::BOOL => data.iter().map(|&b| b.into()).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub fn bools(&self, name: &str) -> Vec<bool> {
        self.i64(name).into_iter().map(|v| v != 0).collect()
    }

    pub fn rects(&self, name: &str) -> Vec<Rect> {
        let corners = self.f64(name);
        let corners = corners.as_chunks().0.iter();
        corners
            .map(|&[x0, y0, x1, y1]| Rect::new(x0, y0, x1, y1))
            .collect()
    }
}

/// One generated case: `n` frames of `layers` × `heads` maps. Only `in.*` tensors enter.
pub struct Case {
    pub fixture: Fixture,
    pub grid: Grid,
    pub n: usize,
    pub layers: usize,
    pub heads: usize,
    pub maps: Vec<HeadMaps>,
}

impl Case {
    /// The grid cannot be told from the number of patches, so it has to stand in the manifest.
    pub fn new(fixture: Fixture, entry: Option<&Value>) -> Result<Self, String> {
        let entry = entry.ok_or("the manifest does not list this file, so its grid is unknown")?;
        let side = |key: &str| {
            let side = entry[key].as_u64();
            side.map(|n| n as usize)
                .ok_or(format!("the manifest does not give its `{key}`"))
        };
        let grid = Grid::new(side("rows")?, side("cols")?);
        let &[n, layers, heads, p] = &fixture.shape("in.attn")[..] else {
            return Err(format!("in.attn is {:?}", fixture.shape("in.attn")));
        };
        if p != grid.len() {
            return Err(format!(
                "in.attn has {p} patches, the manifest says {grid:?}"
            ));
        }
        let attn = fixture.f32("in.attn");
        let sinks = fixture
            .has("in.sink_mask")
            .then(|| fixture.bools("in.sink_mask"));
        let maps = (0..n)
            .map(|i| {
                let len = layers * heads * p;
                let maps = HeadMaps::new(grid, layers, heads, &attn[i * len..][..len])?;
                match &sinks {
                    Some(sinks) => maps.with_sinks(Sinks::Verdict(sinks[i * p..][..p].into())),
                    None => Ok(maps),
                }
            })
            .collect::<Result<_>>()
            .map_err(|e| format!("in.attn: {e}"))?;
        Ok(Self {
            fixture,
            grid,
            n,
            layers,
            heads,
            maps,
        })
    }

    pub fn budget(&self) -> Budget {
        Budget::Patches(self.fixture.i64("in.budget_n")[0] as usize)
    }

    /// One value of every head of every frame.
    pub fn all<T>(&self, selection: &HeadSelection, value: impl Fn(&HeadScore) -> T) -> Vec<T> {
        let scores = self.scores(selection);
        scores
            .iter()
            .flat_map(|s| s.heads.iter().map(&value).collect::<Vec<_>>())
            .collect()
    }

    pub fn scores(&self, selection: &HeadSelection) -> Vec<SampleScores> {
        let frames = self.maps.iter();
        frames
            .map(|maps| score_heads(maps, None, selection).unwrap())
            .collect()
    }

    pub fn select(&self, selection: &HeadSelection) -> Vec<HeadId> {
        select_heads(&self.scores(selection), selection)
            .unwrap()
            .heads
    }

    /// Whether a head was made to look at the named object; `None` where the file does not tell.
    pub fn true_localisers(&self, heads: &[HeadId]) -> Option<usize> {
        if !self.fixture.has("gen.head_type") {
            return None;
        }
        let types = self.fixture.i64("gen.head_type");
        let localises =
            |id: &&HeadId| types[usize::from(id.layer) * self.heads + usize::from(id.head)] == 2;
        Some(heads.iter().filter(localises).count())
    }
}

/// One in steps of 2⁻³⁰.
pub const UNIT: i64 = 1 << 30;

pub fn id(layer: u16, head: u16) -> HeadId {
    HeadId { layer, head }
}

/// A dark map with some bright patches.
pub fn spikes(grid: Grid, spikes: &[(usize, f64)]) -> Vec<f64> {
    let mut map = vec![0.0; grid.len()];
    spikes.iter().for_each(|&(patch, value)| map[patch] = value);
    map
}

/// Heads of `n_layers` layers.
pub fn maps(grid: Grid, n_layers: usize, heads: &[Vec<f64>]) -> HeadMaps {
    let data: Vec<f32> = heads.concat().into_iter().map(|v| v as f32).collect();
    HeadMaps::new(grid, n_layers, heads.len() / n_layers, data).unwrap()
}

pub fn quantised(rows: &[&[f64]]) -> Quantised {
    Quantised::new(Grid::new(rows.len(), rows[0].len()), &rows.concat()).unwrap()
}

/// A reproducible map of positive weights that sums to `total`.
pub fn noise(grid: Grid, seed: u64, total: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let map: Vec<f64> = (0..grid.len()).map(|_| next().powi(4)).collect();
    let sum: f64 = map.iter().sum();
    map.into_iter().map(|v| v / sum * total).collect()
}

/// Entropy by the default rule.
pub fn entropy(map: &[f64], grid: Grid) -> f64 {
    spatial_entropy(map, grid, &EntropyRule::default())
        .unwrap()
        .entropy
}
