/// A trained tensor and the gradient of the loss with respect to it, of the same shape.
package final class Parameter {
  /// The name in files, such as `W_enc`.
  package let name: String
  package var value: Matrix
  /// Whether the optimizer holds each row at unit norm.
  package var hasUnitRows = false
  /// Whether weight decay acts on it, where the optimizer has one.
  package var decays = false
  /// Set by an optimizer that reads the gradients of used rows only: a step need not write the others.
  package var leavesUnusedRows = false

  /// Whether its elements count on their own, not by rows: a bias.
  package var isElementwise: Bool { value.rows == 1 && !hasUnitRows }

  /// The gradient, whole. Access for writing forgets what was known of its rows.
  package var gradient: Matrix {
    _read {
      clearUnusedRows()
      yield rowGradient
    }
    _modify {
      clearUnusedRows()
      usedRows = nil
      hasSums = false
      yield &rowGradient
    }
  }
  /// The gradient for code that keeps `usedRows` and `sums` true: rows that are not used may hold anything.
  package var rowGradient: Matrix
  /// Rows with a gradient, ascending; nil: unknown. Of a single row (a bias) never known.
  package private(set) var usedRows: [Int32]?
  /// Whether `sums` of the used rows are those of the present gradient.
  package private(set) var hasSums = false
  package private(set) lazy var sums = GradientSums(rows: value.rows)
  /// Whether rows that are not used hold an older gradient.
  private var hasStaleRows = false

  package init(_ name: String, _ value: consuming Matrix) {
    self.name = name
    rowGradient = Matrix(value.rows, value.columns)
    self.value = value
  }

  /// The gradient's memory, of which every element is about to be written.
  package func overwrittenGradient() -> Strip {
    usedRows = nil
    (hasSums, hasStaleRows) = (false, false)
    return rowGradient.strip
  }

  /// Says that `rowGradient` and `sums` have just been written in rows `used`, and the other rows set to 0 or, with
  /// `leavesUnusedRows`, left alone.
  package func setUsedRows(_ used: [Int32]) {
    usedRows = used
    hasSums = true
    hasStaleRows = leavesUnusedRows
  }

  /// Prepares rows that are about to be added to: those not used before become 0 and used.
  package func addUsedRows(_ rows: [Int32]) {
    guard let before = usedRows else { return }
    var isUsed = [Bool](repeating: false, count: value.rows)
    for row in before { isUsed[Int(row)] = true }
    if hasStaleRows { rowGradient.clear(rows: rows.filter { !isUsed[Int($0)] }) }
    for row in rows { isUsed[Int(row)] = true }
    usedRows = isUsed.indices.filter { isUsed[$0] }.map { Int32($0) }
  }

  private func clearUnusedRows() {
    guard hasStaleRows, let usedRows else { return }
    hasStaleRows = false
    rowGradient.clear(rowsExcept: usedRows)
  }
}
