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
    let i32s = |v: &[i32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let f16s = |v: &[f32]| {
        v.iter()
            .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let f32s = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
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

#[test]
fn damaged_files_are_named_and_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.attncap");
    let (metadata, tensors) = smallest();
    let expect = |needle: &str| {
        let message = attncap::read(&path).unwrap_err();
        let chain = format!("{message} {:?}", std::error::Error::source(&message));
        assert!(chain.contains(needle), "{chain} lacks {needle}");
        assert!(message.to_string().ends_with("bad.attncap"), "{message}");
    };

    let missing = attncap::read(&folder.path().join("none.attncap")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open"), "{missing}");
    assert!(!attncap::is_attncap(&folder.path().join("none.attncap")));
    for contents in [
        &b""[..],
        b"short",
        b"plain text that is no safetensors file at all",
        &[0xff; 64],
    ] {
        std::fs::write(&path, contents).unwrap();
        expect("not a");
        assert!(!attncap::is_attncap(&path));
    }
    foreign(&path, &[("format", "pt")], &tensors);
    expect("no format");
    foreign(&path, &[("format", "attncap/2")], &tensors);
    expect("only attncap/1");
    foreign(&path, &metadata[..4], &tensors);
    expect("name no `views`");
    foreign(&path, &metadata, &[]);
    expect("without a step");

    for i in 1..tensors.len() {
        if tensors[i].0.ends_with("token_ids") {
            continue;
        }
        let mut fewer = tensors.clone();
        let (name, ..) = fewer.remove(i);
        foreign(&path, &metadata, &fewer);
        expect(&format!("no tensor `{name}`"));
        let mut wrong = tensors.clone();
        wrong[i].1 = "I8";
        wrong[i].2 = &[1];
        wrong[i].3 = vec![1];
        foreign(&path, &metadata, &wrong);
        expect("holds I8");
    }
    let change = |i: usize, bytes: Vec<u8>, needle: &str| {
        let mut changed = tensors.clone();
        changed[i].3 = bytes;
        foreign(&path, &metadata, &changed);
        expect(needle);
    };
    let f16s = |v: &[f32]| {
        v.iter()
            .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
            .collect::<Vec<u8>>()
    };
    change(1, f16s(&[0.5, f32::NAN, 0.25, 0.0, 1.0, 0.0]), "NonFinite");
    change(1, f16s(&[0.5, 0.9, 0.25, 0.0, 1.0, 0.0]), "RowSum");
    change(6, vec![4, 1, 9], "role 9");
    change(
        3,
        [(-1i32).to_le_bytes(), 4i32.to_le_bytes()].concat(),
        "negative",
    );
    change(4, (-5i32).to_le_bytes().to_vec(), "lm.query_index");
    change(
        7,
        [-1i32, 0, 3].iter().flat_map(|v| v.to_le_bytes()).collect(),
        "belongs to none",
    );
    let mut two = metadata.clone();
    two[3].1 = "[1, 2]";
    foreign(&path, &two, &tensors);
    expect("2 steps are listed");
    two[3].1 = "twelve";
    foreign(&path, &two, &tensors);
    expect("`steps`");

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
