//! Who imports whom inside `engine/`, and where that runs in a circle.

use crate::source::{is_word, starts_word, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Who imports whom, by files.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of a tree: a name is followed through the `use` that hands it on to the file where it
/// is defined; that `use` itself is no import. Nor is a folder's `mod.rs` naming a part of it: what
/// stands there is the ground of its parts, and it may put them to work.
pub fn imports(tree: &[(String, String)]) -> Graph {
    let sources: Vec<(&str, Source)> =
        tree.iter().map(|(path, source)| (&**path, Source::read(source))).collect();
    let files = Files::new(sources.iter().map(|(path, source)| (*path, source)));
    let own = |path: &&str| path.contains('/');
    let mut graph = Graph::new();
    for path in sources.iter().map(|(path, _)| *path).filter(own) {
        let met =
            files.paths(path).iter().filter_map(|names| files.home(names)).collect::<Vec<_>>();
        let folder = path.strip_suffix("mod.rs");
        let part = |other: &&str| folder.is_some_and(|folder| other.starts_with(folder));
        let others = met.into_iter().filter(|other| own(other) && *other != path && !part(other));
        graph.insert(path.to_owned(), others.map(str::to_owned).collect());
    }
    graph
}

/// The same between rooms.
pub fn rooms_of(graph: &Graph) -> Graph {
    let room = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut rooms = Graph::new();
    for (path, others) in graph {
        let own = room(path);
        let others = others.iter().map(|other| room(other)).filter(|other| *other != own);
        rooms.entry(own.clone()).or_default().extend(others);
    }
    rooms
}

/// The circles of a graph: sets of nodes each of which reaches all others, in order.
pub fn circles(graph: &Graph) -> Vec<Vec<&str>> {
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(node) = open.pop() {
            for next in graph.get(node).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|node| (node.as_str(), reached(node))).collect();
    let mut found = BTreeSet::new();
    for (node, ahead) in reach.iter().filter(|(node, ahead)| ahead.contains(*node)) {
        found
            .insert(ahead.iter().filter(|n| reach[*n].contains(node)).copied().collect::<Vec<_>>());
    }
    found.into_iter().collect()
}

/// Modules by their names below the crate, and what each hands on.
pub struct Files<'a> {
    /// Path and code, tests cut off.
    files: BTreeMap<Vec<String>, (&'a str, &'a str)>,
}

impl<'a> Files<'a> {
    pub fn new(sources: impl IntoIterator<Item = (&'a str, &'a Source)>) -> Files<'a> {
        let cut = |code: &'a str| &code[..code.find("#[cfg(test)]\nmod ").unwrap_or(code.len())];
        let files =
            sources.into_iter().map(|(path, source)| (module(path), (path, cut(&source.code))));
        Files { files: files.collect() }
    }

    /// All paths in the code of a file, names from the crate down; those of a `pub use` are left
    /// out, they only hand on.
    pub fn paths(&self, path: &str) -> Vec<Vec<String>> {
        let own = module(path);
        let code = self.files[&own].1;
        let mut found = Vec::new();
        for (names, public) in uses(code) {
            if !public {
                found.extend(self.absolute(&own, &names));
            }
        }
        // Paths outside of `use`: from `crate` or `super`, or from a module of this file's.
        let plain = without_uses(code);
        for (at, _) in plain.match_indices("::") {
            let from = plain[..at].rfind(|c| !is_word(c)).map_or(0, |before| before + 1);
            if plain[..from].ends_with("::") || from == at {
                continue;
            }
            let mut names = vec![plain[from..at].to_owned()];
            let mut rest = &plain[at..];
            while let Some(next) = rest.strip_prefix("::") {
                let end = next.find(|c| !is_word(c)).unwrap_or(next.len());
                if end == 0 {
                    break;
                }
                names.push(next[..end].to_owned());
                rest = &next[end..];
            }
            found.extend(self.absolute(&own, &names));
        }
        found
    }

    /// A path as seen from module `own`, from the crate down; none where it leads out of it.
    fn absolute(&self, own: &[String], names: &[String]) -> Option<Vec<String>> {
        let (mut base, mut rest) = (own.to_vec(), names);
        match names.first()?.as_str() {
            "crate" => (base, rest) = (Vec::new(), &names[1..]),
            "self" => rest = &names[1..],
            "super" => {}
            child => {
                base.push(child.to_owned());
                return self.files.contains_key(&base).then(|| [own, names].concat());
            }
        }
        while rest.first().is_some_and(|name| name == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// The file where a path's last name is at home.
    pub fn home(&self, names: &[String]) -> Option<&'a str> {
        self.home_within(names, 0)
    }

    fn home_within(&self, names: &[String], hops: usize) -> Option<&'a str> {
        let deepest = (0..=names.len()).rev().find(|&n| self.files.contains_key(&names[..n]))?;
        let (path, code) = self.files[&names[..deepest]];
        let Some(next) = names.get(deepest) else { return Some(path) };
        let handed = uses(code).into_iter().find(|(used, _)| used.last() == Some(next));
        if let (Some((used, _)), true) = (handed, hops < 8) {
            let mut onward = self.absolute(&names[..deepest], &used)?;
            onward.extend(names[deepest + 1..].iter().cloned());
            return self.home_within(&onward, hops + 1);
        }
        Some(path)
    }
}

