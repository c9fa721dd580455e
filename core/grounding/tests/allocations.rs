//! Measuring head after head must not ask the allocator for anything: a dataset has millions of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use grounding::{
    Connectivity, EntropyRule, EntropyTotal, EntropyWeight, Grid, HeadSelection, Meter, SinkFilter,
};

thread_local! {
    /// Requests of this thread: the test harness has threads of its own.
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        REQUESTS.with(|requests| requests.set(requests.get() + 1));
    }
}

// SAFETY: every call goes to the system allocator as it is; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Noise that makes a component of every seventh patch or so.
fn map(grid: Grid, seed: usize) -> Vec<f32> {
    (0..grid.len())
        .map(|patch| {
            let noise = (patch * 7919 + seed * 104_729) % 1009;
            (noise as f32 / 1009.0).powi(6) / grid.len() as f32
        })
        .collect()
}

#[test]
fn measuring_allocates_nothing() {
    let grid = Grid::new(27, 27);
    let maps: Vec<Vec<f32>> = (0..1000).map(|seed| map(grid, seed)).collect();
    let sinks: Vec<bool> = (0..grid.len()).map(|patch| patch % 97 == 0).collect();

    let filtered = HeadSelection {
        sinks: SinkFilter {
            apply: true,
            renormalise: true,
            ..SinkFilter::default()
        },
        ..HeadSelection::default()
    };
    let unusual = HeadSelection {
        entropy: EntropyRule {
            connectivity: Connectivity::Four,
            weight: EntropyWeight::Pixels,
            total: EntropyTotal::Positive,
            ..EntropyRule::default()
        },
        ..HeadSelection::default()
    };
    for selection in [HeadSelection::default(), filtered, unusual] {
        let mut meter = Meter::new(grid, &selection).unwrap();
        meter.filter(&sinks).unwrap();
        // Warm-up.
        assert!(meter.measure(&maps[0]).unwrap().components > 1);

        let before = REQUESTS.get();
        let mut components = 0;
        for map in &maps {
            components += meter.measure(map).unwrap().components;
        }
        let requests = REQUESTS.get() - before;
        assert_eq!(requests, 0, "{selection:?}");
        assert!(components > 1000, "{components} components");
    }
    assert!(REQUESTS.get() > 1000, "the allocator counts");
}
