//! `features.json`: what a TensorFlow dataset says its records hold.

use crate::source::read_json;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

const MAX_BYTES: u64 = 16 << 20;
const MAX_DEPTH: usize = 32;
/// Widest tensor that is read as a vector.
const MAX_COMPONENTS: u64 = 65_536;

/// One leaf of the tree of features, under the key that records use.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Feature {
    /// `steps/observation/image_0`.
    pub(super) key: String,
    pub(super) kind: FeatureKind,
    pub(super) description: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum FeatureKind {
    /// `[width, height]`, `None` when it varies or is not given.
    Picture {
        size: Option<[u32; 2]>,
    },
    Text,
    /// Numbers a step.
    Numbers {
        dim: usize,
        is_float: bool,
    },
}

/// All leaves in the order of the file.
pub(super) fn read(path: &Path) -> Result<Vec<Feature>> {
    let json = read_json(path, MAX_BYTES)?;
    let mut features = Vec::new();
    walk(&json, "", MAX_DEPTH, &mut features).map_err(|e| Error::malformed(path, e))?;
    if features.is_empty() {
        Err(Error::malformed(path, "no feature is described"))
    } else {
        Ok(features)
    }
}

fn walk(node: &Value, key: &str, depth: usize, features: &mut Vec<Feature>) -> Result<(), String> {
    let depth = depth
        .checked_sub(1)
        .ok_or("features are nested too deeply")?;
    if let Some(children) = node
        .pointer("/featuresDict/features")
        .and_then(Value::as_object)
    {
        for (name, child) in children {
            let key = if key.is_empty() {
                name.clone()
            } else {
                format!("{key}/{name}")
            };
            walk(child, &key, depth, features)?;
        }
        return Ok(());
    }
    if let Some(child) = node.pointer("/sequence/feature") {
        // The sequence of steps; a sequence within a step has a length of its own at every step and is left out.
        return if key.contains('/') {
            Ok(())
        } else {
            walk(child, key, depth, features)
        };
    }
    let shape = |name: &str| -> Option<Vec<u64>> {
        let dimensions = node
            .pointer(&format!("/{name}/shape"))?
            .get("dimensions")
            .and_then(Value::as_array);
        dimensions.map_or(Some(Vec::new()), |d| {
            d.iter().map(|v| v.as_str()?.parse().ok()).collect()
        })
    };
    let dtype = |name: &str| {
        node.pointer(&format!("/{name}/dtype"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = if node.get("image").is_some() {
        match shape("image").as_deref() {
            Some([height, width, 3]) => {
                let side = |v: u64| u32::try_from(v).ok().filter(|v| *v > 0);
                FeatureKind::Picture {
                    size: side(*width).zip(side(*height)).map(|(w, h)| [w, h]),
                }
            }
            // Depth and masks are no camera pictures.
            Some([_, _, _]) => return Ok(()),
            _ => FeatureKind::Picture { size: None },
        }
    } else if node.get("text").is_some() {
        FeatureKind::Text
    } else if node.get("tensor").is_some() {
        match (dtype("tensor"), shape("tensor")) {
            ("string", _) => FeatureKind::Text,
            (dtype, Some(shape)) => {
                let dim = shape
                    .iter()
                    .try_fold(1u64, |product, side| product.checked_mul(*side));
                match dim.filter(|dim| (1..=MAX_COMPONENTS).contains(dim)) {
                    Some(dim) => FeatureKind::Numbers {
                        dim: dim as usize,
                        is_float: dtype.starts_with("float"),
                    },
                    None => return Ok(()),
                }
            }
            _ => return Ok(()),
        }
    } else {
        return Ok(());
    };
    let description = match node.get("description") {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    features.push(Feature {
        key: key.to_owned(),
        kind,
        description,
    });
    Ok(())
}

impl Feature {
    /// Last part of the key.
    pub(super) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    /// One name a component: out of a description like `[3x position, 1x gripper]` when its numbers add up, else
    /// `action[0]`…
    pub(super) fn component_names(&self, dim: usize) -> Vec<String> {
        described(&self.description)
            .filter(|names| names.len() == dim)
            .unwrap_or_else(|| match dim {
                1 => vec![self.name().to_owned()],
                _ => crate::dataset::numbered(&self.key, dim),
            })
    }
}

fn described(text: &str) -> Option<Vec<String>> {
    let (_, list) = text.split_once('[')?;
    let (list, _) = list.split_once(']')?;
    let mut names = Vec::new();
    for item in list.split(',') {
        let (count, name) = item.trim().split_once("x ")?;
        let (count, name) = (
            count.parse::<usize>().ok().filter(|n| *n <= 1024)?,
            name.trim(),
        );
        match count {
            1 => names.push(name.to_owned()),
            _ => names.extend((0..count).map(|i| format!("{name}[{i}]"))),
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_of_a_description_that_adds_up() {
        let feature = |description: &str| Feature {
            key: "steps/action".into(),
            kind: FeatureKind::Text,
            description: description.into(),
        };
        let given = feature("Robot action, consists of [2x joint velocity, 1x gripper].");
        assert_eq!(
            given.component_names(3),
            ["joint velocity[0]", "joint velocity[1]", "gripper"]
        );
        assert_eq!(given.component_names(2), ["action[0]", "action[1]"]);
        assert_eq!(feature("").component_names(1), ["action"]);
    }
}
