use std::borrow::Cow;

/// Token trie in three flat u32 arrays, 12 bytes a node, nodes numbered breadth-first so that the children of
/// node n are exactly `first_child[n]..first_child[n + 1]`, sorted by token. The root is node 0.
#[derive(Clone, Debug)]
pub struct Trie<'a> {
    /// [nodes + 1]
    pub first_child: Cow<'a, [u32]>,
    /// [nodes]: the token that leads to the node; the root's is u32::MAX.
    pub token: Cow<'a, [u32]>,
    /// [nodes + 1]: node n holds `members[first_member[n]..first_member[n + 1]]`; terminal iff not empty.
    pub first_member: Cow<'a, [u32]>,
    /// Values that end at a node, in the order in which they were given.
    pub members: Cow<'a, [u32]>,
}
