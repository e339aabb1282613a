//! Embeddings: rows of a table, looked up by number.

use wengert_tensor::{Error, Int, Result, Tensor};

use crate::Module;
use crate::init::Init;
use crate::param::Param;
use crate::scope::Scope;

/// A table of vectors, looked up by number: from integers of any shape `[..]` to `[.., features]`.
///
/// The table starts standard normal, as in PyTorch, with zeros at the padding index.
///
/// ```
/// use wengert_nn::Embedding;
/// use wengert_tensor::tensor;
/// let embedding = Embedding::new(10, 4).padding(0);
/// let y = embedding.forward(&tensor![[1, 2, 0], [9, 0, 0]]);
/// assert_eq!(y.shape().to_string(), "[2, 3, 4]");
/// assert_eq!(y.i((0, 2)).to_vec::<f32>(), [0.0; 4]);
/// ```
#[derive(Module)]
pub struct Embedding {
    scope: Scope,
    /// `[number, features]`.
    pub weight: Param,
    #[module(skip)]
    padding: Option<usize>,
}

impl Embedding {
    /// A table of `number` vectors of `features` elements.
    #[track_caller]
    pub fn new(number: usize, features: usize) -> Embedding {
        let weight = Param::from_init(Init::Embedding { padding: None }, [number, features]);
        Embedding { scope: Scope::new("Embedding"), weight, padding: None }
    }

    /// Which number stands for nothing: its vector starts as zeros, and gets no gradient, so it stays. The table is
    /// drawn anew.
    ///
    /// # Panics
    /// If the table has no such row.
    #[track_caller]
    pub fn padding(self, padding: usize) -> Embedding {
        let weight = padded(&self.scope, &self.weight, padding);
        Embedding { weight, padding: Some(padding), ..self }
    }

    /// The vectors of these numbers.
    ///
    /// # Panics
    /// If a number is not below the size of the table.
    #[track_caller]
    pub fn forward(&self, index: &Tensor<Int>) -> Tensor {
        let _scope = self.scope.enter();
        self.scope.output(self.weight.value().embedding(index, self.padding))
    }
}

/// A fresh table with a row of zeros.
#[track_caller]
fn padded(scope: &Scope, weight: &Param, padding: usize) -> Param {
    let rows = weight.shape()[0];
    if padding >= rows {
        scope.refuse(Error::new(format!("the padding index {padding} is out of range for {rows} embeddings")));
    }
    Param::from_init(Init::Embedding { padding: Some(padding) }, weight.shape())
}

/// How an [`EmbeddingBag`] makes one vector of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Sum,
    Mean,
    Max,
}

/// A table of vectors, of which bags of numbers take the mean, sum or maximum, element by element. An empty bag gives
/// zeros.
///
/// ```
/// use wengert_nn::EmbeddingBag;
/// use wengert_tensor::tensor;
/// let bags = EmbeddingBag::new(10, 4).sum();
/// assert_eq!(bags.forward(&tensor![[1, 2, 0], [9, 0, 0]]).shape().to_string(), "[2, 4]");
/// // Two bags, of 1 and 3 numbers.
/// let y = bags.forward_with(&tensor![1, 2, 0, 9], &tensor![0, 1]);
/// assert_eq!(y.shape().to_string(), "[2, 4]");
/// ```
#[derive(Module)]
pub struct EmbeddingBag {
    scope: Scope,
    /// `[number, features]`.
    pub weight: Param,
    #[module(skip)]
    pool: Pool,
    #[module(skip)]
    padding: Option<usize>,
}

impl EmbeddingBag {
    /// A table of `number` vectors of `features` elements, whose bags give the mean.
    #[track_caller]
    pub fn new(number: usize, features: usize) -> EmbeddingBag {
        let weight = Param::from_init(Init::Embedding { padding: None }, [number, features]);
        EmbeddingBag { scope: Scope::new("EmbeddingBag"), weight, pool: Pool::Mean, padding: None }
    }

    /// A bag gives the sum of its vectors.
    pub fn sum(self) -> EmbeddingBag {
        EmbeddingBag { pool: Pool::Sum, ..self }
    }

    /// A bag gives the largest elements among its vectors. Of equal ones the first gets the gradient.
    ///
    /// ```
    /// use wengert_nn::EmbeddingBag;
    /// use wengert_tensor::tensor;
    /// let bags = EmbeddingBag::new(10, 4).max();
    /// assert_eq!(bags.forward(&tensor![[3, 3]]).to_vec::<f32>(), bags.weight.value().i(3).to_vec::<f32>());
    /// ```
    pub fn max(self) -> EmbeddingBag {
        EmbeddingBag { pool: Pool::Max, ..self }
    }

    /// Which number stands for nothing: bags pass over it. The table is drawn anew.
    ///
    /// # Panics
    /// If the table has no such row.
    #[track_caller]
    pub fn padding(self, padding: usize) -> EmbeddingBag {
        let weight = padded(&self.scope, &self.weight, padding);
        EmbeddingBag { weight, padding: Some(padding), ..self }
    }

