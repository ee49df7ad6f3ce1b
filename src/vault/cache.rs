//! Open nodes kept in memory, bounded.
//!
//! In scope: which nodes stay. Out of scope: when they are stale, which the tree knows. Invariant:
//! at most [`NODES_MAX`] nodes are held, and what is dropped is wiped.

use std::collections::HashMap;
use std::sync::Arc;

use super::mac::Secret;
use super::node::{Node, NodeId};

/// Most nodes held: at 4.2 KiB a leaf, about 35 MB. A leaf holds 64 persons, so that a quarter of a
/// million of them are found without opening a file.
pub(super) const NODES_MAX: usize = 8_192;
const GENERATION_MAX: usize = NODES_MAX / 2;

/// A node in the clear with the key its file is encrypted under.
#[derive(Clone)]
pub(super) struct OpenNode {
    pub(super) key: Secret,
    pub(super) node: Node,
}

/// Two generations: what is used moves to the young one, and when that is full the old one goes.
/// So the most recently used 4,096 nodes always stay, and no list has to be kept in order.
#[derive(Default)]
pub(super) struct NodeCache {
    young: HashMap<NodeId, Arc<OpenNode>>,
    old: HashMap<NodeId, Arc<OpenNode>>,
}

impl NodeCache {
    pub(super) fn get(&mut self, id: NodeId) -> Option<Arc<OpenNode>> {
        if let Some(found) = self.young.get(&id) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(&id)?;
        self.insert(Arc::clone(&found));
        Some(found)
    }

    pub(super) fn insert(&mut self, node: Arc<OpenNode>) {
        let id = node.node.id;
        self.old.remove(&id);
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, node);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn open(index: u64) -> Arc<OpenNode> {
        let node = Node::empty(NodeId { level: 0, index });
        Arc::new(OpenNode { key: Zeroizing::new([0; 32]), node })
    }

    #[test]
    fn bounded_and_the_used_stay() {
        let mut cache = NodeCache::default();
        for index in 0..20_000 {
            cache.insert(open(index));
            assert!(cache.get(NodeId { level: 0, index: 0 }).is_some());
            assert!(cache.young.len() + cache.old.len() <= NODES_MAX);
        }
        for index in 20_000 - 4_000..20_000 {
            assert!(cache.get(NodeId { level: 0, index }).is_some());
        }
        assert!(cache.get(NodeId { level: 0, index: 1 }).is_none());
        cache.clear();
        assert!(cache.get(NodeId { level: 0, index: 0 }).is_none());
    }
}
