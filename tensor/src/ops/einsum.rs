//! Contractions named by letters: `einsum`, and `tensordot`, which names axes.
//!
//! Both are compositions of `permute`, `reshape`, `matmul`, `mul` and `sum`: quick because the products are matrix
//! products, and differentiable to any order because those are.

use std::collections::BTreeMap;
use std::panic::Location;

use crate::dispatch::in_op;
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kind::Numeric;
use crate::shape::IntoDims;
use crate::tensor::{AnyTensor, Tensor};

/// What the axes of operands are called: axes of one name are one axis of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// An axis without a letter. Those that an ellipsis stands for are counted from the last.
    Number(usize),
    Letter(char),
}

/// The axes that an equation names for one operand: `ab...c`.
struct Term {
    before: Vec<char>,
    ellipsis: bool,
    after: Vec<char>,
}

impl Term {
    fn parse(text: &str) -> Result<Term> {
        let mut term = Term { before: Vec::new(), ellipsis: false, after: Vec::new() };
        let mut rest = text.trim_start();
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("...") {
                if term.ellipsis {
                    return Err(wrong(format!("`{text}` has more than one ellipsis")));
                }
                term.ellipsis = true;
                rest = after;
            } else if c.is_ascii_alphabetic() {
                if term.ellipsis { &mut term.after } else { &mut term.before }.push(c);
                rest = &rest[1..];
            } else {
                let e = format!("`{c}` in `{text}` names no axis");
                return Err(wrong(e).help("axes are named by the letters a to z and A to Z, or `...` for any number"));
            }
            rest = rest.trim_start();
        }
        Ok(term)
    }

    fn letters(&self) -> impl Iterator<Item = char> + '_ {
        self.before.iter().chain(&self.after).copied()
    }

    /// The labels of a tensor's axes, where the ellipsis stands for `axes` of them.
    fn labels(&self, axes: usize) -> Vec<Label> {
        let before = self.before.iter().map(|&c| Label::Letter(c));
        let after = self.after.iter().map(|&c| Label::Letter(c));
        before.chain((0..axes).rev().map(Label::Number)).chain(after).collect()
    }
}

fn wrong(message: String) -> Error {
    Error::new(message).kind_of(ErrorKind::Value)
}

/// The names of each operand's axes and of the result's, and the size of each.
struct Plan {
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
    sizes: BTreeMap<Label, usize>,
}

impl Plan {
    fn new<K: Numeric>(equation: &str, operands: &[&Tensor<K>]) -> Result<Plan> {
        let (inputs, output) = match equation.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (equation, None),
        };
        let terms: Vec<Term> = inputs.split(',').map(Term::parse).collect::<Result<_>>()?;
        if terms.len() != operands.len() {
            let e =
                format!("the equation `{equation}` is of {} operands, and {} are given", terms.len(), operands.len());
            return Err(wrong(e).help("commas separate the operands, `->` the result: \"ij,jk->ik\""));
        }
        if let Some(other) = operands.iter().find(|x| x.dtype() != operands[0].dtype()) {
            let dtype = operands[0].dtype();
            return Err(Error::new(format!("precisions differ: {dtype} and {}", other.dtype()))
                .kind_of(ErrorKind::DType)
                .help(format!("nothing is promoted silently: cast one of them with to_dtype(DType::{dtype})")));
        }
        let mut labels = Vec::new();
        let mut widest = 0;
        for (i, (term, x)) in terms.iter().zip(operands).enumerate() {
            let (named, rank) = (term.letters().count(), x.rank());
            if named > rank || named < rank && !term.ellipsis {
                let more = if term.ellipsis { "at least " } else { "" };
                let e = format!("operand {i} has rank {rank}, and the equation names {more}{named} axes for it");
                return Err(Error::new(e).help("name each axis by a letter, or those left over by `...`"));
            }
            widest = widest.max(rank - named);
            labels.push(term.labels(rank - named));
        }
        // Where each size was found first, to name it beside one that disagrees.
        let mut found: BTreeMap<Label, (usize, usize, usize)> = BTreeMap::new();
        for (i, (labels, x)) in labels.iter().zip(operands).enumerate() {
            for (axis, (&label, &size)) in labels.iter().zip(x.shape().iter()).enumerate() {
                let (first, operand, at) = *found.entry(label).or_insert((size, i, axis));
                match label {
                    _ if first == size => {}
                    Label::Number(_) if size == 1 => {}
                    Label::Number(_) if first == 1 => {
                        found.insert(label, (size, i, axis));
                    }
                    _ => {
                        let name = match label {
                            Label::Letter(c) => format!("letter `{c}`"),
                            Label::Number(back) => format!("axis -{} of the ellipsis", back + 1),
                        };
                        let there = format!("{first} (axis {at} of operand {operand})");
                        return Err(Error::new(format!("{name} is {there} and {size} (axis {axis} of operand {i})"))
                            .help("one letter is one axis of the product: it has one size"));
                    }
                }
            }
        }
        let output = match output {
            Some(text) => {
                let term = Term::parse(text)?;
                for (i, c) in term.letters().enumerate() {
                    if !found.contains_key(&Label::Letter(c)) {
                        return Err(wrong(format!("letter `{c}` of the result is in no operand")));
                    }
                    if term.letters().take(i).any(|other| other == c) {
                        return Err(wrong(format!("letter `{c}` is twice in the result")).help(
                            "one axis cannot be two of the result; multiply by an identity matrix to spread it",
                        ));
                    }
                }
                term.labels(if term.ellipsis { widest } else { 0 })
            }
            // As Einstein has it: what is named once stays, in alphabetical order.
            None => {
                let once = |label: &Label| labels.iter().flatten().filter(|l| *l == label).count() == 1;
                let letters = found.keys().copied().filter(|l| matches!(l, Label::Letter(_)) && once(l));
                (0..widest).rev().map(Label::Number).chain(letters).collect()
            }
        };
        let sizes = found.into_iter().map(|(label, (size, ..))| (label, size)).collect();
        Ok(Plan { operands: labels, output, sizes })
    }
}

