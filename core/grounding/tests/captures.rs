//! Captures: their checks, their view grids and their files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

use grounding::*;

/// Two cameras squashed into one picture of 27 × 27 patches, 14 rows above 13, with text around it and the patches in
/// no particular order.
fn composite(n_layers: u32, n_heads: u32) -> Capture {
    let mut keys = vec![Key {
        token: "pick".into(),
        ..Key::default()
    }];
    for (view, grid) in [Grid::new(14, 27), Grid::new(13, 27)]
        .into_iter()
        .enumerate()
    {
        let patches = (0..grid.len()).map(|i| (i * 5) % grid.len());
        keys.extend(patches.map(|patch| Key {
            role: TokenRole::Image,
            view: Some(view),
            rect: Some(grid.patch_rect(patch)),
            ..Key::default()
        }));
    }
    // A newline token belongs to the picture, but to no place in it.
    keys.push(Key {
        role: TokenRole::Image,
        view: Some(0),
        ..Key::default()
    });
    let words = [
        ("Ġpick", TokenRole::Text),
        ("Ġcube", TokenRole::Text),
        ("cube", TokenRole::Text),
    ];
    let actions = [("<act0>", TokenRole::Action), ("<act1>", TokenRole::Action)];
    let queries: Vec<Query> = words
        .into_iter()
        .chain(actions)
        .enumerate()
        .map(|(i, (token, role))| Query {
            position: 731 + i,
            token: token.into(),
            role,
        })
        .collect();
    let rows = (n_layers * n_heads) as usize * queries.len();
    let weight = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / (1009.0 * 731.0);
    Capture::new(CaptureParts {
        model_id: "model".into(),
        source: "episode 3".into(),
        instruction: "pick the cube".into(),
        step: 40,
        layers: (10..10 + n_layers).collect(),
        heads: (0..n_heads).collect(),
        views: ["static", "gripper"]
            .map(|name| View {
                name: name.into(),
                width: 200,
                height: 84,
            })
            .to_vec(),
        attn: (0..rows * keys.len()).map(weight).collect(),
        queries,
        keys,
        boxes: vec![Detection {
            rect: Rect::new(0.1, 0.2, 0.3, 0.4),
            label: "red cube".into(),
            score: 0.61,
            view: 1,
        }],
        action: Some(vec![0.5, -0.25]),
        sinks: None,
    })
    .unwrap()
}

#[test]
fn view_grids_are_rebuilt_from_boxes_in_any_order() {
    let capture = composite(2, 3);
    assert_eq!(capture.grid_views(), [0, 1]);
    for (view, rows) in [(0, 14), (1, 13)] {
        let found = capture.view_grid(view).unwrap();
        assert_eq!(found.grid, Grid::new(rows, 27));
        for (patch, &key) in found.key_of_patch.iter().enumerate() {
            assert_eq!(capture.keys[key].view, Some(view));
            assert_eq!(capture.keys[key].rect.unwrap(), found.rects[patch]);
            let (got, wanted) = (found.rects[patch], found.grid.patch_rect(patch));
            assert!((got.x0 - wanted.x0).abs() < 1e-6 && (got.y1 - wanted.y1).abs() < 1e-6);
        }
        let maps = capture.head_maps(3, view).unwrap();
        assert_eq!(&*maps.layers, [10, 11]);
        for (id, map) in maps.iter() {
            let row = capture.row(id.layer.into(), id.head.into(), 3).unwrap();
            assert!(
                found
                    .key_of_patch
                    .iter()
                    .zip(map)
                    .all(|(&key, &weight)| row[key] == weight)
            );
        }
    }
}

