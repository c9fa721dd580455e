//! The operations on tensors of burn's CPU backend, each with its own gradient.

use super::kernels;
use burn::{
    backend::flex::{FlexTensor, Layout},
    tensor::{Bytes, DType, Shape},
};
use rayon::prelude::*;
use std::{cell::RefCell, fmt::Debug, mem::MaybeUninit};

/// An operation with kernels of its own for both directions. Which work goes to which task depends on
/// shapes alone and partial sums are added in index order, so results do not depend on scheduling.
pub(super) trait Op<const N: usize>: Clone + Debug + Send + 'static {
    /// The result for the given inputs.
    fn forward(&self, inputs: [&FlexTensor; N]) -> FlexTensor;

    /// Gradients of those inputs that are `wanted`, from the gradient of the result.
    fn backward(
        &self,
        inputs: [FlexTensor; N],
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Elements per task of an elementwise loop.
const ELEMENTS: usize = 1 << 14;

/// Rows per task of an operation over `rows` rows: a multiple of eight tasks, so that two, four or eight
/// threads end together, of at most 256 rows, and of at least 32, since every task of a matrix product
/// packs the other factor anew.
fn rows_per_task(rows: usize) -> usize {
    let tasks = 8 * rows.div_ceil(8 * 256).max(1);
    rows.div_ceil(tasks).max(32)
}

/// A tensor whose values lie in order from the start of its storage.
fn dense(tensor: &FlexTensor) -> FlexTensor {
    // Free when it already is.
    tensor.to_contiguous()
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage::<f32>()
}

fn shape(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(Shape::from(shape.to_vec())),
        DType::F32,
    )
}

/// Length of the last dimension and number of rows before it.
fn rows(tensor: &FlexTensor) -> (usize, usize) {
    let shape = shape(tensor);
    let width = shape.last().copied().unwrap_or(1);
    (shape.iter().product::<usize>() / width.max(1), width)
}

/// A vector of `len` values made by `write`, without clearing the memory first.
///
/// # Safety
/// `write` must initialise every element.
unsafe fn filled(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller promises that all of it is written.
    unsafe { values.set_len(len) };
    values
}

/// Initialised memory as memory that may be overwritten.
fn overwrite(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: same layout; the operations of this module write numbers only, never take them away.
    unsafe { std::mem::transmute(values) }
}

/// A matrix in a slice: element (r, c) is `data[r · row + c · column]`.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    fn new(data: &'a [f32], row: usize) -> Self {
        Self {
            data,
            row,
            column: 1,
        }
    }

    /// The transposed matrix; its data starts where this one's does.
    fn transposed(data: &'a [f32], row: usize) -> Self {
        Self {
            data,
            row: 1,
            column: row,
        }
    }

    fn reaches(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// out[m, n] = a[m, k] · b[k, n]; the rows of `out` are `stride` apart. Writes all m · n elements.
fn matmul(extents: [usize; 3], out: &mut [MaybeUninit<f32>], stride: usize, a: Matrix, b: Matrix) {
    product(extents, out, stride, false, a, b);
}

/// out[m, n] += a[m, k] · b[k, n].
fn matmul_add(extents: [usize; 3], out: &mut [f32], stride: usize, a: Matrix, b: Matrix) {
    product(extents, overwrite(out), stride, true, a, b);
}

/// The product behind both; `add` reads `out`, which must then be initialised.
fn product(
    [m, n, k]: [usize; 3],
    out: &mut [MaybeUninit<f32>],
    stride: usize,
    add: bool,
    a: Matrix,
    b: Matrix,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        (m - 1) * stride + n <= out.len() && a.reaches(m, k) && b.reaches(k, n),
        "matrix product out of bounds"
    );
    // SAFETY: all three matrices lie within their slices (checked above), `out` is borrowed mutably and
    // so overlaps neither factor. One thread: the caller splits the work.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr().cast::<f32>(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The sum of vectors of `len` values that `make` computes for consecutive slabs of the `rows` rows (first
/// row, row after the last). The slabs depend on `rows` alone and are added in their order.
fn sum_of_slabs(
    rows: usize,
    len: usize,
    make: impl Fn(usize, usize) -> Vec<f32> + Sync,
) -> Vec<f32> {
    let slab = rows.div_ceil(8).clamp(256, 4096);
    let parts: Vec<Vec<f32>> = (0..rows.div_ceil(slab).max(1))
        .into_par_iter()
        .map(|index| make(index * slab, ((index + 1) * slab).min(rows)))
        .collect();
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0f32; len]);
    let rest: Vec<Vec<f32>> = parts.collect();
    total
        .par_chunks_mut(ELEMENTS)
        .enumerate()
        .for_each(|(chunk, total)| {
            for part in &rest {
                kernels::add_rows(&part[chunk * ELEMENTS..][..total.len()], total);
            }
        });
    total
}