/// A tensor whose axes have names, no two the same.
struct Named<K: Numeric> {
    labels: Vec<Label>,
    tensor: Tensor<K>,
}

impl<K: Numeric> Named<K> {
    /// The diagonal along axes of one name, and without the axes that are repeated along an ellipsis.
    #[track_caller]
    fn new(mut labels: Vec<Label>, x: &Tensor<K>, sizes: &BTreeMap<Label, usize>) -> Result<Named<K>> {
        let mut tensor = x.clone();
        let repeated: Vec<usize> = (0..labels.len()).filter(|&a| tensor.shape()[a] != sizes[&labels[a]]).collect();
        if !repeated.is_empty() {
            tensor = tensor.try_squeeze(&repeated[..])?;
            let mut axis = 0..;
            labels.retain(|_| !axis.next().is_some_and(|a| repeated.contains(&a)));
        }
        while let Some((a, b)) = pairs(labels.len()).find(|&(a, b)| labels[a] == labels[b]) {
            // It comes last.
            tensor = tensor.try_diagonal(0, a as isize, b as isize)?;
            labels.remove(b);
            let diagonal = labels.remove(a);
            labels.push(diagonal);
        }
        Ok(Named { labels, tensor })
    }

    /// Summed over the axes that need not stay.
    #[track_caller]
    fn reduced(self, stays: impl Fn(Label) -> bool) -> Result<Named<K>> {
        let axes: Vec<usize> = (0..self.labels.len()).filter(|&a| !stays(self.labels[a])).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let tensor = self.tensor.try_sum_axis(&axes[..])?;
        Ok(Named { labels: self.labels.into_iter().filter(|&l| stays(l)).collect(), tensor })
    }

    /// With the axes in the order of `labels`, and then in the shape `sizes`.
    #[track_caller]
    fn arranged(&self, labels: &[Label], sizes: &[usize]) -> Result<Tensor<K>> {
        let mut tensor = self.tensor.clone();
        if labels != self.labels {
            let place = |label: &Label| self.labels.iter().position(|l| l == label).expect("one of its axes");
            let order: Vec<usize> = labels.iter().map(place).collect();
            tensor = tensor.try_permute(&order[..])?;
        }
        if *sizes != tensor.shape()[..] {
            tensor = tensor.try_reshape(sizes)?;
        }
        Ok(tensor)
    }

    fn sizes(&self, labels: &[Label]) -> Vec<usize> {
        let size = |label: &Label| self.labels.iter().position(|l| l == label).map(|a| self.tensor.shape()[a]);
        labels.iter().map(|label| size(label).expect("one of its axes")).collect()
    }