#[test]
fn views_that_are_no_grid_are_refused() {
    let whole = composite(1, 1);
    let with = |change: &dyn Fn(&mut Vec<Key>)| {
        let mut capture = whole.clone();
        change(&mut capture.keys);
        capture.view_grid(0).unwrap_err()
    };
    let gap = with(&|keys| keys[5].rect = None);
    assert!(
        matches!(&gap, Error::NotAGrid { view, .. } if view == "static"),
        "{gap}"
    );
    assert!(gap.to_string().contains("377 tokens"), "{gap}");
    let twice = with(&|keys| keys[5].rect = keys[6].rect);
    assert!(twice.to_string().contains("are both in row"), "{twice}");
    let flat = with(&|keys| keys[5].rect = Some(Rect::new(0.5, 0.0, 0.5, 0.1)));
    assert!(flat.to_string().contains("no width"), "{flat}");
    // Tiles of two resolutions on one picture.
    let tiles = with(&|keys| {
        keys.extend((0..4).map(|patch| Key {
            view: Some(0),
            rect: Some(Grid::new(2, 2).patch_rect(patch)),
            ..Key::default()
        }));
    });
    assert!(matches!(tiles, Error::NotAGrid { .. }), "{tiles}");
    assert!(matches!(whole.view_grid(7), Err(Error::NoView(_))));
}