    /// From `[bags, numbers]` to `[bags, features]`: each row is a bag.
    ///
    /// # Panics
    /// If the rank is not 2, or a number is not below the size of the table.
    #[track_caller]
    pub fn forward(&self, index: &Tensor<Int>) -> Tensor {
        let _scope = self.scope.enter();
        let &[bags, each] = &index.shape()[..] else {
            let e = Error::new(format!("the input has rank {}, not 2", index.rank()))
                .help("give [bags, numbers], or the numbers of all bags and where each starts to forward_with");
            self.scope.refuse(e.operand("input", index.as_any()));
        };
        let numbers = index.to_vec::<i64>();
        self.pooled((0..bags).map(|b| &numbers[b * each..][..each]))
    }

    /// From the numbers of all bags `[n]`, and where in them each bag starts, `[bags]`, to `[bags, features]`.
    ///
    /// # Panics
    /// If the ranks are not 1, the offsets do not start at 0, fall, or exceed `n`, or a number is not below the size of
    /// the table.
    #[track_caller]
    pub fn forward_with(&self, index: &Tensor<Int>, offsets: &Tensor<Int>) -> Tensor {
        let _scope = self.scope.enter();
        let starts = match starts(index, offsets) {
            Ok(starts) => starts,
            Err(e) => self.scope.refuse(e.operand("input", index.as_any()).operand("offsets", offsets.as_any())),
        };
        let numbers = index.to_vec::<i64>();
        self.pooled(starts.windows(2).map(|w| &numbers[w[0] as usize..w[1] as usize]))
    }

    #[track_caller]
    fn pooled<'a>(&self, bags: impl Iterator<Item = &'a [i64]>) -> Tensor {
        let weight = self.weight.value();
        let counts = |&number: &i64| self.padding.is_none_or(|p| number != p as i64);
        let bags: Vec<Vec<i64>> = bags.map(|bag| bag.iter().copied().filter(counts).collect()).collect();
        let (count, features, dtype) = (bags.len(), weight.size(1), weight.dtype());
        let column = |numbers: Vec<f64>| Tensor::from_vec(numbers, [count, 1]).to_dtype(dtype);
        let pooled = if self.pool == Pool::Max {
            // Bags of one length: the first number is repeated, which changes no maximum.
            let longest = bags.iter().map(Vec::len).max().unwrap_or(0);
            let fill = |bag: &Vec<i64>| (0..longest).map(|i| *bag.get(i).or(bag.first()).unwrap_or(&0)).collect();
            let numbers: Vec<i64> = bags.iter().flat_map::<Vec<i64>, _>(fill).collect();
            let filled = column(bags.iter().map(|bag| f64::from(!bag.is_empty())).collect());
            if longest == 0 {
                Tensor::full_dtype([count, features], 0.0, dtype)
            } else {
                let rows = weight.embedding(&Tensor::from_vec(numbers, [count, longest]), None);
                rows.gather(1, &rows.argmax_keepdim(1)).squeeze(1) * filled
            }
        } else {
            let bag_of: Vec<i64> = (0i64..).zip(&bags).flat_map(|(i, bag)| bag.iter().map(move |_| i)).collect();
            let (numbers, n) = (bags.concat(), bag_of.len());
            let rows = weight.embedding(&Tensor::from_vec(numbers, [n]), None);
            let zeros = Tensor::full_dtype([count, features], 0.0, dtype);
            let sums = zeros.index_add(0, &Tensor::<Int>::from_vec(bag_of, [n]), &rows);
            match self.pool {
                Pool::Mean => sums / column(bags.iter().map(|bag| bag.len().max(1) as f64).collect()),
                _ => sums,
            }
        };
        self.scope.output(pooled)
    }
}

/// Where each bag starts, and where the last ends.
fn starts(index: &Tensor<Int>, offsets: &Tensor<Int>) -> Result<Vec<i64>> {
    if index.rank() != 1 || offsets.rank() != 1 {
        let e = format!("numbers and offsets have rank {} and {}, not 1", index.rank(), offsets.rank());
        return Err(Error::new(e).help("give the numbers of all bags in one vector; rows of a matrix go to forward"));
    }
    let mut starts = offsets.to_vec::<i64>();
    starts.push(index.elements() as i64);
    if starts.len() > 1 && starts[0] != 0 {
        return Err(Error::new(format!("the first bag starts at {}, not 0", starts[0])));
    }
    match (0..starts.len() - 1).find(|&i| starts[i] > starts[i + 1]) {
        Some(i) => Err(Error::new(format!("bag {i} starts at {} and ends at {}", starts[i], starts[i + 1]))
            .help("offsets say where each bag starts, and do not fall")),
        None => Ok(starts),
    }
}
