import LinearAlgebra

/// The memory of forward passes, kept from one to the next. Not for two passes at a time.
package final class ForwardWorkspace {
  /// The residual stream of the batch: [nSequences·nPositions, dModel].
  package internal(set) var residual = Matrix(0, 0)
  /// The input of the unembedding after a pass that was asked for it: [nSequences·nPositions, dModel].
  package internal(set) var finalState = Matrix(0, 0)
  // Values of hooks for the whole batch, where a pass lends them out or needs them across its barriers.
  var positions = Matrix(0, 0)
  var z = Matrix(0, 0)
  var attentionOut = Matrix(0, 0)
  var post = Matrix(0, 0)
  var mlpOut = Matrix(0, 0)
  var normalized = Matrix(0, 0)
  /// One per worker.
  var layers: [LayerScratch] = []
  package let unembedding = UnembeddingScratch()

  package init() {}

  func reserveLayers(workers: Int, rows: Int, nPositions: Int, _ configuration: ModelConfiguration) {
    let shape = configuration.attentionShape(layer: 0)
    let attention = shape.scratchCount(nPositions: nPositions)
    let fits =
      layers.first.map {
        $0.rows >= rows && $0.attention.count >= attention && $0.configuration == configuration
      } ?? false
    if fits && layers.count >= workers { return }
    layers = (0..<workers).map { _ in LayerScratch(configuration, rows: rows, attention: attention) }
  }
}

/// Gives `matrix` a shape; its old contents are gone if that is another one.
func reshape(_ matrix: inout Matrix, _ rows: Int, _ columns: Int) {
  if matrix.rows != rows || matrix.columns != columns { matrix = Matrix(uninitialized: rows, columns) }
}

/// What one thread needs to take `rows` positions through a layer; in its cache, if possible.
final class LayerScratch {
  let configuration: ModelConfiguration
  let rows: Int
  /// The normalised input of a block.
  let normalized: Matrix
  /// qkv, or gate and up.
  let wide: Matrix
  let z: Matrix
  let attentionOut: Matrix
  let post: Matrix
  let mlpOut: Matrix
  let attention: Matrix

  init(_ configuration: ModelConfiguration, rows: Int, attention count: Int) {
    self.configuration = configuration
    self.rows = rows
    let shape = configuration.attentionShape(layer: 0)
    normalized = Matrix(uninitialized: rows, configuration.dModel)
    wide = Matrix(uninitialized: rows, max(shape.qkvWidth, configuration.isGated ? 2 * configuration.dMLP : 0))
    z = Matrix(uninitialized: rows, shape.nHeads * shape.dHead)
    attentionOut = Matrix(uninitialized: rows, configuration.dModel)
    post = Matrix(uninitialized: rows, configuration.dMLP)
    mlpOut = Matrix(uninitialized: rows, configuration.dModel)
    attention = Matrix(uninitialized: 1, count)
  }
}
