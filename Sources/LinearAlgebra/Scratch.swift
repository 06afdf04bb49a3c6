/// Memory that is used again and again and grows when more is needed, such as that for the logits of some rows.
package final class Scratch {
  private var matrix = Matrix(0, 0)

  package init() {}

  /// [rows, columns] of anything; what was lent before may be gone.
  package func strip(_ rows: Int, _ columns: Int) -> Strip {
    if matrix.count < rows * columns { matrix = Matrix(uninitialized: 1, rows * columns) }
    return matrix.strip.shaped(rows, columns)
  }
}
