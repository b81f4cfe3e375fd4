//! What this node is called in records.

/// Names of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNames {
    /// Of its cluster.
    pub cluster: String,
    /// Its own.
    pub node: String,
    /// Its labels: `key=value`, sorted.
    pub labels: Vec<String>,
}

impl NodeNames {
    /// `cluster/node`, as flows have it.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}/{}", self.cluster, self.node)
    }
}
