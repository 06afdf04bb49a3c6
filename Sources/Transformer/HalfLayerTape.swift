import LinearAlgebra

/// What the way back through attention or MLP needs of the way forward; of attention never the weights, which are made
/// again from their statistics.
final class HalfLayerTape {
  /// Columns of the matrices, which depend on the model and on which half it is.
  struct Widths: Equatable {
    var normalized, wide, narrow, statistics: Int

    /// That are kept of a half-layer which is not trained.
    var floatsPerRow: Int { wide + (statistics > 0 ? narrow + statistics : 0) }

    init(_ half: HalfLayer, _ c: ModelConfiguration) {
      normalized = c.dModel
      switch half {
      case .attention:
        let shape = c.attentionShape(layer: 0)
        (wide, narrow, statistics) = (shape.qkvWidth, shape.nHeads * shape.dHead, 2 * shape.nHeads)
      case .mlp: (wide, narrow, statistics) = (c.isGated ? 2 * c.dMLP : c.dMLP, c.dMLP, 0)
      }
    }
  }

  /// One piece of a tape.
  struct Slots {
    /// [rows, dModel]: what the norm gave.
    var normalized: Strip
    /// [rows, qkvWidth]: queries, keys and values after the rotation; or the derivatives of the nonlinearity, [rows, dMLP],
    /// gated those by gate and by up, [rows, 2·dMLP].
    var wide: Strip
    /// [rows, nHeads·dHead]: z; or [rows, dMLP]: post.
    var narrow: Strip
    /// [rows, 2·nHeads] of attention, see `causalAttention`; of the MLP [rows, 0].
    var statistics: Strip
  }

  let widths: Widths
  /// Matrices of no rows are not kept: a worker's scratch stands in.
  let normalized: Matrix
  let wide: Matrix
  let narrow: Matrix
  let statistics: Matrix

  /// A tape for all rows; with what the weights' gradients need too if it `isTrained`.
  init(_ half: HalfLayer, _ widths: Widths, rows: Int, isTrained: Bool) {
    self.widths = widths
    let isAttention = if case .attention = half { true } else { false }
    normalized = Matrix(uninitialized: isTrained ? rows : 0, widths.normalized)
    wide = Matrix(uninitialized: rows, widths.wide)
    narrow = Matrix(uninitialized: isAttention || isTrained ? rows : 0, widths.narrow)
    statistics = Matrix(uninitialized: rows, widths.statistics)
  }

  /// A tape of which nothing is kept.
  convenience init(_ half: HalfLayer, _ configuration: ModelConfiguration) {
    self.init(half, Widths(half, configuration), rows: 0, isTrained: false)
  }

  func cut(_ rows: Range<Int>, _ scratch: BackwardScratch) -> Slots {
    Slots(
      normalized: cutOr(scratch.normalized.strip, normalized, rows), wide: cutOr(scratch.wide.strip, wide, rows),
      narrow: cutOr(scratch.narrow.strip, narrow, rows),
      statistics: cutOr(scratch.statistics.strip, statistics, rows))
  }
}

/// The gradients on the way back through a half-layer. Those that its weights' gradients need are kept of all rows if it
/// is trained.
final class HalfLayerGradients {
  struct Slots {
    /// Of the tape's `normalized`, before the nonlinearity or of queries, keys and values, and of `narrow`.
    var dNormalized, dWide, dNarrow: Strip
  }

  let dOut: Matrix
  let dNormalized: Matrix
  let dWide: Matrix
  private let narrow: Int

  init(_ widths: HalfLayerTape.Widths, rows: Int) {
    dOut = Matrix(uninitialized: rows, widths.normalized)
    dNormalized = Matrix(uninitialized: rows, widths.normalized)
    dWide = Matrix(uninitialized: rows, widths.wide)
    narrow = widths.narrow
  }

  func cut(_ rows: Range<Int>, _ scratch: BackwardScratch, isSecond: Bool) -> Slots {
    Slots(
      dNormalized: cutOr(isSecond ? scratch.dNormalized2.strip : scratch.dNormalized.strip, dNormalized, rows),
      dWide: cutOr(scratch.dWide.strip, dWide, rows), dNarrow: scratch.dNarrow.strip.shaped(rows.count, narrow))
  }
}

/// Rows of the matrix for the whole batch, or the scratch in its shape.
private func cutOr(_ scratch: Strip, _ kept: borrowing Matrix, _ rows: Range<Int>) -> Strip {
  kept.rows > 0 ? kept.strip.rows(rows) : scratch.shaped(rows.count, kept.columns)
}

/// What one thread needs to take a piece of `rows` positions forward and back; in its cache, if possible.
final class BackwardScratch {
  let rows: Int
  let nPositions: Int
  let normalized: Matrix
  let wide: Matrix
  let narrow: Matrix
  let statistics: Matrix
  /// Outputs of MLP and attention.
  let out: Matrix
  let attentionOut: Matrix
  let dNormalized: Matrix
  let dNormalized2: Matrix
  let dWide: Matrix
  let dNarrow: Matrix
  let attention: Matrix

  init(_ c: ModelConfiguration, rows: Int, nPositions: Int) {
    (self.rows, self.nPositions) = (rows, nPositions)
    let (attention, mlp) = (HalfLayerTape.Widths(.attention(0), c), HalfLayerTape.Widths(.mlp(0), c))
    let (wide, narrow) = (max(attention.wide, mlp.wide), max(attention.narrow, mlp.narrow))
    normalized = Matrix(uninitialized: rows, c.dModel)
    self.wide = Matrix(uninitialized: rows, wide)
    self.narrow = Matrix(uninitialized: rows, narrow)
    statistics = Matrix(uninitialized: rows, attention.statistics)
    out = Matrix(uninitialized: rows, c.dModel)
    attentionOut = Matrix(uninitialized: c.isParallel ? rows : 0, c.dModel)
    dNormalized = Matrix(uninitialized: rows, c.dModel)
    dNormalized2 = Matrix(uninitialized: c.isParallel ? rows : 0, c.dModel)
    dWide = Matrix(uninitialized: rows, wide)
    dNarrow = Matrix(uninitialized: rows, narrow)
    let shape = c.attentionShape(layer: 0)
    self.attention = Matrix(
      uninitialized: 1,
      max(shape.scratchCount(nPositions: nPositions), shape.backwardScratchCount(nPositions: nPositions)))
  }
}
