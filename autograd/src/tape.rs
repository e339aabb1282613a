//! The tape as something to look at: a table, or a drawing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use wengert_tensor::tape::{Edge, Leaf, LeafId, Node};
use wengert_tensor::{DType, Shape};

use crate::engine::not_connected;

/// What was recorded on the way to a tensor, in the order in which it can be computed: a replay goes through it from
/// the end. From [`Differentiate::tape`](crate::Differentiate::tape).
///
/// Printed, it is a table with one line for each operation: its number, its inputs (other operations by number, leaves
/// by name), shapes, the bytes that it keeps for its gradient rule, and the line that called it. Of a tape with more
/// than 200 operations the middle is left out; `{:#}` prints all of it.
///
/// A tape keeps what it lists alive.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_tensor::tensor;
/// let w = tensor![[0.5], [2.0]].requires_grad();
/// let loss = tensor![[1.0, 2.0]].matmul(&w).tanh().sum();
/// let tape = loss.tape();
/// let names: Vec<_> = tape.iter().map(|record| record.node.op.name()).collect();
/// assert_eq!(names, ["matmul", "tanh", "sum"]);
/// assert!(tape.to_string().contains("[1, 2], [2, 1] -> [1, 1]"));
/// ```
pub struct Tape {
    records: Vec<Record>,
    leaves: Vec<TapeLeaf>,
    result: Edge,
}

/// An operation on a [`Tape`].
///
/// ```
/// use wengert_autograd::{Differentiate, Record, Source};
/// use wengert_tensor::tensor;
/// let w = tensor![0.5].requires_grad();
/// let tape = (w.exp() * tensor![2.0]).tape();
/// let last: &Record = tape.iter().last().unwrap();
/// assert_eq!(last.node.op.name(), "mul");
/// assert!(matches!(last.sources[..], [Source::Record(0), Source::Constant]));
/// ```
pub struct Record {
    /// The operation, with its attributes, shapes and place.
    pub node: Arc<Node>,
    /// Where each input comes from.
    pub sources: SmallVec<[Source; 2]>,
}

/// Where an input of a recorded operation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operation at this place of the tape.
    Record(usize),
    /// The leaf at this place among the tape's leaves.
    Leaf(usize),
    /// A tensor that needs no gradient.
    Constant,
    /// A tensor whose way back was cut: detached, computed under `no_grad`, or by an operation without float result.
    Cut,
}

/// A leaf of a [`Tape`].
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_tensor::{DType, tensor};
/// let tape = tensor![0.5].requires_grad().exp().tape();
/// assert_eq!(tape.leaves()[0].dtype, DType::F32);
/// ```
pub struct TapeLeaf {
    /// The variable.
    pub leaf: Arc<Leaf>,
    /// Its shape.
    pub shape: Shape,
    /// Its precision.
    pub dtype: DType,
}

impl Tape {
    /// The tape of a tensor with this edge, shape and precision.
    pub(crate) fn of(edge: &Edge, shape: &Shape, dtype: DType) -> Tape {
        let mut leaves: BTreeMap<LeafId, TapeLeaf> = BTreeMap::new();
        let mut queue = BinaryHeap::new();
        let mut found: Vec<Arc<Node>> = Vec::new();
        let mut seen: FxHashSet<*const Node> = FxHashSet::default();
        let mut visit =
            |edge: &Edge, shape: &Shape, dtype, found: &mut Vec<Arc<Node>>, queue: &mut BinaryHeap<_>| match edge {
                Edge::Leaf(leaf) => {
                    leaves.entry(leaf.id).or_insert_with(|| TapeLeaf {
                        leaf: leaf.clone(),
                        shape: shape.clone(),
                        dtype,
                    });
                }
                Edge::Node(node, _) if seen.insert(Arc::as_ptr(node)) => {
                    queue.push((node.depth, Reverse(found.len())));
                    found.push(node.clone());
                }
                _ => {}
            };
        // The order of a replay, reversed: deep nodes first, ties in the order of discovery.
        visit(edge, shape, dtype, &mut found, &mut queue);
        let mut order: Vec<Arc<Node>> = Vec::new();
        while let Some((_, Reverse(i))) = queue.pop() {
            let node = found[i].clone();
            for input in &node.inputs {
                visit(&input.edge, &input.shape, input.dtype, &mut found, &mut queue);
            }
            order.push(node);
        }
        order.reverse();
        let leaves: Vec<TapeLeaf> = leaves.into_values().collect();
        let places: FxHashMap<*const Node, usize> =
            order.iter().enumerate().map(|(i, node)| (Arc::as_ptr(node), i)).collect();
        let source = |edge: &Edge| match edge {
            Edge::None => Source::Constant,
            Edge::Cut(_) => Source::Cut,
            Edge::Leaf(leaf) => Source::Leaf(leaves.partition_point(|known| known.leaf.id < leaf.id)),
            Edge::Node(node, _) => Source::Record(places[&Arc::as_ptr(node)]),
        };
        let record = |node: Arc<Node>| {
            let sources = node.inputs.iter().map(|input| source(&input.edge)).collect();
            Record { node, sources }
        };
        let records = order.into_iter().map(record).collect();
        Tape { records, leaves, result: edge.clone() }
    }

