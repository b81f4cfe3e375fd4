//! Literal paths, and what paths begin with, in one tree: a walk costs what the path is long.

use super::{Buckets, Few, bucket::Bucket};

/// Index of a node.
type Id = usize;

#[derive(Debug)]
pub(super) struct Trie {
    /// The root is the first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Bytes between its parent and itself, but for the first: its parent found it by that.
    label: Box<[u8]>,
    children: Children,
    /// Rules for exactly this path.
    exact: Option<Box<Bucket>>,
    /// Rules for every path that begins so.
    prefix: Option<Box<Bucket>>,
}

/// Children by the first byte between them and their parent; found without a search.
#[derive(Debug, Default)]
struct Children {
    /// The byte of the first of `ids`.
    lowest: u8,
    /// From the lowest byte that has a child to the highest. [`NOBODY`] where there is none.
    ids: Vec<Id>,
}

/// The root is nobody's child.
const NOBODY: Id = 0;

impl Children {
    fn get(&self, byte: u8) -> Option<Id> {
        let at = usize::from(byte.checked_sub(self.lowest)?);
        self.ids.get(at).copied().filter(|id| *id != NOBODY)
    }

    fn insert(&mut self, byte: u8, id: Id) {
        if self.ids.is_empty() {
            self.lowest = byte;
        }
        if let Some(below) = self.lowest.checked_sub(byte) {
            self.ids.splice(..0, std::iter::repeat_n(NOBODY, below.into()));
            self.lowest = byte;
        }
        let at = usize::from(byte.saturating_sub(self.lowest));
        if self.ids.len() <= at {
            self.ids.resize(at.saturating_add(1), NOBODY);
        }
        if let Some(place) = self.ids.get_mut(at) {
            *place = id;
        }
    }

    /// By their bytes, from the highest.
    fn highest_first(&self) -> impl Iterator<Item = Id> {
        self.ids.iter().rev().copied().filter(|id| *id != NOBODY)
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Trie {
    /// Rules for exactly `path`.
    pub(super) fn exact(&mut self, path: &[u8]) -> &mut Bucket {
        self.node(path).exact.get_or_insert_default()
    }

    /// Rules for every path that begins with `prefix`.
    pub(super) fn prefix(&mut self, prefix: &[u8]) -> &mut Bucket {
        self.node(prefix).prefix.get_or_insert_default()
    }

    /// Adds every bucket that `path` falls into, and says where it leaves the tree: the last node that shares a byte of its
    /// label with it.
    pub(super) fn walk<'t>(&'t self, path: &[u8], found: &mut Buckets<'t>) -> Option<&'t Node> {
        let mut rest = path;
        let mut node = self.nodes.first()?;
        loop {
            let Some(left) = node.after_label(rest) else { return Some(node) };
            if let Some(bucket) = &node.prefix {
                found.push(bucket);
            }
            let Some((first, after)) = left.split_first() else {
                if let Some(bucket) = &node.exact {
                    found.push(bucket);
                }
                return Some(node);
            };
            rest = after;
            let Some(child) = self.child(node, *first) else { return Some(node) };
            node = child;
        }
    }

    /// Fills `found` up to `most` with rules of `deepest` and below, whose paths share the longest beginning with the one
    /// that led there.
    pub(super) fn around(&self, deepest: Option<&Node>, most: usize, found: &mut Few) {
        let mut open: Vec<&Node> = deepest.into_iter().collect();
        // Every node has a bucket or two children: the number of nodes seen is bounded as the rules are.
        while let Some(node) = open.pop().filter(|_| found.len() < most) {
            for bucket in node.exact.iter().chain(&node.prefix) {
                bucket.first(most, found);
            }
            open.extend(node.children.highest_first().take(most).filter_map(|child| self.nodes.get(child)));
        }
    }

    fn child(&self, node: &Node, first: u8) -> Option<&Node> {
        node.children.get(first).and_then(|child| self.nodes.get(child))
    }

    /// The node of `path`, made if need be.
    fn node(&mut self, path: &[u8]) -> &mut Node {
        let mut rest = path;
        let mut at = 0;
        while let Some((first, after)) = rest.split_first() {
            let Some(child) = self.nodes.get(at).and_then(|node| node.children.get(*first)) else {
                at = self.add(at, *first, after);
                break;
            };
            let shared = self.nodes.get(child).map_or(0, |node| common(&node.label, after));
            self.split(child, shared);
            rest = after.get(shared..).unwrap_or_default();
            at = child;
        }
        // `at` is an index that this function was given or made.
        let last = self.nodes.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "the root is always there")]
        &mut self.nodes[at.min(last)]
    }

    fn add(&mut self, parent: Id, first: u8, label: &[u8]) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node { label: label.into(), ..Node::default() });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(first, id);
        }
        id
    }

    /// Cuts a node in two after `length` bytes of its label, if that is not all of it.
    fn split(&mut self, id: Id, length: usize) {
        let lower = self.nodes.len();
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Some((upper, [first, rest @ ..])) = node.label.split_at_checked(length) else { return };
        let mut children = Children::default();
        children.insert(*first, lower);
        let upper: Box<[u8]> = upper.into();
        let moved = Node {
            label: rest.into(),
            children: std::mem::replace(&mut node.children, children),
            exact: node.exact.take(),
            prefix: node.prefix.take(),
        };
        node.label = upper;
        self.nodes.push(moved);
    }
}

impl Node {
    /// What of `path` comes after the label, if it begins with that.
    fn after_label<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        // Where paths part at each byte, most labels are empty.
        if self.label.is_empty() { Some(path) } else { path.strip_prefix(&*self.label) }
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
