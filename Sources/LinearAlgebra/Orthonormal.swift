/// Makes each block of `matrix.columns` rows, of which the last may have fewer, orthonormal by the Gram–Schmidt process:
/// each row loses its part along those before it in the block, twice (once leaves errors where that part is large), and
/// is scaled to unit norm. Rows of a block must be linearly independent.
package func orthonormalizeBlocks(_ matrix: inout Matrix) {
  let (rows, d) = (matrix.rows, matrix.columns)
  if rows == 0 || d == 0 { return }
  let base = matrix.base
  Threads.forEachRange(rows, grain: d) { block in
    for i in block {
      let row = base + i * d
      for _ in 0..<2 {
        for j in block.lowerBound..<i {
          let before = base + j * d
          accumulate(before, times: -dot(row, before, count: d), into: row, count: d)
        }
      }
      normalize(row, count: d)
    }
  }
}
