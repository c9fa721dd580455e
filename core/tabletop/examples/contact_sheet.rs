//! Draws what the benchmark looks like: `cargo run --release -p gazelab-tabletop --example contact_sheet -- sheet.png [SEED]`.
//!
//! One row per environment. For each suite: the first frame, then the moment of the grasp with its masks, then the last
//! frame; below each the gripper camera.

#![allow(missing_docs, reason = "an example has no API")]

use episode::{Image, PixelMask, Region};
use image::{Rgb, RgbImage};
use tabletop::{Camera, Environment, Expert, Suite, World};

/// Every pixel becomes a square of this many.
const ZOOM: u32 = 3;
const GAP: u32 = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_else(|| "sheet.png".to_owned());
    let seed: u64 = arguments.next().map_or(Ok(0), |s| s.parse())?;
    let cell = [64 * ZOOM + GAP, 96 * ZOOM + GAP];
    let mut sheet = RgbImage::from_pixel(9 * cell[0] + GAP, 4 * cell[1] + GAP, Rgb([255; 3]));
    for (row, environment) in (0u32..).zip(Environment::ALL) {
        for (i, suite) in (0u32..).zip(Suite::ALL) {
            let moments = moments(World::new(suite, environment, seed));
            for (j, (world, with_masks)) in (0u32..).zip(moments) {
                let corner = [GAP + (3 * i + j) * cell[0], GAP + row * cell[1]];
                paste(&mut sheet, &world, Camera::Static, with_masks, corner);
                let below = [corner[0], corner[1] + 64 * ZOOM];
                paste(&mut sheet, &world, Camera::Gripper, with_masks, below);
            }
        }
    }
    sheet.save(&out)?;
    println!("{out}");
    Ok(())
}

/// Start, grasp (with masks) and end of the expert's episode.
fn moments(mut world: World) -> [(World, bool); 3] {
    println!("{}", world.instruction());
    let start = world.clone();
    let mut grasp = None;
    let mut expert = Expert::new(&world);
    while !world.outcome().success && world.steps() < world.horizon() {
        let action = expert.act(&world);
        world.step(action);
        if world.held().is_some() && grasp.is_none() {
            grasp = Some(world.clone());
        }
    }
    [
        (start.clone(), false),
        (grasp.unwrap_or(start), true),
        (world, false),
    ]
}

fn paste(sheet: &mut RgbImage, world: &World, camera: Camera, with_masks: bool, at: [u32; 2]) {
    let mut picture = world.render(camera);
    if with_masks {
        tint(
            &mut picture,
            &world.mask(camera, Region::Target),
            [255, 0, 255],
        );
        tint(&mut picture, &world.mask(camera, Region::Goal), [0, 255, 0]);
    }
    for y in 0..picture.height * ZOOM {
        for x in 0..picture.width * ZOOM {
            if let Some(pixel) = picture.pixel(x / ZOOM, y / ZOOM) {
                sheet.put_pixel(at[0] + x, at[1] + y, Rgb(pixel));
            }
        }
    }
}

fn tint(picture: &mut Image, mask: &PixelMask, colour: [u8; 3]) {
    for (pixel, _) in picture
        .rgb
        .chunks_exact_mut(3)
        .zip(&mask.bits)
        .filter(|(_, bit)| **bit)
    {
        for (channel, tint) in pixel.iter_mut().zip(colour) {
            *channel = (u16::from(*channel) / 2 + u16::from(tint) / 2) as u8;
        }
    }
}