#[test]
fn boxes_pass_between_grid_and_image() {
    // A 200 × 100 picture padded to a square: the grid reaches beyond it above and below.
    let grid = Grid::new(4, 4);
    let keys = (0..16).map(|patch| {
        let r = grid.patch_rect(patch);
        let y = |v: f64| v * 2.0 - 0.5;
        Key {
            view: Some(0),
            rect: Some(Rect::new(r.x0, y(r.y0), r.x1, y(r.y1))),
            ..Key::default()
        }
    });
    let capture = Capture::new(CaptureParts {
        layers: vec![0],
        heads: vec![0],
        views: vec![View {
            name: "wide".into(),
            width: 200,
            height: 100,
        }],
        queries: vec![Query::default()],
        keys: keys.collect(),
        attn: vec![0.05; 16],
        ..CaptureParts::default()
    })
    .unwrap();
    let view = capture.view_grid(0).unwrap();
    assert_eq!(view.grid, grid);
    let whole = Rect::new(0.0, 0.0, 1.0, 1.0);
    assert_eq!(view.grid_from_image(whole), Rect::new(0.0, 0.25, 1.0, 0.75));
    assert_eq!(view.image_from_grid(Rect::new(0.0, 0.25, 1.0, 0.75)), whole);
    let some = Rect::new(0.1, 0.2, 0.6, 0.9);
    let back = view.image_from_grid(view.grid_from_image(some));
    for (a, b) in [
        (back.x0, some.x0),
        (back.y0, some.y0),
        (back.x1, some.x1),
        (back.y1, some.y1),
    ] {
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn queries_are_found() {
    let capture = composite(1, 1);
    let find = |selector| capture.query(&selector);
    assert_eq!(
        find(QuerySelector::ReadOut).unwrap(),
        3,
        "the first action token"
    );
    assert_eq!(find(QuerySelector::Last).unwrap(), 4);
    assert_eq!(
        find(QuerySelector::Token("Cube".into())).unwrap(),
        2,
        "the last of its name"
    );
    assert_eq!(find(QuerySelector::Index(1)).unwrap(), 1);
    assert!(matches!(
        find(QuerySelector::Index(9)),
        Err(Error::NoQuery(_))
    ));
    assert!(matches!(
        find(QuerySelector::Token("bowl".into())),
        Err(Error::NoQuery(_))
    ));
    assert!(matches!(capture.head_maps(5, 0), Err(Error::NoQuery(_))));
}

#[test]
fn captures_are_checked() {
    let parts = || CaptureParts {
        layers: vec![0],
        heads: vec![0],
        views: vec![View {
            name: "static".into(),
            width: 8,
            height: 8,
        }],
        queries: vec![Query::default()],
        keys: vec![Key::default(); 4],
        attn: vec![0.25; 4],
        ..CaptureParts::default()
    };
    Capture::new(parts()).unwrap();
    let bad = |change: &dyn Fn(&mut CaptureParts)| {
        let mut parts = parts();
        change(&mut parts);
        Capture::new(parts).unwrap_err().code().unwrap()
    };
    assert_eq!(bad(&|p| p.attn.truncate(3)), "E_SHAPE");
    assert_eq!(bad(&|p| p.layers.clear()), "E_SHAPE");
    assert_eq!(bad(&|p| p.attn[2] = f32::NAN), "E_NONFINITE");
    assert_eq!(bad(&|p| p.attn[2] = -3.0), "E_NEGATIVE");
    assert_eq!(bad(&|p| p.attn[2] = 0.9), "E_SUM");
    assert_eq!(bad(&|p| p.keys[1].view = Some(1)), "E_SHAPE");
    assert_eq!(
        bad(&|p| p.keys[1].rect = Some(Rect::new(0.5, 0.0, 0.1, 1.0))),
        "E_BOX"
    );
    let detection = |score, view| Detection {
        rect: Rect::new(0.0, 0.0, 0.5, 0.5),
        label: String::new(),
        score,
        view,
    };
    for score in [f32::NAN, f32::INFINITY] {
        assert_eq!(bad(&|p| p.boxes = vec![detection(score, 0)]), "E_SHAPE");
    }
    assert_eq!(bad(&|p| p.boxes = vec![detection(0.5, 1)]), "E_SHAPE");
    assert_eq!(
        bad(&|p| p.sinks = Some(Sinks::Verdict([true].into()))),
        "E_SHAPE"
    );
}

#[test]
fn a_capture_read_equals_the_one_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.attncap");
    let first = composite(2, 2);
    let mut second = composite(2, 2);
    second.step = 7;
    second.instruction = "open the drawer".into();
    second.boxes.clear();
    second.action = None;
    second.queries[1].token.clear();
    let phi = (0..second.keys.len()).map(|i| i as f64 / 3.0).collect();
    second.sinks = Some(Sinks::Phi { phi, width: 64 });
    let captures = [first, second];
    attncap::write(&path, &captures).unwrap();
    assert!(attncap::is_attncap(&path));
    assert_eq!(attncap::read(&path).unwrap(), captures);
    let file = attncap::CaptureFile::open(&path).unwrap();
    assert_eq!(file.steps().collect::<Vec<_>>(), [40, 7]);
    assert_eq!(file.capture(1).unwrap(), captures[1]);
    let once = std::fs::read(&path).unwrap();
    attncap::write(&path, &captures).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        once,
        "equal captures give equal files"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let mut other = composite(2, 2);
    other.model_id = "another".into();
    assert!(matches!(
        attncap::write(&path, &[captures[0].clone(), other]),
        Err(Error::Shape(_))
    ));
    assert!(matches!(attncap::write(&path, &[]), Err(Error::Shape(_))));
    assert_eq!(
        std::fs::read(&path).unwrap(),
        once,
        "a refused write loses nothing"
    );
}

#[test]
fn a_file_cut_off_while_it_is_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.attncap");
    attncap::write(&path, &[composite(2, 2)]).unwrap();
    let file = attncap::CaptureFile::open(&path).unwrap();
    file.capture(0).unwrap();
    let whole = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    whole.set_len(4096).unwrap();
    let error = file.capture(0).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().ends_with("cut.attncap"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    assert!(!attncap::is_attncap(&path));
    assert!(matches!(attncap::read(&path), Err(Error::File { .. })));
}

#[test]
fn a_header_that_no_reader_takes_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.attncap");
    let mut capture = composite(1, 1);
    capture.keys[0].token = "x".repeat(65 << 20);
    let error = attncap::write(&path, &[capture]).unwrap_err();
    assert!(matches!(error, Error::Shape(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Writes a safetensors file as another program would: entries in its own order, with tensors of its own.
fn foreign(path: &Path, metadata: &[(&str, &str)], tensors: &[(&str, &str, &[usize], Vec<u8>)]) {
    let mut header = serde_json::Map::new();
    let meta: serde_json::Map<_, _> = metadata
        .iter()
        .map(|&(k, v)| (k.to_owned(), v.into()))
        .collect();
    header.insert("__metadata__".into(), meta.into());
    let mut data: Vec<u8> = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

type Tensors = Vec<(&'static str, &'static str, &'static [usize], Vec<u8>)>;

fn smallest() -> (Vec<(&'static str, &'static str)>, Tensors) {
    let nan = f32::NAN;
    let metadata = vec![
        ("format", "attncap/1"),
        ("model_id", "openvla"),
        ("instruction", "pick"),
        ("steps", "[12]"),
        (
            "views",
            r#"[{"name": "static", "width": 224, "height": 224, "fps": 10}]"#,
        ),
        ("tokens", r#"{"s00000": ["<s>", "", ""]}"#),
    ];
    let tensors: Tensors = vec![
        ("s00000/vis.attn", "F16", &[1, 1, 1, 2], f16s(&[0.5, 0.5])),
        (
            "s00000/lm.attn",
            "F16",
            &[1, 2, 1, 3],
            f16s(&[0.5, 0.25, 0.25, 0.0, 1.0, 0.0]),
        ),
        ("s00000/lm.layers", "I32", &[1], i32s(&[14])),
        ("s00000/lm.heads", "I32", &[2], i32s(&[3, 24])),
        ("s00000/lm.query_index", "I32", &[1], i32s(&[0])),
        ("s00000/token_ids", "I32", &[3], i32s(&[1, 2, 3])),
        ("s00000/token_role", "U8", &[3], vec![4, 1, 1]),
        ("s00000/key_view", "I32", &[3], i32s(&[-1, 0, 0])),
        (
            "s00000/key_box",
            "F32",
            &[3, 4],
            f32s(&[nan, nan, nan, nan, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0]),
        ),
    ];
    (metadata, tensors)
}

#[test]
fn files_of_other_programs_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.safetensors");
    let (metadata, tensors) = smallest();
    foreign(&path, &metadata, &tensors);
    let captures = attncap::read(&path).unwrap();
    let [capture] = &captures[..] else {
        panic!("{} captures", captures.len())
    };
    assert_eq!((capture.step, &*capture.model_id), (12, "openvla"));
    assert_eq!(capture.layers, [14]);
    assert_eq!(capture.heads, [3, 24]);
    assert_eq!(
        capture.queries[0].token, "<s>",
        "a row is named after the key at its position"
    );
    assert_eq!(capture.queries[0].role, TokenRole::Special);
    let maps = capture.head_maps(0, 0).unwrap();
    assert_eq!(maps.grid, Grid::new(1, 2));
    assert_eq!(
        maps.head(0, 1),
        [0.0, 1.0],
        "patches from left to right, not as they came"
    );
}

fn i32s(v: &[i32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32s(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f16s(v: &[f32]) -> Vec<u8> {
    let halves = v.iter().map(|&v| half::f16::from_f32(v));
    halves.flat_map(|v| v.to_le_bytes()).collect()
}

/// A file of [`smallest`] that was changed, and what reading it says, without the path at its end.
struct Broken {
    folder: tempfile::TempDir,
    metadata: Vec<(&'static str, &'static str)>,
    tensors: Tensors,
}

impl Broken {
    fn new() -> Self {
        let (metadata, tensors) = smallest();
        Self {
            folder: tempfile::tempdir().unwrap(),
            metadata,
            tensors,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("bad.attncap")
    }

    fn meta(mut self, key: &'static str, value: &'static str) -> Self {
        self.metadata.retain(|(there, _)| *there != key);
        self.metadata.push((key, value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self
    }

    fn with(
        self,
        name: &'static str,
        dtype: &'static str,
        shape: &'static [usize],
        bytes: Vec<u8>,
    ) -> Self {
        let mut changed = self.without(name);
        changed.tensors.push((name, dtype, shape, bytes));
        changed
    }

    /// A second frame that equals the first.
    fn twice(self) -> Self {
        let mut changed = self.meta("steps", "[12, 13]");
        for (name, dtype, shape, bytes) in changed.tensors.clone() {
            let name = name.replace("s00000", "s00001").leak();
            changed.tensors.push((name, dtype, shape, bytes));
        }
        changed
    }

    fn message(&self) -> String {
        let path = self.path();
        foreign(&path, &self.metadata, &self.tensors);
        let error = attncap::read(&path).unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "{error}");
        let message = error.to_string();
        let end = format!(": {}", path.display());
        message.strip_suffix(&end).unwrap_or(&message).to_owned()
    }

    #[track_caller]
    fn says(&self, wanted: &str) {
        assert_eq!(self.message(), wanted);
    }
}

#[test]
fn files_that_are_no_capture_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.attncap");
    let missing = attncap::read(&folder.path().join("none.attncap")).unwrap_err();
    assert!(
        missing.to_string().starts_with("cannot open: "),
        "{missing}"
    );
    assert!(!attncap::is_attncap(&folder.path().join("none.attncap")));
    for contents in [
        &b""[..],
        b"short",
        b"plain text that is no safetensors file at all",
        &[0xff; 64],
    ] {
        std::fs::write(&path, contents).unwrap();
        assert_eq!(
            attncap::read(&path).unwrap_err().to_string(),
            format!(
                "not an attention capture (no safetensors header): {}",
                path.display()
            )
        );
        assert!(!attncap::is_attncap(&path));
    }
    let broken = Broken::new;
    broken()
        .meta("format", "pt")
        .says("not an attention capture (no format `attncap/1`)");
    broken()
        .meta("format", "attncap/2")
        .says("a capture of format attncap/2, only attncap/1 is understood");
    let mut without = broken();
    without.metadata.retain(|(key, _)| *key != "views");
    without.says("the metadata name no `views`");
    broken().meta("steps", "twelve").says(
        "the metadata entry `steps` is not what it should be (expected ident at line 1 column 2)",
    );
    let whole = broken();
    foreign(&whole.path(), &whole.metadata, &whole.tensors);
    let mut bytes = std::fs::read(whole.path()).unwrap();
    bytes.truncate(bytes.len() - 2);
    std::fs::write(&path, &bytes).unwrap();
    let error = attncap::read(&path).unwrap_err().to_string();
    let wanted = "not a whole safetensors file (107 bytes of tensors are announced, 105 are there)";
    assert!(error.starts_with(wanted), "{error}");
}

#[test]
fn a_tensor_larger_than_any_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.attncap");
    for shape in [
        "[18446744073709551615]",
        "[4294967296, 4294967296]",
        "[0, 0, 0, 18446744073709551615]",
    ] {
        for end in ["18446744073709551615", "0", "8"] {
            let header = format!(
                r#"{{"__metadata__":{{"format":"attncap/1","views":"[]"}},"s00000/lm.attn":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#
            );
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend(header.bytes());
            file.extend([0; 8]);
            std::fs::write(&path, file).unwrap();
            let error = attncap::read(&path).unwrap_err();
            assert!(error.to_string().ends_with("huge.attncap"), "{error}");
        }
    }
}

#[test]
fn a_file_without_frames_says_so() {
    let wanted = "the capture holds no frame: there is no tensor `s00000/lm.attn`";
    let mut none = Broken::new();
    none.tensors.clear();
    none.says(wanted);
    none.tensors = vec![("steps/lm.attn", "U8", &[1], vec![1])];
    none.says(wanted);
    none.tensors = vec![("s+1/lm.attn", "U8", &[1], vec![1])];
    none.says(wanted);
    Broken::new().meta("steps", "[]").says(
        "the metadata entry `steps` lists 0 frames, and there are tensors of 1, `s00000/` to `s00000/`",
    );
    Broken::new().twice().meta("steps", "[1, 2, 3]").says(
        "the metadata entry `steps` lists 3 frames, and there are tensors of 2, `s00000/` to `s00001/`",
    );
}

#[test]
fn a_missing_tensor_is_named_with_its_frame() {
    for (name, ..) in smallest().1.iter().skip(1) {
        if !name.ends_with("token_ids") {
            let wanted = format!("there is no tensor `{name}`");
            Broken::new().without(name).says(&wanted);
            let second = name.replace("s00000", "s00001");
            let wanted = format!("there is no tensor `{second}`");
            Broken::new().twice().without(&second).says(&wanted);
        }
    }
    Broken::new()
        .with("s00000/boxes", "F32", &[1, 4], f32s(&[0.0, 0.0, 1.0, 1.0]))
        .says("there is no tensor `s00000/box_view`");
    Broken::new()
        .with("s00000/key_sink_phi", "F64", &[3], vec![0; 24])
        .says("there is no tensor `s00000/key_sink_width`");
}

#[test]
fn missing_rows_and_layers_are_named_with_their_frame() {
    let ones = |n: usize| f16s(&vec![0.25; n]);
    for (tensor, shape, bytes, wanted) in [
        (
            "lm.attn",
            &[2, 3][..],
            ones(6),
            "has the shape [2, 3] instead of [layers, heads, queries, keys]",
        ),
        (
            "lm.attn",
            &[0, 2, 1, 3],
            vec![],
            "holds no layers: its shape is [0, 2, 1, 3]",
        ),
        (
            "lm.attn",
            &[1, 0, 1, 3],
            vec![],
            "holds no heads: its shape is [1, 0, 1, 3]",
        ),
        (
            "lm.attn",
            &[1, 2, 0, 3],
            vec![],
            "holds no queries: its shape is [1, 2, 0, 3]",
        ),
        (
            "lm.attn",
            &[1, 2, 1, 0],
            vec![],
            "holds no keys: its shape is [1, 2, 1, 0]",
        ),
    ] {
        let name = format!("s00000/{tensor}").leak();
        Broken::new()
            .with(name, "F16", shape, bytes)
            .says(&format!("tensor `{name}` {wanted}"));
    }
    // The weights have a layer, a head, a row or a key more or less than the tensors that number them.
    for (shape, n, wanted) in [
        (
            &[2, 2, 1, 3][..],
            12,
            "tensor `s00000/lm.layers` has the shape [1] instead of [2], for `lm.attn` has [2, 2, 1, 3]",
        ),
        (
            &[1, 3, 1, 3],
            9,
            "tensor `s00000/lm.heads` has the shape [2] instead of [3], for `lm.attn` has [1, 3, 1, 3]",
        ),
        (
            &[1, 2, 2, 3],
            12,
            "tensor `s00000/lm.query_index` has the shape [1] instead of [2], for `lm.attn` has [1, 2, 2, 3]",
        ),
        (
            &[1, 2, 1, 2],
            4,
            "tensor `s00000/token_role` has the shape [3] instead of [2], for `lm.attn` has [1, 2, 1, 2]",
        ),
    ] {
        Broken::new()
            .with("s00000/lm.attn", "F16", shape, ones(n))
            .says(wanted);
    }
    Broken::new()
        .with("s00000/key_box", "F32", &[2, 4], f32s(&[0.0; 8]))
        .says("tensor `s00000/key_box` has the shape [2, 4] instead of [3, 4], for `lm.attn` has [1, 2, 1, 3]");
    Broken::new()
        .with("s00000/boxes", "F32", &[1, 4], f32s(&[0.0, 0.0, 1.0, 1.0]))
        .with("s00000/box_view", "I32", &[2], i32s(&[0, 0]))
        .says("tensor `s00000/box_view` has the shape [2] instead of [1], for `boxes` has [1, 4]");
    Broken::new()
        .meta("tokens", r#"{"s00000": ["<s>", ""]}"#)
        .says("the metadata entry `tokens` has 2 texts for `s00000` instead of 3");
}

#[test]
fn wrong_types_and_numbers_are_named_with_their_frame() {
    for (tensor, wanted) in [
        ("lm.attn", "F16 or F32"),
        ("lm.layers", "I32"),
        ("lm.heads", "I32"),
        ("lm.query_index", "I32"),
        ("token_role", "U8"),
        ("key_view", "I32"),
        ("key_box", "F16 or F32"),
    ] {
        let mut broken = Broken::new();
        let name = format!("s00000/{tensor}");
        let changed = broken.tensors.iter_mut().find(|t| t.0 == name).unwrap();
        changed.1 = "I8";
        changed.3 = vec![0; changed.2.iter().product()];
        broken.says(&format!("tensor `{name}` holds I8 instead of {wanted}"));
    }
    let with = |name, dtype, shape, bytes| Broken::new().with(name, dtype, shape, bytes);
    with("s00000/token_role", "U8", &[3], vec![4, 1, 9])
        .says("tensor `s00000/token_role` holds 9 at index 2, roles are 0 to 5");
    with("s00000/query_role", "U8", &[1], vec![6])
        .says("tensor `s00000/query_role` holds 6 at index 0, roles are 0 to 5");
    with("s00000/lm.heads", "I32", &[2], i32s(&[3, -1]))
        .says("tensor `s00000/lm.heads` holds -1 at index 1, numbers from 0 up are needed");
    with("s00000/lm.query_index", "I32", &[1], i32s(&[-5]))
        .says("tensor `s00000/lm.query_index` holds -5 at index 0, numbers from 0 up are needed");
    with("s00000/key_view", "I32", &[3], i32s(&[-1, 0, 3]))
        .says("tensor `s00000/key_view` is not valid: shapes do not fit: key 2 belongs to none of the 1 views");
    let two_layers = f16s(&[0.1; 12]);
    with("s00000/lm.attn", "F16", &[2, 2, 1, 3], two_layers)
        .with("s00000/lm.layers", "I32", &[2], i32s(&[7, 7]))
        .says("tensor `s00000/lm.layers` is not valid: shapes do not fit: layer numbers [7, 7] do not ascend");
    let boxed = |corners: [f32; 4], view, score| {
        with("s00000/boxes", "F32", &[1, 4], f32s(&corners))
            .with("s00000/box_view", "I32", &[1], i32s(&[view]))
            .with("s00000/box_score", "F32", &[1], f32s(&[score]))
    };
    let whole = [0.0, 0.0, 1.0, 1.0];
    boxed([f32::NAN; 4], 0, 0.5).says("tensor `s00000/boxes` holds no corners for box 0");
    boxed([0.5, 0.0, 0.25, 1.0], 0, 0.5)
        .says("tensor `s00000/boxes` at box 0 is not valid: not a box: (0.5, 0) to (0.25, 1)");
    boxed(whole, -1, 0.5)
        .says("tensor `s00000/box_view` holds -1 for box 0, every box needs a view");
    boxed(whole, 4, 0.5)
        .says("tensor `s00000/box_view` is not valid: shapes do not fit: box 0 belongs to none of the 1 views");
}

#[test]
fn a_number_that_is_none_is_named_with_its_frame_and_place() {
    let attn = |values: &[f32]| {
        let (shape, bytes) = (&[1, 2, 1, 3], f16s(values));
        Broken::new().with("s00000/lm.attn", "F16", shape, bytes)
    };
    attn(&[0.5, 0.25, 0.25, 0.0, f32::NAN, 0.0]).says(
        "tensor `s00000/lm.attn` at layer 14, head 24, query 0, key 1 is not valid: attention is not finite at flat index 4",
    );
    attn(&[0.5, f32::INFINITY, 0.25, 0.0, 1.0, 0.0]).says(
        "tensor `s00000/lm.attn` at layer 14, head 3, query 0, key 1 is not valid: attention is not finite at flat index 1",
    );
    attn(&[0.5, 0.25, -0.25, 0.0, 1.0, 0.0]).says(
        "tensor `s00000/lm.attn` at layer 14, head 3, query 0, key 2 is not valid: attention is negative at flat index 2; weights after the softmax are needed",
    );
    attn(&[0.5, 0.25, 0.25, 0.5, 1.0, 0.0]).says(
        "tensor `s00000/lm.attn` at layer 14, head 24, query 0 is not valid: attention row 1 sums to 1.5000, more than one",
    );
    let two_rows = f16s(&[
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        f32::NAN,
        0.1,
    ]);
    Broken::new()
        .twice()
        .with("s00001/lm.attn", "F16", &[1, 2, 2, 3], two_rows)
        .with("s00001/lm.query_index", "I32", &[2], i32s(&[0, 2]))
        .says("tensor `s00001/lm.attn` at layer 14, head 24, query 1, key 1 is not valid: attention is not finite at flat index 10");
    let nan = f32::NAN;
    let boxes = [nan, nan, nan, nan, 0.5, 0.0, nan, 1.0, 0.0, 0.0, 0.5, 1.0];
    Broken::new()
        .with("s00000/key_box", "F32", &[3, 4], f32s(&boxes))
        .says("tensor `s00000/key_box` at key 1 is not valid: not a box: (0.5, 0) to (NaN, 1)");
    Broken::new()
        .with("s00000/action", "F32", &[2], f32s(&[0.5, nan]))
        .says(
            "tensor `s00000/action` is not valid: shapes do not fit: value 1 of the action is NaN",
        );
    let phi = [0.5, f64::NAN, 1.0].iter().flat_map(|v| v.to_le_bytes());
    Broken::new()
        .with("s00000/key_sink_phi", "F64", &[3], phi.collect())
        .with("s00000/key_sink_width", "I32", &[1], i32s(&[64]))
        .says("tensor `s00000/key_sink_phi` is not valid: shapes do not fit: key 1 has φ = NaN");
    Broken::new()
        .with("s00000/boxes", "F32", &[1, 4], f32s(&[0.0, 0.0, 1.0, 1.0]))
        .with("s00000/box_view", "I32", &[1], i32s(&[0]))
        .with("s00000/box_score", "F32", &[1], f32s(&[nan]))
        .says("tensor `s00000/box_score` is not valid: shapes do not fit: box 0 has the score NaN");
    let broken = attn(&[0.5, 0.25, 0.25, 0.0, f32::NAN, 0.0]);
    broken.message();
    let error = attncap::read(&broken.path()).unwrap_err();
    assert_eq!(
        (error.code(), error.index()),
        (Some("E_NONFINITE"), Some(4))
    );
}

#[test]
fn frames_of_several_forms_are_named() {
    let twice = || Broken::new().twice();
    let end = "as in `s00000`; one file is for one model and one set of cameras";
    twice()
        .with("s00001/lm.layers", "I32", &[1], i32s(&[15]))
        .says(&format!(
            "tensor `s00001/lm.layers` gives layers [15] instead of [14] {end}"
        ));
    twice()
        .with("s00001/lm.heads", "I32", &[2], i32s(&[3, 25]))
        .says(&format!(
            "tensor `s00001/lm.heads` gives heads [3, 25] instead of [3, 24] {end}"
        ));
    let nan = f32::NAN;
    let column = [nan, nan, nan, nan, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5];
    let broken = twice().with("s00001/key_box", "F32", &[3, 4], f32s(&column));
    let wanted = format!(
        "tensor `s00001/key_box` gives 2 × 1 patches of view static instead of 1 × 2 patches {end}"
    );
    broken.says(&wanted);
    // Also when only that frame is asked for.
    let file = attncap::CaptureFile::open(&broken.path()).unwrap();
    let error = file.capture(1).unwrap_err().to_string();
    assert!(error.starts_with(&wanted), "{error}");
    file.capture(0).unwrap();
    let overlap = [nan, nan, nan, nan, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 0.5];
    twice()
        .with("s00001/key_box", "F32", &[3, 4], f32s(&overlap))
        .says(&format!(
            "tensor `s00001/key_box` gives no full grid of view static instead of 1 × 2 patches {end}"
        ));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixed.attncap");
    let error = attncap::write(&path, &[composite(2, 2), composite(3, 2)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shapes do not fit: capture 1 has layers [10, 11, 12] instead of [10, 11] as capture 0 has; they need a file each"
    );
}

#[test]
fn a_view_of_mixed_grids_is_named_with_its_step() {
    let mut capture = composite(1, 1);
    capture.keys.extend((0..4).map(|patch| Key {
        view: Some(0),
        rect: Some(Grid::new(2, 2).patch_rect(patch)),
        ..Key::default()
    }));
    assert_eq!(
        capture.view_grid(0).unwrap_err().to_string(),
        "the boxes of the image tokens (`key_box`) of view static at step 40 do not form a full grid: 382 tokens for 14 rows and 27 columns"
    );
}

#[test]
fn damaged_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.attncap");
    let (metadata, tensors) = smallest();
    // Cut anywhere, and any byte of the header changed: an error or a capture, never a panic.
    foreign(&path, &metadata, &tensors);
    let whole = std::fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(attncap::read(&path).is_err());
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] = changed[at].wrapping_add(1);
        std::fs::write(&path, &changed).unwrap();
        if let Ok(captures) = attncap::read(&path) {
            captures
                .iter()
                .for_each(|capture| drop(capture.view_grid(0)));
        }
    }
}
