//! Where the panes stand.
//!
//! The tree that egui_tiles keeps is full of numbers that refer to each other; what is saved is a plain description,
//! which cannot contain a cycle, a missing tile or one pane twice without being noticed. A description that does not
//! hold is replaced by the default layout.

use std::collections::BTreeSet;

use egui_tiles::{Container, LinearDir, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};

use super::PaneKind;

/// Version of the description. Raise it when panes change so much that old layouts no longer make sense.
const VERSION: u32 = 1;
/// Nobody nests deeper by hand.
const MAX_DEPTH: usize = 12;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    version: u32,
    root: Node,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    Pane(PaneKind),
    Tabs { active: usize, children: Vec<Node> },
    Row(Vec<(f32, Node)>),
    Column(Vec<(f32, Node)>),
}

/// Name of the tree in egui's memory.
fn tree_id() -> egui::Id {
    egui::Id::unique("panes")
}

/// The layout of UI.md.
pub fn default_tree() -> Tree<PaneKind> {
    use PaneKind as P;
    let tabs = |panes: &[P]| Node::Tabs {
        active: 0,
        children: panes.iter().map(|p| Node::Pane(*p)).collect(),
    };
    let root = Node::Row(vec![
        (0.17, tabs(&[P::Sources])),
        (
            0.53,
            Node::Column(vec![
                (0.46, tabs(&[P::Trajectory, P::Attention, P::Runs])),
                (0.28, tabs(&[P::Heads])),
                (0.26, tabs(&[P::Timeline, P::Log])),
            ]),
        ),
        // Thresholds are a long list, and want the whole height.
        (
            0.30,
            Node::Column(vec![
                (0.6, tabs(&[P::Tuning])),
                (0.4, tabs(&[P::Compare, P::Figure])),
            ]),
        ),
    ]);
    build(&root)
}

/// Reads a saved layout; none when it does not hold.
pub fn parse(text: &str) -> Option<Tree<PaneKind>> {
    let saved: Saved = ron::from_str(text).ok()?;
    let mut seen = BTreeSet::new();
    (saved.version == VERSION && is_sound(&saved.root, 0, &mut seen) && !seen.is_empty())
        .then(|| build(&saved.root))
}

/// Describes a layout for saving; none when nothing is open.
pub fn describe(tree: &Tree<PaneKind>) -> Option<String> {
    let root = node_of(&tree.tiles, tree.root()?, 0)?;
    ron::to_string(&Saved {
        version: VERSION,
        root,
    })
    .ok()
}

/// Brings a pane to the front, or back where it was closed.
pub fn show(tree: &mut Tree<PaneKind>, kind: PaneKind) {
    let tile = match tree.tiles.find_pane(&kind) {
        Some(tile) => tile,
        None => {
            let tile = tree.tiles.insert_pane(kind);
            match largest_tabs(tree) {
                Some(tabs) => tree.move_tile_to_container(tile, tabs, usize::MAX, false),
                None => {
                    let mut tiles = std::mem::take(&mut tree.tiles);
                    let root = tiles.insert_tab_tile(vec![tile]);
                    *tree = Tree::new(tree_id(), root, tiles);
                }
            }
            tile
        }
    };
    tree.make_active(|id, _| id == tile);
}

/// The tab container with the most room, where a reopened pane is seen best.
fn largest_tabs(tree: &Tree<PaneKind>) -> Option<TileId> {
    let area = |id: TileId| tree.tiles.rect(id).map_or(0.0, |r| r.area());
    tree.tiles
        .iter()
        .filter(|(_, tile)| matches!(tile, Tile::Container(Container::Tabs(_))))
        .map(|(id, _)| *id)
        .max_by(|a, b| area(*a).total_cmp(&area(*b)))
}

fn is_sound(node: &Node, depth: usize, seen: &mut BTreeSet<PaneKind>) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match node {
        Node::Pane(kind) => seen.insert(*kind),
        Node::Tabs { children, active } => {
            *active < children.len()
                && children
                    .iter()
                    .all(|child| is_sound(child, depth + 1, seen))
        }
        Node::Row(children) | Node::Column(children) => {
            !children.is_empty()
                && children.iter().all(|(share, child)| {
                    share.is_finite() && *share > 0.0 && is_sound(child, depth + 1, seen)
                })
        }
    }
}

