//! Elementwise operations of a tensor and a number.

use crate::ops::unary::unary;

unary! {
    pub(crate) static OPS;

    /// Each element plus a number, the operator `x + number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![1.0] + 2.0).to_vec::<f32>(), [3.0]);
    /// ```
    add_scalar / try_add_scalar(number = [1.5, -2.0]) = ADD_SCALAR {
        eval: |x| x + number,
        gradient: none |g, _| g,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "add", torch: "add",
    }

    /// Each element minus a number, the operator `x - number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![1.0] - 2.0).to_vec::<f32>(), [-1.0]);
    /// ```
    sub_scalar / try_sub_scalar(number = [1.5, -2.0]) = SUB_SCALAR {
        eval: |x| x - number,
        gradient: none |g, _| g,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "subtract", torch: "sub",
    }

    /// A number minus each element, the operator `number - x`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((1.0 - tensor![3.0]).to_vec::<f32>(), [-2.0]);
    /// ```
    rsub_scalar / try_rsub_scalar(number = [1.5, -2.0]) = RSUB_SCALAR {
        eval: |x| number - x,
        gradient: none |g, _| g.neg(),
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "subtract", torch: "rsub",
    }

    /// Each element times a number, the operator `x * number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0] * 2.0).to_vec::<f32>(), [6.0]);
    /// ```
    mul_scalar / try_mul_scalar(number = [1.5, -2.0]) = MUL_SCALAR {
        eval: |x| x * number,
        gradient: none |g, _| g * number,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "multiply", torch: "mul",
    }

    /// Each element over a number, the operator `x / number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0] / 2.0).to_vec::<f32>(), [1.5]);
    /// ```
    div_scalar / try_div_scalar(number = [1.5, -2.0]) = DIV_SCALAR {
        eval: |x| x / number,
        gradient: none |g, _| g / number,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "divide", torch: "div",
    }

    /// A number over each element, the operator `number / x`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((3.0 / tensor![2.0]).to_vec::<f32>(), [1.5]);
    /// ```
    rdiv_scalar / try_rdiv_scalar(number = [1.5, -2.0]) = RDIV_SCALAR {
        eval: |x| number / x,
        gradient: input |g, x| g * (-number / x.square()),
        domain: 0.3 to 3.0, kinks: [], specials: [-1.0],
        numpy: "divide", torch: "div",
    }
}
