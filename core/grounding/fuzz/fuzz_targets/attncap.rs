//! No bytes make the reader of attention captures panic, nor anything that is computed from what it accepts.
//!
//! Once: `cargo install cargo-fuzz`. Then, from the root of the repository:
//!
//! ```sh
//! cargo run --release -p gazelab-grounding --example attncap_seeds -- core/grounding/fuzz/corpus/attncap
//! cd core/grounding
//! RUSTC_BOOTSTRAP=1 cargo fuzz run attncap -s none -- -dict=fuzz/attncap.dict -max_total_time=600
//! ```
//!
//! `RUSTC_BOOTSTRAP=1` lets the stable compiler take the flags of the engine; a nightly one needs neither that nor
//! `-s none`. What fails is kept in `fuzz/artifacts/attncap`; run the target on that one file to see it again.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use grounding::selection::{Aggregate, HeadSelection, PRESETS, QuerySelector};
use grounding::{Capture, Gaze, attncap, gaze, heat_map, score_heads, select_heads};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Most bytes of tensors in a mended file, so that one run stays short.
const MOST: u64 = 1 << 16;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("attncap-fuzz-{}", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(mended) = mend(bytes) {
        read(&mended);
    }
});

fn read(bytes: &[u8]) {
    fs::write(&*FILE, bytes).expect("a temporary file");
    let _ = attncap::is_attncap(&FILE);
    let Ok(file) = attncap::CaptureFile::open(&FILE) else {
        return;
    };
    let mut captures = Vec::new();
    for index in 0..file.len().min(4) {
        match file.capture(index) {
            Ok(capture) => {
                look(&capture);
                captures.push(capture);
            }
            Err(error) => {
                let named = error.to_string();
                assert!(named.contains("attncap-fuzz"), "{named} names no file");
            }
        }
    }
    if captures.len() == file.len()
        && !captures.is_empty()
        && attncap::write(&FILE, &captures).is_ok()
    {
        let again = attncap::read(&FILE).expect("what was written");
        assert!(
            same(&again, &captures),
            "a capture read equals the one written"
        );
    }
}

/// Equal, or NaN in both, as actions may be.
fn same(a: &[Capture], b: &[Capture]) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

/// Everything that is computed from a capture.
fn look(capture: &Capture) {
    let query = capture.default_query();
    let _ = capture.attention_by_role(0, 0, query);
    let views = capture.grid_views();
    for view in views.into_iter().chain([capture.views.len()]) {
        let _ = capture.view_share(query, view);
        let Ok(grid) = capture.view_grid(view) else {
            continue;
        };
        let Ok(maps) = capture.head_maps_on(query, &grid) else {
            continue;
        };
        for preset in PRESETS {
            let selection = HeadSelection::preset(preset).expect("a preset");
            let Ok(scores) = score_heads(&maps, None, &selection) else {
                continue;
            };
            let Ok(selected) = select_heads(&[scores], &selection) else {
                continue;
            };
            if let Ok(gaze) = gaze(&maps, &selected.heads, &selection)
                && let Some(rect) = gaze.rect
            {
                let _ = grid.grid_from_image(grid.image_from_grid(rect));
            }
        }
        let subtracted = HeadSelection {
            query: QuerySelector::Last,
            aggregate: Aggregate::MeanSubtracted,
            ..HeadSelection::default()
        };
        if let Ok(maps) = capture.head_maps_for(&subtracted, view)
            && let Ok(map) = heat_map(&maps, &[], &subtracted)
        {
            let _ = Gaze::from_map_or_why(map, &subtracted.mask, 1);
        }
    }
}

/// The same file with lengths that fit, so that a changed header is not refused for its length alone: the header is the
/// first JSON value after the length, its tensors lie one after the other, and the rest is repeated to fill them.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.get(8..)?;
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let Some(Ok(Value::Object(mut header))) = values.next() else {
        return None;
    };
    let rest = &text[values.byte_offset()..];
    let mut end = 0u64;
    for (name, tensor) in header
        .iter_mut()
        .filter(|(name, _)| *name != "__metadata__")
    {
        let size = match tensor["dtype"].as_str()? {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            _ => 1,
        };
        let mut shape = tensor["shape"].as_array()?.iter().map(Value::as_u64);
        let len = shape.try_fold(size, |len: u64, side| len.checked_mul(side?))?;
        let start = end;
        end = end.checked_add(len).filter(|&end| end <= MOST)?;
        if !tensor.is_object() || name.len() > 64 {
            return None;
        }
        tensor["data_offsets"] = vec![start, end].into();
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let filling = if rest.is_empty() { &[0][..] } else { rest };
    file.extend(filling.iter().cycle().take(end as usize));
    Some(file)
}
