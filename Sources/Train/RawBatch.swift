import LinearAlgebra
import SAE

/// A batch as it was read: activations, and for transcoders those of the same tokens at the target hook.
final class RawBatch {
  fileprivate(set) var x: Matrix
  /// Without columns where there is no target.
  fileprivate(set) var target: Matrix

  init(_ rows: Int, _ source: any BatchSource) {
    x = Matrix(rows, source.width)
    target = Matrix(rows, source.target?.width ?? 0)
  }

  func read(_ index: Int, from source: any BatchSource) throws {
    try source.read(batch: index, into: &x, target: &target)
  }
}

/// A batch in the units that an SAE is trained in.
final class ScaledBatch {
  /// What is done to activations, and the factor on a transcoder's targets, nil for others.
  struct Units: Hashable {
    var input: InputNormalization
    var target: Float?
  }

  private(set) var x: Matrix
  private(set) var target: Matrix

  init(_ raw: RawBatch, in units: Units) {
    x = Matrix(raw.x.rows, raw.x.columns)
    target = Matrix(raw.target.rows, raw.target.columns)
    assign(raw, in: units)
  }

  func assign(_ raw: RawBatch, in units: Units) {
    x.assign(raw.x)
    units.input.apply(to: &x)
    guard let factor = units.target else { return }
    target.assign(raw.target)
    target.scale(by: factor)
  }
}