    /// The product, summed over the axes of both that need not stay.
    #[track_caller]
    fn times(self, other: Named<K>, stays: impl Fn(Label) -> bool) -> Result<Named<K>> {
        let (left, right) = (self.labels.clone(), other.labels.clone());
        let lhs = self.reduced(|l| stays(l) || right.contains(&l))?;
        let rhs = other.reduced(|l| stays(l) || left.contains(&l))?;
        let among = |labels: &[Label], f: &dyn Fn(Label) -> bool| -> Vec<Label> {
            labels.iter().copied().filter(|&l| f(l)).collect()
        };
        let batch = among(&lhs.labels, &|l| right.contains(&l) && stays(l));
        let inner = among(&lhs.labels, &|l| right.contains(&l) && !stays(l));
        let rows = among(&lhs.labels, &|l| !right.contains(&l));
        let columns = among(&rhs.labels, &|l| !left.contains(&l));
        let (b, r, c) = (lhs.sizes(&batch), lhs.sizes(&rows), rhs.sizes(&columns));
        let labels = [&batch[..], &rows, &columns].concat();
        let tensor = if inner.is_empty() {
            let l = lhs.arranged(&[&batch[..], &rows].concat(), &[&b[..], &r, &vec![1; c.len()]].concat())?;
            let r = rhs.arranged(&[&batch[..], &columns].concat(), &[&b[..], &vec![1; r.len()], &c].concat())?;
            l.try_mul(&r)?
        } else {
            let all = |sizes: &[usize]| sizes.iter().product::<usize>();
            let k = all(&lhs.sizes(&inner));
            let l = lhs.arranged(&[&batch[..], &rows, &inner].concat(), &[&b[..], &[all(&r), k]].concat())?;
            let m = rhs.arranged(&[&batch[..], &inner, &columns].concat(), &[&b[..], &[k, all(&c)]].concat())?;
            l.try_matmul(&m)?.try_reshape(&[b, r, c].concat()[..])?
        };
        Ok(Named { labels, tensor })
    }
}

/// All pairs `a < b` of numbers below `n`.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |b| (0..b).map(move |a| (a, b)))
}

#[track_caller]
fn contract<K: Numeric>(plan: Plan, operands: &[&Tensor<K>]) -> Result<Tensor<K>> {
    let Plan { operands: labels, output, sizes } = plan;
    let named = labels.into_iter().zip(operands).map(|(labels, x)| Named::new(labels, x, &sizes));
    let mut parts: Vec<Named<K>> = named.collect::<Result<_>>()?;
    while parts.len() > 1 {
        // The pair of which the product takes the fewest multiplications comes next.
        let cost = |&(a, b): &(usize, usize)| -> f64 {
            let other = parts[b].labels.iter().filter(|l| !parts[a].labels.contains(l));
            parts[a].labels.iter().chain(other).map(|l| sizes[l] as f64).product()
        };
        let cheapest = pairs(parts.len()).min_by(|x, y| cost(x).total_cmp(&cost(y)));
        let (a, b) = cheapest.expect("two parts are a pair");
        let (rhs, lhs) = (parts.remove(b), parts.remove(a));
        let product = lhs.times(rhs, |l| output.contains(&l) || parts.iter().any(|p| p.labels.contains(&l)))?;
        parts.insert(a, product);
    }
    let result = parts.swap_remove(0).reduced(|l| output.contains(&l))?;
    let shape = result.sizes(&output);
    result.arranged(&output, &shape)
}

/// The operands as an error shows them.
fn shown<'a, K: Numeric>(names: &'a [String], operands: &'a [&Tensor<K>]) -> Vec<(&'a str, &'a AnyTensor)> {
    names.iter().map(String::as_str).zip(operands.iter().map(|x| x.as_any())).collect()
}