/// x · weight + bias, plus a third summand of the result's shape when `N` is 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear;

impl Linear {
    fn run(
        x: &FlexTensor,
        weight: &FlexTensor,
        bias: &FlexTensor,
        residual: Option<&FlexTensor>,
    ) -> FlexTensor {
        let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
        let residual = residual.map(dense);
        let (count, k) = rows(&x);
        let n = shape(&weight)[1];
        let (xs, ws, bs) = (values(&x), values(&weight), values(&bias));
        let step = rows_per_task(count);
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(step * n)
                .enumerate()
                .for_each(|(task, out)| {
                    let start = task * step;
                    match &residual {
                        Some(residual) => {
                            let residual = &values(residual)[start * n..][..out.len()];
                            for (out, residual) in
                                out.chunks_exact_mut(n).zip(residual.chunks_exact(n))
                            {
                                for ((out, residual), bias) in out.iter_mut().zip(residual).zip(bs)
                                {
                                    out.write(residual + bias);
                                }
                            }
                        }
                        None => out.chunks_exact_mut(n).for_each(|out| {
                            out.write_copy_of_slice(bs);
                        }),
                    }
                    // SAFETY: both ways wrote every row.
                    let out = unsafe { out.assume_init_mut() };
                    matmul_add(
                        [out.len() / n, n, k],
                        out,
                        n,
                        Matrix::new(&xs[start * k..], k),
                        Matrix::new(ws, n),
                    );
                });
        };
        // SAFETY: the tasks write all rows.
        let out = unsafe { filled(count * n, write) };
        let mut shape = shape(&x);
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        tensor(out, &shape)
    }

    fn gradients(
        x: &FlexTensor,
        weight: &FlexTensor,
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let (x, weight, gradient) = (dense(x), dense(weight), dense(gradient));
        let (count, k) = rows(&x);
        let n = shape(&weight)[1];
        let (xs, ws, gs) = (values(&x), values(&weight), values(&gradient));
        let dx = wanted[0].then(|| {
            let step = rows_per_task(count);
            let write = |dx: &mut [MaybeUninit<f32>]| {
                dx.par_chunks_mut(step * k)
                    .enumerate()
                    .for_each(|(task, dx)| {
                        let g = Matrix::new(&gs[task * step * n..], n);
                        matmul([dx.len() / k, k, n], dx, k, g, Matrix::transposed(ws, n));
                    });
            };
            // SAFETY: the products cover all rows.
            tensor(unsafe { filled(count * k, write) }, &shape(&x))
        });
        let dw = wanted[1].then(|| {
            let dw = sum_of_slabs(count, k * n, |start, end| {
                let (x, g) = (
                    Matrix::transposed(&xs[start * k..], k),
                    Matrix::new(&gs[start * n..], n),
                );
                // SAFETY: the product covers the matrix.
                unsafe { filled(k * n, |dw| matmul([k, n, end - start], dw, n, x, g)) }
            });
            tensor(dw, &[k, n])
        });
        let db = wanted[2].then(|| {
            let db = sum_of_slabs(count, n, |start, end| {
                let mut db = vec![0f32; n];
                kernels::add_rows(&gs[start * n..end * n], &mut db);
                db
            });
            tensor(db, &[n])
        });
        [dx, dw, db]
    }
}

impl Op<3> for Linear {
    fn forward(&self, [x, weight, bias]: [&FlexTensor; 3]) -> FlexTensor {
        Self::run(x, weight, bias, None)
    }

    fn backward(
        &self,
        [x, weight, _]: [FlexTensor; 3],
        gradient: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        Self::gradients(&x, &weight, &gradient, wanted)
    }
}

impl Op<4> for Linear {
    fn forward(&self, [x, weight, bias, residual]: [&FlexTensor; 4]) -> FlexTensor {
        Self::run(x, weight, bias, Some(residual))
    }

    fn backward(
        &self,
        [x, weight, _, _]: [FlexTensor; 4],
        gradient: FlexTensor,
        [wx, ww, wb, wr]: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let [dx, dw, db] = Self::gradients(&x, &weight, &gradient, [wx, ww, wb]);
        [dx, dw, db, wr.then_some(gradient)]
    }
}

/// A buffer with the values of `tensor`, its own if nothing else holds it.
fn reuse(tensor: FlexTensor) -> FlexTensor {
    let out = dense(&tensor);
    drop(tensor);
    out
}

