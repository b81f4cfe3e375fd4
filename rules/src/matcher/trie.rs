//! Literal paths, and what paths begin with, in one tree: a walk costs what the path is long.

use super::bucket::Bucket;

/// Index of a node.
type Id = usize;

#[derive(Debug)]
pub(super) struct Trie {
    /// The root is the first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Bytes between its parent and itself.
    label: Box<[u8]>,
    /// First byte of a child's label → the child; sorted.
    children: Vec<(u8, Id)>,
    /// Rules for exactly this path.
    exact: Option<Box<Bucket>>,
    /// Rules for every path that begins so.
    prefix: Option<Box<Bucket>>,
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

    /// Gives every bucket that `path` falls into.
    pub(super) fn walk<'t>(&'t self, path: &[u8], consider: &mut impl FnMut(&'t Bucket)) {
        let mut rest = path;
        let mut next = self.nodes.first();
        while let Some(node) = next {
            let Some(left) = rest.strip_prefix(&*node.label) else { return };
            rest = left;
            if let Some(bucket) = &node.prefix {
                consider(bucket);
            }
            let Some(first) = rest.first() else {
                if let Some(bucket) = &node.exact {
                    consider(bucket);
                }
                return;
            };
            next = self.child(node, *first);
        }
    }

    /// Fills `found` up to `most` with rules whose paths share the longest beginning with `path`.
    pub(super) fn around(&self, path: &[u8], most: usize, found: &mut Vec<usize>) {
        let mut rest = path;
        let mut deepest = self.nodes.first();
        while let Some(node) = deepest {
            let Some(left) = rest.strip_prefix(&*node.label) else { break };
            rest = left;
            match rest.first().and_then(|first| self.child(node, *first)) {
                Some(child) => deepest = Some(child),
                None => break,
            }
        }
        let mut open: Vec<&Node> = deepest.into_iter().collect();
        // Every node has a bucket or two children: the number of nodes seen is bounded as the rules are.
        while let Some(node) = open.pop().filter(|_| found.len() < most) {
            for bucket in node.exact.iter().chain(&node.prefix) {
                bucket.first(most, found);
            }
            open.extend(node.children.iter().rev().take(most).filter_map(|(_, child)| self.nodes.get(*child)));
        }
    }

    fn child(&self, node: &Node, first: u8) -> Option<&Node> {
        let at = node.children.binary_search_by_key(&first, |(byte, _)| *byte).ok()?;
        node.children.get(at).and_then(|(_, child)| self.nodes.get(*child))
    }

    /// The node of `path`, made if need be.
    fn node(&mut self, path: &[u8]) -> &mut Node {
        let mut rest = path;
        let mut at = 0;
        while let Some(first) = rest.first() {
            let known = self.nodes.get(at).and_then(|node| {
                let place = node.children.binary_search_by_key(first, |(byte, _)| *byte).ok()?;
                node.children.get(place).map(|(_, child)| *child)
            });
            let Some(child) = known else {
                at = self.add(at, rest);
                break;
            };
            let shared = self.nodes.get(child).map_or(0, |node| common(&node.label, rest));
            self.split(child, shared);
            rest = rest.get(shared..).unwrap_or_default();
            at = child;
        }
        // `at` is an index that this function was given or made.
        let last = self.nodes.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "the root is always there")]
        &mut self.nodes[at.min(last)]
    }

    fn add(&mut self, parent: Id, label: &[u8]) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node { label: label.into(), ..Node::default() });
        if let (Some(node), Some(first)) = (self.nodes.get_mut(parent), label.first())
            && let Err(place) = node.children.binary_search_by_key(first, |(byte, _)| *byte)
        {
            node.children.insert(place, (*first, id));
        }
        id
    }

    /// Cuts a node in two after `length` bytes of its label, if that is not all of it.
    fn split(&mut self, id: Id, length: usize) {
        let lower = self.nodes.len();
        let Some(node) = self.nodes.get_mut(id).filter(|node| length < node.label.len()) else { return };
        let (upper, rest) = node.label.split_at(length);
        let upper: Box<[u8]> = upper.into();
        let Some(first) = rest.first().copied() else { return };
        let moved = Node {
            label: rest.into(),
            children: std::mem::replace(&mut node.children, vec![(first, lower)]),
            exact: node.exact.take(),
            prefix: node.prefix.take(),
        };
        node.label = upper;
        self.nodes.push(moved);
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
