//! Part of the build: says interface.cuh in Rust, so that what a launch and a kernel agree on is
//! written once.

use std::fmt::Write as _;

/// The constants, formulas and structs of `interface.cuh` in Rust. Panics, with the line, where it
/// holds what this does not know.
pub fn in_rust(source: &str) -> String {
    let mut rust = String::new();
    let mut docs = String::new();
    let mut lines = source.lines();
    let mut template = "";
    while let Some(line) = lines.next() {
        if line.starts_with("/// ") {
            docs += line;
            docs.push('\n');
            continue;
        }
        if line.is_empty() || line.starts_with("//") || line.starts_with('#') {
            docs.clear();
            continue;
        }
        if line.starts_with("template <") {
            template = line;
            continue;
        }
        // A statement goes on to its semicolon, a body to its brace.
        let mut whole = line.trim_end().to_owned();
        while !complete(&whole) {
            let next = lines.next().unwrap_or_else(|| panic!("interface.cuh: {line}: no end"));
            whole.push(' ');
            whole += next.trim();
        }
        // Of a tile only its values are for Rust, which has the type in lib.rs.
        if !template.starts_with("template <int") {
            rust += &docs;
            rust += &item(&whole);
        }
        template = "";
        docs.clear();
    }
    rust
}

/// Whether a statement, a struct or a function ends here.
fn complete(whole: &str) -> bool {
    whole.ends_with(match () {
        _ if whole.starts_with("struct") => "};",
        _ if whole.contains('{') => "}",
        _ => ";",
    })
}

fn item(whole: &str) -> String {
    let whole = whole.trim_start_matches("static ");
    let unknown = || -> ! { panic!("interface.cuh: {whole}: not among what interface.rs knows") };
    if let Some(rest) = whole.strip_prefix("constexpr uint32_t ") {
        let (name, value) =
            rest.trim_end_matches(';').split_once(" = ").unwrap_or_else(|| unknown());
        return format!("pub const {name}: usize = {};\n", value);
    }
    if let Some(rest) = whole.strip_prefix("constexpr __host__ __device__ uint32_t ") {
        let (head, body) = rest.split_once(") { return ").unwrap_or_else(|| unknown());
        let (name, parameters) = head.split_once('(').unwrap_or_else(|| unknown());
        let parameters = parameters
            .split(", ")
            .map(|p| format!("{}: usize", p.strip_prefix("uint32_t ").unwrap_or_else(|| unknown())))
            .collect::<Vec<_>>()
            .join(", ");
        let value = body.strip_suffix("; }").unwrap_or_else(|| unknown());
        return format!("pub const fn {name}({parameters}) -> usize {{ {} }}\n", expression(value));
    }
    if let Some(rest) = whole.strip_prefix("struct ") {
        let (name, fields) = rest.split_once(" { ").unwrap_or_else(|| unknown());
        let fields = fields.strip_suffix("};").unwrap_or_else(|| unknown());
        let derive = "#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]";
        let mut rust = format!("#[repr(C)]\n{derive}\npub struct {name} {{\n");
        let (whole_struct, mut sizes) = (name, String::new());
        for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let field = field.trim_start_matches("const ");
            let (base, names) = field.split_once(' ').unwrap_or_else(|| unknown());
            for declared in names.split(", ") {
                let (name, pointer) = match declared.strip_prefix('*') {
                    Some(name) => (name, true),
                    None => (declared, false),
                };
                let (name, many) = match name.split_once('[') {
                    Some((name, many)) => (name, Some(many.trim_end_matches(']'))),
                    None => (name, None),
                };
                let one = match base {
                    _ if pointer => "Address",
                    "uint32_t" => "u32",
                    "uint64_t" => "u64",
                    "float" => "f32",
                    other => other,
                };
                match many {
                    Some(many) => writeln!(rust, "    pub {name}: [{one}; {many}],"),
                    None => writeln!(rust, "    pub {name}: {one},"),
                }
                .expect("a string takes it");
                if many.is_none() && matches!(one, "u32" | "u64") && name != "unused" {
                    write!(
                        sizes,
                        "({name:?}, std::mem::offset_of!({whole_struct}, {name}), \
                        size_of::<{one}>()), "
                    )
                    .expect("a string takes it");
                }
            }
        }
        write!(
            rust,
            "}}\nimpl Parameters for {name} {{\n    const NAME: &'static str = {name:?};\n    \
            const SIZES: &'static [(&'static str, usize, usize)] = &[{sizes}];\n}}\n"
        )
        .expect("a string takes it");
        return rust;
    }
    if let Some(rest) = whole.strip_prefix("static_assert(sizeof(") {
        let (of, bytes) = rest.split_once(") == ").unwrap_or_else(|| unknown());
        let name = of.split('<').next().unwrap_or_else(|| unknown());
        let bytes = bytes.strip_suffix(", \"\");").unwrap_or_else(|| unknown());
        return format!("const _: () = assert!(size_of::<{name}>() == {bytes});\n\n");
    }
    if let Some((name, numbers)) =
        whole.strip_prefix("using ").and_then(|rest| rest.split_once(" = Tile<"))
    {
        let numbers = numbers.strip_suffix(">;").unwrap_or_else(|| unknown());
        return format!("pub const {}: Tile = Tile::new([{numbers}]);\n", name.to_uppercase());
    }
    unknown()
}

/// An expression of C++ in Rust: the same but for a condition.
fn expression(value: &str) -> String {
    match value.split_once(" ? ") {
        Some((condition, rest)) => {
            let (yes, no) = rest
                .split_once(" : ")
                .unwrap_or_else(|| panic!("interface.cuh: {value}: expected one condition"));
            format!("if {condition} {{ {yes} }} else {{ {no} }}")
        }
        None => value.to_owned(),
    }
}