/// Exact GELU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gelu;

impl Op<1> for Gelu {
    fn forward(&self, [x]: [&FlexTensor; 1]) -> FlexTensor {
        let x = dense(x);
        let xs = values(&x);
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(ELEMENTS)
                .zip(xs.par_chunks(ELEMENTS))
                .for_each(|(out, x)| kernels::gelu(x, out));
        };
        // SAFETY: the kernel writes one value per value of `x`.
        tensor(unsafe { filled(xs.len(), write) }, &shape(&x))
    }

    fn backward(
        &self,
        [x]: [FlexTensor; 1],
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let (x, mut g) = (dense(&x), reuse(gradient));
        let chunks = g.storage_mut::<f32>().par_chunks_mut(ELEMENTS);
        chunks
            .zip(values(&x).par_chunks(ELEMENTS))
            .for_each(|(g, x)| kernels::gelu_backward(x, g));
        [Some(g)]
    }
}

/// Layer normalisation over the last dimension with scale and shift.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm;

impl Op<3> for LayerNorm {
    fn forward(&self, [x, gamma, beta]: [&FlexTensor; 3]) -> FlexTensor {
        let (x, gamma, beta) = (dense(x), dense(gamma), dense(beta));
        let (count, n) = rows(&x);
        let xs = values(&x);
        let step = rows_per_task(count) * n;
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(step)
                .zip(xs.par_chunks(step))
                .for_each(|(out, x)| kernels::layer_norm(x, values(&gamma), values(&beta), out));
        };
        // SAFETY: the kernel writes all rows.
        tensor(unsafe { filled(xs.len(), write) }, &shape(&x))
    }

    fn backward(
        &self,
        [x, gamma, _]: [FlexTensor; 3],
        gradient: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let (x, gamma, mut g) = (dense(&x), dense(&gamma), reuse(gradient));
        let (count, n) = rows(&x);
        let step = rows_per_task(count) * n;
        let (xs, gammas) = (values(&x), values(&gamma));
        let chunks = g.storage_mut::<f32>().par_chunks_mut(step);
        let parts: Vec<(Vec<f32>, Vec<f32>)> = chunks
            .zip(xs.par_chunks(step))
            .map(|(g, x)| {
                let (mut d_gamma, mut d_beta) = (vec![0f32; n], vec![0f32; n]);
                kernels::layer_norm_backward(x, gammas, g, &mut d_gamma, &mut d_beta);
                (d_gamma, d_beta)
            })
            .collect();
        let (mut d_gamma, mut d_beta) = (vec![0f32; n], vec![0f32; n]);
        for (part_gamma, part_beta) in &parts {
            kernels::add_rows(part_gamma, &mut d_gamma);
            kernels::add_rows(part_beta, &mut d_beta);
        }
        [
            Some(g),
            Some(tensor(d_gamma, &[n])),
            Some(tensor(d_beta, &[n])),
        ]
    }
}

thread_local! {
    /// Score matrices of one head; kept per thread because a fresh page costs more than the softmax on it.
    static SCORES: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two uninteresting buffers of `len` values.
fn with_scores<R>(len: usize, work: impl FnOnce(&mut [f32], &mut [f32]) -> R) -> R {
    SCORES.with_borrow_mut(|[a, b]| {
        a.resize(len.max(a.len()), 0.0);
        b.resize(len.max(b.len()), 0.0);
        work(&mut a[..len], &mut b[..len])
    })
}

/// Multi-head attention over the packed `[batch, tokens, 3 · width]` output of one linear map (queries,
/// keys, values; heads side by side within each). The second input is `[batch, tokens]`, 1 for real keys
/// and 0 for padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub heads: usize,
    /// Tokens below this see each other both ways; the others see themselves and what stands before.
    pub prefix: usize,
    /// Only tokens from this on are computed: the result is `[batch, tokens - first, width]`.
    pub first: usize,
}

impl Attention {
    /// (batch, tokens, width, width of a head, scale of the scores)
    fn extents(&self, qkv: &FlexTensor) -> (usize, usize, usize, usize, f32) {
        let shape = shape(qkv);
        let (batch, tokens, width) = (shape[0], shape[1], shape[2] / 3);
        let head = width / self.heads;
        (batch, tokens, width, head, 1.0 / (head as f32).sqrt())
    }

