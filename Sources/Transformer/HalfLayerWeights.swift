import LinearAlgebra

/// Where the tensors of a half-layer lie in the matrices that a pass uses: `ModelLoader` in the other direction.
struct HalfLayerPlace {
  /// The matrices of a half-layer.
  enum Part {
    case normWeight, normBias, inputWeight, inputBias, outWeight, outBias
  }

  /// As in the state dict of Hugging Face's language-model class.
  var name: String
  /// As stored there.
  var shape: [Int]
  var part: Part
  /// Row i of the tensor (element i of a bias) is row `first + place(i)` of the part.
  var first = 0
  var place: (@Sendable (Int) -> Int)?

  static func all(of half: HalfLayer, _ configuration: ModelConfiguration) -> [HalfLayerPlace] {
    let names = HuggingFaceNames(configuration)
    let (dModel, layer) = (configuration.dModel, half.layer)
    let hasBiases = configuration.architecture != .llama
    var places: [HalfLayerPlace] = []
    func norm(_ prefix: String) {
      places.append(.init(name: prefix + ".weight", shape: [dModel], part: .normWeight))
      if configuration.normalization == .layer {
        places.append(.init(name: prefix + ".bias", shape: [dModel], part: .normBias))
      }
    }
    func linear(_ prefix: String, dIn: Int, dOut: Int, _ weight: Part, _ bias: Part) {
      places.append(
        .init(name: prefix + ".weight", shape: names.isTransposed ? [dIn, dOut] : [dOut, dIn], part: weight))
      if hasBiases { places.append(.init(name: prefix + ".bias", shape: [dOut], part: bias)) }
    }
    switch half {
    case .attention:
      let shape = configuration.attentionShape(layer: layer)
      let d = shape.dHead
      norm(names.attentionNorm(layer))
      switch names.qkv(layer) {
      case .fused(let prefix): linear(prefix, dIn: dModel, dOut: shape.qkvWidth, .inputWeight, .inputBias)
      case .fusedByHead(let prefix):
        // Row (h, part, i) → (part, h, i).
        let place = { @Sendable (row: Int) in row / d % 3 * shape.nHeads * d + row / (3 * d) * d + row % d }
        places.append(
          .init(name: prefix + ".weight", shape: [shape.qkvWidth, dModel], part: .inputWeight, place: place))
        places.append(.init(name: prefix + ".bias", shape: [shape.qkvWidth], part: .inputBias, place: place))
      case .separate(let q, let k, let v, _):
        var first = 0
        for (prefix, rows) in [(q, shape.nHeads * d), (k, shape.nKVHeads * d), (v, shape.nKVHeads * d)] {
          places.append(.init(name: prefix + ".weight", shape: [rows, dModel], part: .inputWeight, first: first))
          first += rows
        }
      }
      linear(names.attentionOut(layer), dIn: shape.nHeads * d, dOut: dModel, .outWeight, .outBias)
    case .mlp:
      let dMLP = configuration.dMLP
      norm(names.mlpNorm(layer))
      if configuration.isGated {
        for (i, prefix) in names.mlpIn(layer).enumerated() {
          places.append(.init(name: prefix + ".weight", shape: [dMLP, dModel], part: .inputWeight, first: i * dMLP))
        }
      } else {
        linear(names.mlpIn(layer)[0], dIn: dModel, dOut: dMLP, .inputWeight, .inputBias)
      }
      linear(names.mlpOut(layer), dIn: dMLP, dOut: dModel, .outWeight, .outBias)
    }
    return places
  }

  /// Calls `body` with rows of the part and of the tensor that belong together, many at a time if their order is the
  /// same.
  func forEachRow(_ part: Strip, _ tensor: Strip, _ body: (_ part: Strip, _ tensor: Strip) -> Void) {
    // A bias is a row whose elements are placed.
    let (part, tensor) =
      shape.count == 1 ? (part.shaped(part.columns, 1), tensor.shaped(tensor.columns, 1)) : (part, tensor)
    guard let place else { return body(part.rows(first..<first + tensor.rows), tensor) }
    for i in 0..<tensor.rows { body(part.rows(first + place(i)..<first + place(i) + 1), tensor.rows(i..<i + 1)) }
  }
}