    /// The number of recorded operations.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The recorded operations.
    pub fn iter(&self) -> std::slice::Iter<'_, Record> {
        self.records.iter()
    }

    /// The leaves, in the order in which they were made.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let w = tensor![0.5, 1.0].requires_grad();
    /// let tape = w.exp().sum().tape();
    /// assert!(tape.len() == 2 && !tape.is_empty());
    /// assert_eq!(tape.leaves()[0].shape, [2]);
    /// assert!(tape.saved_bytes() >= 8); // what `exp` gave, in whole cache lines
    /// ```
    pub fn leaves(&self) -> &[TapeLeaf] {
        &self.leaves
    }

    /// Bytes kept for the gradient rules, by all operations together. What two of them keep counts twice.
    pub fn saved_bytes(&self) -> usize {
        self.iter().map(|record| record.node.saved_bytes()).sum()
    }

    /// The tape as a graph in the DOT language, for `dot -Tsvg`.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let w = tensor![0.5].requires_grad();
    /// assert!(w.exp().tape().to_dot().starts_with("digraph tape {"));
    /// ```
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph tape {\n  node [shape=box, fontname=\"monospace\"];\n");
        for (i, known) in self.leaves.iter().enumerate() {
            let label = format!("{}\n{} {}", self.leaf_name(i), known.shape, known.dtype);
            let _ = writeln!(dot, "  leaf{i} [label={}, shape=ellipse];", quoted(&label));
        }
        for (i, Record { node, sources }) in self.iter().enumerate() {
            let label = format!("{}\n{}", call(node), node.at);
            let _ = writeln!(dot, "  op{i} [label={}];", quoted(&label));
            for (source, input) in sources.iter().zip(&node.inputs) {
                let from = match source {
                    Source::Leaf(k) => format!("leaf{k}"),
                    Source::Record(k) => format!("op{k}"),
                    Source::Constant | Source::Cut => continue,
                };
                let _ = writeln!(dot, "  {from} -> op{i} [label={}];", quoted(&input.shape.to_string()));
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// What the table calls a leaf: its name, or `leaf` with its number.
    fn leaf_name(&self, i: usize) -> String {
        self.leaves[i].leaf.name().map_or_else(|| format!("leaf {i}"), |name| name.to_string())
    }

    fn row(&self, i: usize) -> [String; 6] {
        let Record { node, sources } = &self.records[i];
        let source = |source: &Source| match source {
            Source::Record(k) => format!("#{k}"),
            Source::Leaf(k) => self.leaf_name(*k),
            Source::Constant => "const".to_string(),
            Source::Cut => "cut".to_string(),
        };
        let list = |parts: Vec<String>| parts.join(", ");
        let inputs = list(node.inputs.iter().map(|input| input.shape.to_string()).collect());
        let outputs = list(node.outputs.iter().map(|(shape, _)| shape.to_string()).collect());
        [
            format!("#{i}"),
            shortened(call(node), 40),
            shortened(list(sources.iter().map(source).collect()), 32),
            shortened(format!("{inputs} -> {outputs}"), 56),
            bytes(node.saved_bytes()),
            node.at.to_string(),
        ]
    }
}

impl<'a> IntoIterator for &'a Tape {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        if self.is_empty() && !self.result.is_tracked() {
            return write!(f, "nothing recorded: {}", not_connected(&self.result).message());
        }
        let (head, tail) = match self.len() > MOST && !f.alternate() {
            true => (0..MOST / 2, self.len() - MOST / 2..self.len()),
            false => (0..self.len(), self.len()..self.len()),
        };
        let title = ["#", "op", "inputs", "shapes", "saved", "at"].map(String::from);
        let rows: Vec<[String; 6]> =
            std::iter::once(title).chain(head.clone().chain(tail.clone()).map(|i| self.row(i))).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for (i, [number, op, inputs, shapes, saved, at]) in rows.iter().enumerate() {
            if i == head.end + 1 && !tail.is_empty() {
                writeln!(f, "... {} more, printed by {{:#}} ...", tail.start - head.end)?;
            }
            let [a, b, c, d, e] = widths;
            writeln!(f, "{number:>a$}  {op:b$}  {inputs:c$}  {shapes:d$}  {saved:>e$}  {at}")?;
        }
        for (i, known) in self.leaves.iter().enumerate() {
            writeln!(f, "{}: {} {} from {}", self.leaf_name(i), known.shape, known.dtype, known.leaf.at)?;
        }
        write!(f, "{} operations, {} saved", self.len(), bytes(self.saved_bytes()))
    }
}

/// The name and attributes of an operation.
fn call(node: &Node) -> String {
    format!("{} {}", node.op.name(), node.attrs).trim_end().to_string()
}

fn shortened(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 3).chain("...".chars()).collect(),
    }
}

fn bytes(n: usize) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let (mut value, mut unit) = (n as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