    /// Post-softmax weights of the given query tokens, `[batch, heads, queries, tokens]`.
    pub(super) fn rows(
        &self,
        qkv: &FlexTensor,
        keep: &FlexTensor,
        queries: &[usize],
    ) -> FlexTensor {
        let (qkv, keep) = (dense(qkv), dense(keep));
        let (batch, tokens, width, head, scale) = self.extents(&qkv);
        let (xs, keeps) = (values(&qkv), values(&keep));
        let mut out = vec![0f32; batch * self.heads * queries.len() * tokens];
        let per_sample = self.heads * queries.len() * tokens;
        out.par_chunks_mut(per_sample.max(1))
            .enumerate()
            .for_each(|(b, out)| {
                let x = &xs[b * tokens * 3 * width..][..tokens * 3 * width];
                let keep = &keeps[b * tokens..][..tokens];
                for (index, row) in out.chunks_exact_mut(tokens).enumerate() {
                    let (h, query) = (index / queries.len(), queries[index % queries.len()]);
                    let q = Matrix::new(&x[query * 3 * width + h * head..], 3 * width);
                    let keys = Matrix::transposed(&x[width + h * head..], 3 * width);
                    matmul([1, tokens, head], overwrite(row), tokens, q, keys);
                    kernels::softmax(row, keep, query, self.prefix, scale);
                }
            });
        tensor(out, &[batch, self.heads, queries.len(), tokens])
    }
}

impl Op<2> for Attention {
    fn forward(&self, [qkv, keep]: [&FlexTensor; 2]) -> FlexTensor {
        let (qkv, keep) = (dense(qkv), dense(keep));
        let (batch, tokens, width, head, scale) = self.extents(&qkv);
        let (stride, queries) = (3 * width, tokens - self.first);
        let (xs, keeps) = (values(&qkv), values(&keep));
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(queries * width)
                .enumerate()
                .for_each(|(b, out)| {
                    let x = &xs[b * tokens * stride..][..tokens * stride];
                    let keep = &keeps[b * tokens..][..tokens];
                    for h in 0..self.heads {
                        let q = &x[self.first * stride + h * head..];
                        let (k, v) = (&x[width + h * head..], &x[2 * width + h * head..]);
                        with_scores(queries * tokens, |p, _| {
                            let keys = Matrix::transposed(k, stride);
                            matmul(
                                [queries, tokens, head],
                                overwrite(p),
                                tokens,
                                Matrix::new(q, stride),
                                keys,
                            );
                            kernels::softmax(p, keep, self.first, self.prefix, scale);
                            let (p, v) = (Matrix::new(p, tokens), Matrix::new(v, stride));
                            matmul([queries, head, tokens], &mut out[h * head..], width, p, v);
                        });
                    }
                });
        };
        // SAFETY: the heads lie side by side, so their products cover every row.
        let out = unsafe { filled(batch * queries * width, write) };
        tensor(out, &[batch, queries, width])
    }

    fn backward(
        &self,
        [qkv, keep]: [FlexTensor; 2],
        gradient: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (qkv, keep, gradient) = (dense(&qkv), dense(&keep), dense(&gradient));
        let (batch, tokens, width, head, scale) = self.extents(&qkv);
        let (stride, queries) = (3 * width, tokens - self.first);
        let (xs, keeps, gs) = (values(&qkv), values(&keep), values(&gradient));
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(tokens * stride)
                .enumerate()
                .for_each(|(b, out)| {
                    let x = &xs[b * tokens * stride..][..tokens * stride];
                    let keep = &keeps[b * tokens..][..tokens];
                    let g = &gs[b * queries * width..][..queries * width];
                    // Nothing was computed from the queries before `first`.
                    for row in out.chunks_exact_mut(stride).take(self.first) {
                        row[..width].fill(MaybeUninit::new(0.0));
                    }
                    for h in 0..self.heads {
                        let first = self.first * stride + h * head;
                        let q = &x[first..];
                        let (k, v) = (&x[width + h * head..], &x[2 * width + h * head..]);
                        let g = &g[h * head..];
                        with_scores(queries * tokens, |p, d| {
                            // The weights are computed again: cheaper than keeping them for every layer.
                            let keys = Matrix::transposed(k, stride);
                            matmul(
                                [queries, tokens, head],
                                overwrite(p),
                                tokens,
                                Matrix::new(q, stride),
                                keys,
                            );
                            kernels::softmax(p, keep, self.first, self.prefix, scale);
                            // dP = g·vᵀ, dV = Pᵀ·g
                            let v = Matrix::transposed(v, stride);
                            matmul(
                                [queries, tokens, head],
                                overwrite(d),
                                tokens,
                                Matrix::new(g, width),
                                v,
                            );
                            let dv = &mut out[2 * width + h * head..];
                            let (pt, g) = (Matrix::transposed(p, tokens), Matrix::new(g, width));
                            matmul([tokens, head, queries], dv, stride, pt, g);
                            // dQ = dS·k, dK = dSᵀ·q
                            kernels::softmax_backward(p, d, tokens, scale);
                            let (ds, dst) = (Matrix::new(d, tokens), Matrix::transposed(d, tokens));
                            matmul(
                                [queries, head, tokens],
                                &mut out[first..],
                                stride,
                                ds,
                                Matrix::new(k, stride),
                            );
                            let dk = &mut out[width + h * head..];
                            matmul(
                                [tokens, head, queries],
                                dk,
                                stride,
                                dst,
                                Matrix::new(q, stride),
                            );
                        });
                    }
                });
        };
        // SAFETY: dQ from `first` on, dK and dV cover their thirds of every row; the rest of dQ is cleared.
        let out = unsafe { filled(batch * tokens * stride, write) };
        [Some(tensor(out, &shape(&qkv))), None]
    }
}