impl<K: Numeric> Tensor<K> {
    /// The product of the operands, summed over the axes that the result does not name (Einstein's convention).
    ///
    /// Each operand's axes are named by letters; axes with one letter are one axis of the product. After `->` come the
    /// axes of the result; without it, those whose letter occurs once, in alphabetical order. A letter that one operand
    /// has twice takes its diagonal. `...` stands for any number of axes, which broadcast; where the result has no
    /// `...`, they are summed over. Of several operands, the two with the cheapest product are multiplied first.
    ///
    /// # Panics
    /// If the equation does not fit the operands, or a letter has two sizes.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// let (x, y) = (tensor![[1.0, 2.0], [3.0, 4.0]], tensor![[5.0, 6.0], [7.0, 8.0]]);
    /// assert_eq!(Tensor::einsum("ij,jk->ik", &[&x, &y]).to_vec::<f32>(), x.matmul(&y).to_vec::<f32>());
    /// assert_eq!(Tensor::einsum("ii", &[&x]).item(), 5.0); // the trace
    /// assert_eq!(Tensor::einsum("ji", &[&x]).to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]); // alphabetical: transposed
    /// let heads = Tensor::einsum("...qd,...kd->...qk", &[&Tensor::ones([2, 8, 5, 4]), &Tensor::ones([8, 6, 4])]);
    /// assert_eq!(heads.shape().to_string(), "[2, 8, 5, 6]");
    /// ```
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Tensor<K>]) -> Tensor<K> {
        or_panic(Tensor::try_einsum(equation, operands))
    }

    /// Fallible form of [`einsum`](Self::einsum).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_einsum(equation: &str, operands: &[&Tensor<K>]) -> Result<Tensor<K>> {
        let at = Location::caller();
        let names: Vec<String> = (0..operands.len()).map(|i| format!("operand {i}")).collect();
        let plan = in_op("einsum", &shown(&names, operands), at, Plan::new(equation, operands))?;
        contract(plan, operands).map(|t| t.called("einsum", at))
    }

    /// The product of two tensors, summed over pairs of axes: axis `axes[i]` of this tensor with axis `rhs_axes[i]` of
    /// `rhs`. The result has the other axes of this tensor, then those of `rhs`.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice, or the sizes of a pair differ.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let (x, y) = (Tensor::ones([2, 3, 4]), Tensor::ones([4, 5, 3]));
    /// let z = x.tensordot(&y, [1, 2], [2, 0]);
    /// assert_eq!((z.shape().to_string(), z.max().item()), ("[2, 5]".to_string(), 12.0));
    /// ```
    #[track_caller]
    pub fn tensordot(&self, rhs: &Tensor<K>, axes: impl IntoDims, rhs_axes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_tensordot(rhs, axes, rhs_axes))
    }

    /// Fallible form of [`tensordot`](Self::tensordot).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_tensordot(&self, rhs: &Tensor<K>, axes: impl IntoDims, rhs_axes: impl IntoDims) -> Result<Tensor<K>> {
        let at = Location::caller();
        let plan = || -> Result<Plan> {
            let left = self.shape().axes(&axes.into_dims(self.rank()))?;
            let right = rhs.shape().axes(&rhs_axes.into_dims(rhs.rank()))?;
            if left.len() != right.len() {
                return Err(Error::new(format!("{} axes of lhs and {} of rhs", left.len(), right.len()))
                    .help("axes are summed over in pairs: name as many of both"));
            }
            if self.dtype() != rhs.dtype() {
                return Err(Error::new(format!("precisions differ: {} and {}", self.dtype(), rhs.dtype()))
                    .kind_of(ErrorKind::DType)
                    .help(format!(
                        "nothing is promoted silently: cast one of them with to_dtype(DType::{})",
                        self.dtype()
                    )));
            }
            let mut sizes = BTreeMap::new();
            let lhs_labels: Vec<Label> = (0..self.rank()).map(Label::Number).collect();
            let mut rhs_labels: Vec<Label> = (0..rhs.rank()).map(|a| Label::Number(self.rank() + a)).collect();
            for (&a, &b) in left.iter().zip(&right) {
                let (m, n) = (self.shape()[a], rhs.shape()[b]);
                if m != n {
                    return Err(Error::new(format!("sizes differ: {m} (axis {a} of lhs) and {n} (axis {b} of rhs)")));
                }
                rhs_labels[b] = lhs_labels[a];
            }
            for (labels, x) in [(&lhs_labels, self), (&rhs_labels, rhs)] {
                sizes.extend(labels.iter().copied().zip(x.shape().iter().copied()));
            }
            let outer = |l: &&Label| lhs_labels.contains(l) != rhs_labels.contains(l);
            let output = lhs_labels.iter().chain(&rhs_labels).filter(outer).copied().collect();
            Ok(Plan { operands: vec![lhs_labels, rhs_labels], output, sizes })
        };
        let operands = [("lhs", self.as_any()), ("rhs", rhs.as_any())];
        let plan = in_op("tensordot", &operands, at, plan())?;
        contract(plan, &[self, rhs]).map(|t| t.called("tensordot", at))
    }
}
