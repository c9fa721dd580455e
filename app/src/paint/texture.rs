//! Textures by content: what is on the GPU already is not uploaded again.

use egui::{ColorImage, Context, TextureHandle, TextureId, TextureOptions};
use episode::Image;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Bytes of texture memory kept for pictures that are not on screen; enough for 800 frames of 200 × 200.
const IDLE_BYTES: usize = 128 << 20;

/// The window's textures, shared by all panes of one [`Context`].
///
/// An entry is found by a key that stands for its content, so an idle frame uploads nothing and going back to a frame
/// costs a look-up. The least recently shown go first once [`IDLE_BYTES`] are exceeded.
#[derive(Clone, Default)]
pub struct Textures(Arc<Mutex<Cache>>);

#[derive(Default)]
struct Cache {
    entries: HashMap<u64, Entry>,
    bytes: usize,
    uploads: u64,
}

struct Entry {
    texture: TextureHandle,
    bytes: usize,
    shown_in_pass: u64,
    /// Held so that an address used as key is not given to another picture.
    _source: Option<Arc<dyn Any + Send + Sync>>,
}

impl Textures {
    /// The cache of this context.
    pub fn of(ctx: &Context) -> Self {
        ctx.data_mut(|data| {
            data.get_temp_mut_or_default::<Self>(egui::Id::unique("gazelab textures"))
                .clone()
        })
    }

    /// The texture of a decoded frame. Drawn nearest when it is shown larger than it is, so a pixel is a pixel.
    pub fn frame(&self, ctx: &Context, image: &Arc<Image>) -> TextureId {
        let options = TextureOptions {
            magnification: egui::TextureFilter::Nearest,
            ..TextureOptions::LINEAR
        };
        let source: Arc<dyn Any + Send + Sync> = image.clone();
        self.get(
            ctx,
            content_key(("frame", Arc::as_ptr(image) as usize)),
            options,
            Some(source),
            || frame_image(image),
        )
    }

    /// The texture of a computed picture whose content is named by `key` (see [`content_key`]).
    pub fn computed(
        &self,
        ctx: &Context,
        key: u64,
        options: TextureOptions,
        make: impl FnOnce() -> ColorImage,
    ) -> TextureId {
        self.get(ctx, key, options, None, make)
    }

    /// Pictures sent to the GPU so far. Constant while nothing on screen changes.
    pub fn uploads(&self) -> u64 {
        self.0.lock().uploads
    }

    fn get(
        &self,
        ctx: &Context,
        key: u64,
        options: TextureOptions,
        source: Option<Arc<dyn Any + Send + Sync>>,
        make: impl FnOnce() -> ColorImage,
    ) -> TextureId {
        let pass = ctx.cumulative_pass_nr();
        if let Some(entry) = self.0.lock().entries.get_mut(&key) {
            entry.shown_in_pass = pass;
            return entry.texture.id();
        }
        // Colouring and allocation happen outside the lock: `make` may be slow and the context has a lock of its own.
        let image = make();
        let bytes = image.pixels.len() * size_of::<egui::Color32>();
        let texture = ctx.load_texture(format!("gazelab {key:016x}"), image, options);
        let id = texture.id();
        let evicted = {
            let mut cache = self.0.lock();
            cache.bytes += bytes;
            cache.uploads += 1;
            cache.entries.insert(
                key,
                Entry {
                    texture,
                    bytes,
                    shown_in_pass: pass,
                    _source: source,
                },
            );
            cache.evict(pass)
        };
        // Dropping a handle takes the context's texture lock; not while ours is held.
        drop(evicted);
        id
    }
}

impl Cache {
    /// Takes out the least recently shown entries until the budget holds; what this or the last pass shows stays.
    fn evict(&mut self, pass: u64) -> Vec<Entry> {
        let mut out = Vec::new();
        if self.bytes <= IDLE_BYTES {
            return out;
        }
        let mut idle: Vec<(u64, u64)> = self
            .entries
            .iter()
            .filter(|(_, e)| e.shown_in_pass + 1 < pass)
            .map(|(key, e)| (e.shown_in_pass, *key))
            .collect();
        idle.sort_unstable();
        for (_, key) in idle {
            if self.bytes <= IDLE_BYTES / 2 {
                break;
            }
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes;
                out.push(entry);
            }
        }
        out
    }
}

/// A key that stands for the content of a computed picture: equal content, equal key.
pub fn content_key(content: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// A key for a painted map; floats by their bits.
pub fn map_key(values: &[f64], more: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in values {
        hasher.write_u64(value.to_bits());
    }
    more.hash(&mut hasher);
    hasher.finish()
}

/// A decoded frame as egui wants it. Bytes that are missing are black; the reader has checked sizes already.
fn frame_image(image: &Image) -> ColorImage {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut pixels: Vec<egui::Color32> = image
        .rgb
        .chunks_exact(3)
        .take(width * height)
        .map(|p| egui::Color32::from_rgb(p[0], p[1], p[2]))
        .collect();
    pixels.resize(width * height, egui::Color32::BLACK);
    ColorImage::new([width, height], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_frame_uploads_nothing() {
        let ctx = Context::default();
        let textures = Textures::of(&ctx);
        let image = Arc::new(Image::filled(4, 3, [1, 2, 3]));
        let first = textures.frame(&ctx, &image);
        assert_eq!(textures.frame(&ctx, &image), first);
        assert_eq!(Textures::of(&ctx).frame(&ctx, &image), first);
        assert_eq!(textures.uploads(), 1);
        // Equal pixels behind another allocation are another frame.
        let other = Arc::new(Image::filled(4, 3, [1, 2, 3]));
        assert_ne!(textures.frame(&ctx, &other), first);
        assert_eq!(textures.uploads(), 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let ctx = Context::default();
        let textures = Textures::of(&ctx);
        let side = 1024; // 4 MiB each
        for key in 0..100 {
            let _ = ctx.run_ui(egui::RawInput::default(), |_| {});
            textures.computed(&ctx, key, TextureOptions::NEAREST, || {
                ColorImage::filled([side, side], egui::Color32::RED)
            });
        }
        let cache = textures.0.lock();
        assert!(cache.bytes <= IDLE_BYTES + 2 * side * side * 4);
        assert_eq!(
            cache.bytes,
            cache.entries.values().map(|e| e.bytes).sum::<usize>()
        );
        // The newest are still there.
        assert!(cache.entries.contains_key(&99));
    }

    #[test]
    fn keys_follow_content() {
        assert_eq!(map_key(&[0.5, 1.0], 3), map_key(&[0.5, 1.0], 3));
        assert_ne!(map_key(&[0.5, 1.0], 3), map_key(&[0.5, 1.0], 4));
        assert_ne!(map_key(&[0.5, 1.0], 3), map_key(&[1.0, 0.5], 3));
    }
}