fn build(root: &Node) -> Tree<PaneKind> {
    let mut tiles = Tiles::default();
    let root = insert(root, &mut tiles);
    Tree::new(tree_id(), root, tiles)
}

fn insert(node: &Node, tiles: &mut Tiles<PaneKind>) -> TileId {
    match node {
        Node::Pane(kind) => tiles.insert_pane(*kind),
        Node::Tabs { active, children } => {
            let children: Vec<TileId> = children.iter().map(|child| insert(child, tiles)).collect();
            let mut tabs = egui_tiles::Tabs::new(children.clone());
            if let Some(active) = children.get(*active) {
                tabs.set_active(*active);
            }
            tiles.insert_container(tabs)
        }
        Node::Row(children) => insert_linear(LinearDir::Horizontal, children, tiles),
        Node::Column(children) => insert_linear(LinearDir::Vertical, children, tiles),
    }
}

fn insert_linear(dir: LinearDir, children: &[(f32, Node)], tiles: &mut Tiles<PaneKind>) -> TileId {
    let ids: Vec<TileId> = children
        .iter()
        .map(|(_, child)| insert(child, tiles))
        .collect();
    let mut linear = egui_tiles::Linear::new(dir, ids.clone());
    for (id, (share, _)) in ids.into_iter().zip(children) {
        linear.shares.set_share(id, *share);
    }
    tiles.insert_container(linear)
}

fn node_of(tiles: &Tiles<PaneKind>, id: TileId, depth: usize) -> Option<Node> {
    if depth > MAX_DEPTH {
        return None;
    }
    match tiles.get(id)? {
        Tile::Pane(kind) => Some(Node::Pane(*kind)),
        Tile::Container(Container::Tabs(tabs)) => {
            let mut active = 0;
            let mut children = Vec::new();
            for child in &tabs.children {
                let Some(node) = node_of(tiles, *child, depth + 1) else {
                    continue;
                };
                if tabs.is_active(*child) {
                    active = children.len();
                }
                children.push(node);
            }
            (!children.is_empty()).then_some(Node::Tabs { active, children })
        }
        Tile::Container(container) => {
            let share = |child: TileId| match container {
                Container::Linear(linear) => linear
                    .shares
                    .iter()
                    .find(|(id, _)| **id == child)
                    .map_or(1.0, |(_, s)| *s),
                _ => 1.0,
            };
            let children: Vec<(f32, Node)> = container
                .children()
                .filter_map(|child| Some((share(*child), node_of(tiles, *child, depth + 1)?)))
                .collect();
            let is_column =
                matches!(container, Container::Linear(linear) if linear.dir == LinearDir::Vertical);
            match children.is_empty() {
                true => None,
                false if is_column => Some(Node::Column(children)),
                false => Some(Node::Row(children)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_layout_survives_saving() {
        let text = describe(&default_tree()).unwrap();
        let again = parse(&text).unwrap();
        assert_eq!(describe(&again).unwrap(), text);
        let panes = again
            .tiles
            .tiles()
            .filter(|t| matches!(t, Tile::Pane(_)))
            .count();
        assert_eq!(panes, PaneKind::ALL.len(), "every pane has its place");
    }

    #[test]
    fn a_layout_that_does_not_hold_is_refused() {
        for text in [
            "",
            "nonsense",
            "(version:9,root:Pane(Log))",
            "(version:1,root:Tabs(active:3,children:[Pane(Log)]))",
            "(version:1,root:Tabs(active:0,children:[Pane(Log),Pane(Log)]))",
            "(version:1,root:Row([(NaN,Pane(Log))]))",
            "(version:1,root:Row([]))",
            "(version:1,root:Pane(Hologram))",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        let deep = format!(
            "(version:1,root:{}Pane(Log){})",
            "Row([(1.0,".repeat(60),
            ")])".repeat(60)
        );
        assert!(parse(&deep).is_none());
    }

    #[test]
    fn a_closed_pane_comes_back() {
        let mut tree = parse("(version:1,root:Tabs(active:0,children:[Pane(Log)]))").unwrap();
        show(&mut tree, PaneKind::Runs);
        assert!(tree.tiles.find_pane(&PaneKind::Runs).is_some());
        let mut empty = Tree::empty(tree_id());
        show(&mut empty, PaneKind::Figure);
        assert!(describe(&empty).unwrap().contains("Figure"));
    }
}