/// Square windows of a channels-last picture as rows: `[batch, height, width, channels]` →
/// `[batch, rows, columns, kernel² · channels]`, ordered by window row, window column, channel; zeros
/// outside the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfold {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Unfold {
    fn count(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Whether a window covers places outside the picture.
    fn sticks_out(&self, sides: [usize; 2], place: [usize; 2]) -> bool {
        sides.into_iter().zip(place).any(|(side, place)| {
            let start = place * self.stride;
            start < self.padding || start + self.kernel > side + self.padding
        })
    }

    /// Calls `copy(place in the window, place in the picture, values)` for each run of values that one
    /// window at (row, column) takes from one line of the picture.
    fn runs(
        &self,
        [height, width, channels]: [usize; 3],
        [row, column]: [usize; 2],
        mut copy: impl FnMut(usize, usize, usize),
    ) {
        let left = (column * self.stride) as isize - self.padding as isize;
        let from = (-left).max(0) as usize;
        let to = ((width as isize - left).max(0) as usize).min(self.kernel);
        if to <= from {
            return;
        }
        for line in 0..self.kernel {
            let y = (row * self.stride + line) as isize - self.padding as isize;
            if y < 0 || y >= height as isize {
                continue;
            }
            let x = (left + from as isize) as usize;
            let window = (line * self.kernel + from) * channels;
            copy(
                window,
                (y as usize * width + x) * channels,
                (to - from) * channels,
            );
        }
    }
}

impl Op<1> for Unfold {
    fn forward(&self, [x]: [&FlexTensor; 1]) -> FlexTensor {
        let x = dense(x);
        let shape = shape(&x);
        let [batch, height, width, channels] = [shape[0], shape[1], shape[2], shape[3]];
        let (rows, columns) = (self.count(height), self.count(width));
        let window = self.kernel * self.kernel * channels;
        let xs = values(&x);
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(columns * window)
                .enumerate()
                .for_each(|(line, out)| {
                    let (b, row) = (line / rows, line % rows);
                    let x = &xs[b * height * width * channels..][..height * width * channels];
                    for (column, out) in out.chunks_exact_mut(window).enumerate() {
                        if self.sticks_out([height, width], [row, column]) {
                            out.fill(MaybeUninit::new(0.0));
                        }
                        self.runs([height, width, channels], [row, column], |to, from, len| {
                            out[to..to + len].write_copy_of_slice(&x[from..from + len]);
                        });
                    }
                });
        };
        // SAFETY: a window that lies inside is covered by its runs, any other is cleared first.
        let out = unsafe { filled(batch * rows * columns * window, write) };
        tensor(out, &[batch, rows, columns, window])
    }

    fn backward(
        &self,
        [x]: [FlexTensor; 1],
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let gradient = dense(&gradient);
        let shape = shape(&x);
        let [batch, height, width, channels] = [shape[0], shape[1], shape[2], shape[3]];
        let (rows, columns) = (self.count(height), self.count(width));
        let window = self.kernel * self.kernel * channels;
        let gs = values(&gradient);
        let mut out = vec![0f32; batch * height * width * channels];
        out.par_chunks_mut(height * width * channels)
            .enumerate()
            .for_each(|(b, out)| {
                let g = &gs[b * rows * columns * window..][..rows * columns * window];
                for (place, g) in g.chunks_exact(window).enumerate() {
                    self.runs(
                        [height, width, channels],
                        [place / columns, place % columns],
                        |from, to, len| {
                            kernels::add_rows(&g[from..from + len], &mut out[to..to + len]);
                        },
                    );
                }
            });
        [Some(tensor(out, &shape))]
    }
}
