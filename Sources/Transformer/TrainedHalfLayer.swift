import Crypto
import LinearAlgebra
import Memory

/// A weight that is trained, and its gradient.
package final class TrainedWeight {
  /// As in Hugging Face's state dict of the architecture.
  package let name: String
  /// As stored there: GPT-2's matrices are [dIn, dOut], the others' [dOut, dIn].
  package let shape: [Int]
  /// A vector is one row. `DifferentiablePass.backward` adds to the gradient.
  package let parameter: Parameter
  let place: HalfLayerPlace

  package var value: Matrix {
    _read { yield parameter.value }
    _modify { yield &parameter.value }
  }
  package var gradient: Matrix {
    _read { yield parameter.gradient }
    _modify { yield &parameter.gradient }
  }

  init(_ place: HalfLayerPlace) {
    (name, shape, self.place) = (place.name, place.shape, place)
    let (rows, columns) = (place.shape.dropLast().reduce(1, *), place.shape.last ?? 1)
    parameter = Parameter(place.name, Matrix(rows, columns))
  }
}

/// A half-layer whose weights are trained: copies of a model's, in the layout of Hugging Face's files, with a gradient
/// beside each. The model itself stays as it is; `TransformerModel(_:replacing:)` makes one with these weights.
///
/// Passes that share one see its weights as they are when `forward` begins and add to the same gradients: call
/// `clearGradients` once per step. Not for two threads at a time.
package final class TrainedHalfLayer {
  package let halfLayer: HalfLayer
  package let weights: [TrainedWeight]
  private let configuration: ModelConfiguration

  /// Starts from the weights of `model`.
  package init(_ halfLayer: HalfLayer, of model: TransformerModel) {
    self.halfLayer = halfLayer
    configuration = model.configuration
    weights = HalfLayerPlace.all(of: halfLayer, configuration).map(TrainedWeight.init)
    let block = HalfLayerBlock(halfLayer, of: model)
    for weight in weights {
      block.withPart(weight.place.part, isTransposed: isTransposed) { part in
        weight.place.forEachRow(part, weight.value.strip) { $1.assign($0) }
      }
    }
  }

  private var isTransposed: Bool { HuggingFaceNames(configuration).isTransposed }

  package func clearGradients() {
    for weight in weights { weight.gradient.fill(0) }
  }

  /// The weights as they are now, as the part of a model.
  func block() -> HalfLayerBlock {
    func matrix(_ part: HalfLayerPlace.Part) -> Matrix? {
      let mine = weights.filter { $0.place.part == part }
      guard let first = mine.first else { return nil }
      let rows = first.shape.count == 1 ? 1 : mine.reduce(0) { $0 + $1.value.rows }
      let matrix = Matrix(uninitialized: rows, first.value.columns)
      for weight in mine { weight.place.forEachRow(matrix.strip, weight.value.strip) { $0.assign($1) } }
      return matrix
    }
    func required(_ part: HalfLayerPlace.Part) -> Matrix {
      guard let matrix = matrix(part) else { preconditionFailure("\(halfLayer) has no \(part)") }
      return matrix
    }
    let norm = NormLayer(configuration, weight: required(.normWeight), bias: matrix(.normBias))
    let input = Linear(weight: required(.inputWeight), isTransposed: isTransposed, bias: matrix(.inputBias))
    let out = Linear(weight: required(.outWeight), isTransposed: isTransposed, bias: matrix(.outBias))
    switch halfLayer {
    case .attention(let layer):
      return .attention(
        AttentionBlock(norm: norm, qkv: input, out: out, shape: configuration.attentionShape(layer: layer)))
    case .mlp:
      return .mlp(
        MLPBlock(
          norm: norm, input: input, out: out, activation: configuration.activation, isGated: configuration.isGated))
    }
  }

  /// Adds the gradients of all weights.
  ///
  /// - Parameters:
  ///   - x: [rows, dModel], the residual stream that the half-layer read.
  ///   - norm: the norm that it went through.
  ///   - tape: what the way forward left.
  ///   - gradients: what the way back left.
  func accumulateGradients(x: Strip, _ norm: NormLayer, _ tape: HalfLayerTape, _ gradients: HalfLayerGradients) {
    func add(_ gradient: borrowing Matrix, _ part: HalfLayerPlace.Part) {
      for weight in weights where weight.place.part == part {
        weight.place.forEachRow(gradient.strip, weight.gradient.strip) { LinearAlgebra.add($0, to: $1) }
      }
    }
    func linear(_ dY: Strip, _ x: Strip, _ weight: HalfLayerPlace.Part, _ bias: HalfLayerPlace.Part) {
      let (a, b) = isTransposed ? (x, dY) : (dY, x)
      let gradient = Matrix(uninitialized: a.columns, b.columns)
      weightGradient(a, b, into: gradient.strip, accumulating: false)
      add(gradient, weight)
      add(columnSums(dY), bias)
    }
    linear(gradients.dOut.strip, tape.narrow.strip, .outWeight, .outBias)
    linear(gradients.dWide.strip, tape.normalized.strip, .inputWeight, .inputBias)
    add(columnSums(gradients.dNormalized), .normBias)
    let bare = Matrix(uninitialized: x.rows, x.columns)
    Threads.forEachRange(x.rows, grain: 256) { rows in
      norm.bare(x.rows(rows), into: bare.strip.rows(rows))
      multiply(bare.strip.rows(rows), by: gradients.dNormalized.strip.rows(rows))
    }
    add(columnSums(bare), .normWeight)
  }

  /// SHA-256 of names and values, in hexadecimal.
  var digest: String {
    var hash = SHA256()
    for weight in weights {
      hash.update(data: Array("\(weight.name)\n".utf8))
      var bytes: [UInt8] = []
      bytes.reserveCapacity(4 * weight.value.count)
      for value in weight.value.values {
        for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift)) }
      }
      hash.update(data: bytes)
    }
    return hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
