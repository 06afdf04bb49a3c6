import LinearAlgebra

/// Where the rows of a fused or permuted matrix come from, and what the tensors are called: one type per naming
/// scheme.
protocol TensorNames {
  var tokenEmbedding: String { get }
  var positionEmbedding: String { get }
  var unembedding: String { get }
  /// Prefix of `.weight` and `.bias` of the last norm.
  var finalNorm: String { get }
  func attentionNorm(_ layer: Int) -> String
  func mlpNorm(_ layer: Int) -> String
  func attentionOut(_ layer: Int) -> String
  func mlpOut(_ layer: Int) -> String
  /// gate and up for a gated MLP, else one.
  func mlpIn(_ layer: Int) -> [String]
  func qkv(_ layer: Int) -> QKVNames
  /// Matrices lie as [dIn, dOut] (GPT-2's Conv1D).
  var isTransposed: Bool { get }
  /// Stored in files by old versions, without a part in the computation.
  func isIrrelevant(_ tensor: String) -> Bool
}

/// How queries, keys and values are stored.
enum QKVNames {
  /// Three matrices. If `isInterleaved` the rows of a query or key head are ordered for rotary pairs (2i, 2i + 1).
  case separate(q: String, k: String, v: String, isInterleaved: Bool)
  /// One matrix, q | k | v.
  case fused(String)
  /// One matrix, q | k | v of the first head, then of the second, …
  case fusedByHead(String)
}

/// Builds the parts of a model from weight files and remembers which tensors have been used.
final class ModelLoader {
  let configuration: ModelConfiguration
  let files: WeightFiles
  private let names: any TensorNames
  private var used: Set<String> = []

  init(_ configuration: ModelConfiguration, _ files: WeightFiles, _ names: any TensorNames) {
    (self.configuration, self.files, self.names) = (configuration, files, names)
  }

  private var dModel: Int { configuration.dModel }

  private func matrix(_ name: String, _ shape: [Int]) throws -> Matrix {
    used.insert(name)
    return try files.matrix(name, shape: shape)
  }

  func tokenEmbedding() throws -> Matrix { try matrix(names.tokenEmbedding, [configuration.dVocab, dModel]) }

  func positionEmbedding() throws -> Matrix? {
    configuration.rotary == nil ? try matrix(names.positionEmbedding, [configuration.nCtx, dModel]) : nil
  }

  func untiedUnembedding() throws -> Matrix? {
    used.insert(names.unembedding)
    return configuration.isTied ? nil : try matrix(names.unembedding, [configuration.dVocab, dModel])
  }

  func finalNorm() throws -> NormLayer { try norm(names.finalNorm) }

  private func norm(_ prefix: String) throws -> NormLayer {
    NormLayer(
      configuration, weight: try matrix(prefix + ".weight", [dModel]),
      bias: configuration.normalization == .layer ? try matrix(prefix + ".bias", [dModel]) : nil)
  }

  private func linear(_ prefix: String, dIn: Int, dOut: Int, hasBias: Bool) throws -> Linear {
    Linear(
      weight: try matrix(prefix + ".weight", names.isTransposed ? [dIn, dOut] : [dOut, dIn]),
      isTransposed: names.isTransposed, bias: hasBias ? try matrix(prefix + ".bias", [dOut]) : nil)
  }

  private var hasBiases: Bool { configuration.architecture != .llama }

  func attention(layer: Int) throws -> AttentionBlock {
    let shape = configuration.attentionShape(layer: layer)
    return AttentionBlock(
      norm: try norm(names.attentionNorm(layer)), qkv: try qkv(names.qkv(layer), shape),
      out: try linear(
        names.attentionOut(layer), dIn: shape.nHeads * shape.dHead, dOut: dModel, hasBias: hasBiases),
      shape: shape)
  }

  private func qkv(_ names: QKVNames, _ shape: AttentionShape) throws -> Linear {
    let d = shape.dHead
    switch names {
    case .fused(let prefix): return try linear(prefix, dIn: dModel, dOut: shape.qkvWidth, hasBias: true)
    case .fusedByHead(let prefix):
      // Row (h, part, i) → (part, h, i).
      let place = { (row: Int) in row / d % 3 * shape.nHeads * d + row / (3 * d) * d + row % d }
      var weight = Matrix(uninitialized: shape.qkvWidth, dModel)
      var bias = Matrix(uninitialized: shape.qkvWidth, 1)
      try read(prefix + ".weight", [shape.qkvWidth, dModel], into: &weight, place: place)
      try read(prefix + ".bias", [shape.qkvWidth, 1], stored: [shape.qkvWidth], into: &bias, place: place)
      return Linear(weight: weight, bias: Matrix(1, shape.qkvWidth, bias.values))
    case .separate(let q, let k, let v, let isInterleaved):
      var weight = Matrix(uninitialized: shape.qkvWidth, dModel)
      let nQuery = shape.nHeads * d
      let nKey = shape.nKVHeads * d
      // Row 2i + s of a head → row i + s·d/2.
      let place = isInterleaved ? { (row: Int) in row / d * d + row % d / 2 + row % 2 * (d / 2) } : nil
      try read(q + ".weight", [nQuery, dModel], into: &weight, place: place)
      try read(k + ".weight", [nKey, dModel], into: &weight, first: nQuery, place: place)
      try read(v + ".weight", [nKey, dModel], into: &weight, first: nQuery + nKey)
      return Linear(weight: weight, bias: nil)
    }
  }

  private func read(
    _ name: String, _ shape: [Int], stored: [Int]? = nil, into matrix: inout Matrix, first: Int = 0,
    place: ((Int) -> Int)? = nil
  ) throws {
    used.insert(name)
    try files.read(name, shape: stored ?? shape, rows: shape[0], into: &matrix, first: first, place: place)
  }

  func mlp(layer: Int) throws -> MLPBlock {
    let dMLP = configuration.dMLP
    let inputs = names.mlpIn(layer)
    let input: Linear
    if configuration.isGated {
      var weight = Matrix(uninitialized: 2 * dMLP, dModel)
      for (i, prefix) in inputs.enumerated() {
        try read(prefix + ".weight", [dMLP, dModel], into: &weight, first: i * dMLP)
      }
      input = Linear(weight: weight, bias: nil)
    } else {
      input = try linear(inputs[0], dIn: dModel, dOut: dMLP, hasBias: hasBiases)
    }
    return MLPBlock(
      norm: try norm(names.mlpNorm(layer)), input: input,
      out: try linear(names.mlpOut(layer), dIn: dMLP, dOut: dModel, hasBias: hasBiases),
      activation: configuration.activation, isGated: configuration.isGated)
  }

  /// A tensor that nobody asked for could be a bias or an adapter: the model would compute something else.
  func expectAllRead() throws(TransformerError) {
    for name in files.tensors.keys.sorted() where !used.contains(name) && !names.isIrrelevant(name) {
      throw .unexpectedTensor(path: files.path, tensor: name, architecture: configuration.architecture.rawValue)
    }
  }
}