/// `data/source/mod.rs` is `data::source`, `data/task.rs` is `data::task`, `lib.rs` the crate.
pub fn module(path: &str) -> Vec<String> {
    let names =
        path.trim_end_matches(".rs").split('/').filter(|name| !["mod", "lib"].contains(name));
    names.map(str::to_owned).collect()
}

/// Every `use` of a code, one path a name, and whether it is public.
pub fn uses(code: &str) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    for (from, to) in use_places(code) {
        let before = code[..from].trim_end().rsplit(|c: char| c.is_whitespace() || c == ';').next();
        let public = before.is_some_and(|word| word.starts_with("pub"));
        let words = code[from + "use ".len()..to].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paths = Vec::new();
        spread(&[], &words, &mut paths);
        found.extend(paths.into_iter().map(|names| (names, public)));
    }
    found
}

/// From `use` to the semicolon.
pub fn use_places(code: &str) -> Vec<(usize, usize)> {
    let places = code.match_indices("use ").filter(|(at, _)| starts_word(code, *at));
    places.filter_map(|(at, _)| Some((at, at + code[at..].find(';')?))).collect()
}

pub fn without_uses(code: &str) -> String {
    let mut plain = String::with_capacity(code.len());
    let mut from = 0;
    for (begin, end) in use_places(code) {
        if begin >= from {
            plain += &code[from..begin];
            from = end;
        }
    }
    plain + &code[from..]
}

/// The paths of `a::{b, c::d, self} as e` behind `before`; an alias is left out, `*` names its
/// module.
pub fn spread(before: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let (path, group) = match tree.split_once('{') {
        Some((path, group)) => (path, group.rsplit_once('}').map(|(inside, _)| inside)),
        None => (tree.split(" as ").next().unwrap_or_default(), None),
    };
    let names = path.split("::").map(str::trim).filter(|name| !["", "self", "*"].contains(name));
    let mut own = before.to_vec();
    own.extend(names.map(str::to_owned));
    let Some(group) = group else { return found.push(own) };
    let (mut open, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 0 => {
                if !group[from..at].trim().is_empty() {
                    spread(&own, group[from..at].trim(), found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn a_planted_circle_is_found() {
    let tree = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        files.iter().map(|(path, source)| (path.to_string(), source.to_string())).collect()
    };
    let found = |files: &[(&str, &str)]| {
        let graph = imports(&tree(files));
        circles(&graph).iter().map(|circle| circle.join(" ")).collect::<Vec<_>>()
    };
    // Two files, by every kind of path.
    for (first, second) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::data::b;", "use crate::{base::X, data::{a::{self, A}}};"),
        ("fn f() { super::b::g() }", "use super::a as other;"),
        ("use super::B;", "use super::super::data::a::A;"),
        ("use super::{B};", "use super::*;"),
    ] {
        let files = [
            ("data/mod.rs", "mod a; mod b; pub use a::A; pub use b::B; pub struct Own;"),
            ("data/a.rs", first),
            ("data/b.rs", second),
        ];
        let expected: &[&str] = if second.ends_with("*;") { &[] } else { &["data/a.rs data/b.rs"] };
        assert_eq!(found(&files), expected, "{first} {second}");
    }
    // At several removes, through a folder.
    let files = [
        ("data/mod.rs", "pub mod a; pub mod c;"),
        ("data/a.rs", "use super::c::Deep;"),
        ("data/c/mod.rs", "mod d; pub use d::Deep;"),
        ("data/c/d.rs", "use super::super::e;"),
        ("data/e.rs", "use crate::data::a::A;"),
    ];
    assert_eq!(found(&files), ["data/a.rs data/c/d.rs data/e.rs"]);
    // Names only, words in comments and in tests are no imports.
    let files = [
        ("data/mod.rs", "mod a; mod b; pub use a::A; pub use b::B; struct Own; fn f() { a::g() }"),
        ("data/a.rs", "use super::{B, Own}; // super::a"),
        (
            "data/b.rs",
            "/* super::a::A */ struct B;\n#[cfg(test)]\nmod tests { use super::super::a; }",
        ),
    ];
    assert_eq!(found(&files), Vec::<String>::new());
    // Rooms that use each other through files that do not.
    let rooms = tree(&[
        ("base/x.rs", "use crate::data::y;"),
        ("data/y.rs", ""),
        ("data/z.rs", "use crate::base::w;"),
        ("base/w.rs", ""),
    ]);
    assert_eq!(circles(&rooms_of(&imports(&rooms))), [["base", "data"]]);
}
