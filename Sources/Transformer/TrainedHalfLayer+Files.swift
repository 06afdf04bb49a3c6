import LinearAlgebra
import Memory

extension TrainedHalfLayer {
  /// In a run's folder.
  package static var fileName: String { "half-layers.safetensors" }

  /// Writes half-layers as one safetensors file with the names and shapes of Hugging Face's state dict. Throws
  /// `MemoryError` if that fails.
  package static func write(
    _ halves: [TrainedHalfLayer], metadata: [String: String] = [:], to path: String
  ) throws(MemoryError) {
    let tensors = halves.flatMap(\.weights).map { weight in
      SafetensorsWriter.Tensor(name: weight.name, shape: weight.shape) { (body) throws(MemoryError) in
        try weight.value.withSpan { (span) throws(MemoryError) in try body(span) }
      }
    }
    try SafetensorsWriter.write(tensors, metadata: metadata, to: path)
  }

  /// The half-layers in a file that `write` made, from the first layer on.
  ///
  /// Throws `TransformerError` if the file has tensors of anything else, or not all of a half-layer, or of another shape
  /// than the model's; `MemoryError` if it cannot be read.
  package static func read(_ path: String, of model: TransformerModel) throws -> [TrainedHalfLayer] {
    let file = try MappedWeights(path: path)
    let files = WeightFiles(path: path, files: [file], tensors: try Safetensors.tensors(in: file, number: 0))
    var unread = Set(files.tensors.keys)
    var halves: [TrainedHalfLayer] = []
    for layer in 0..<model.configuration.nLayers {
      for halfLayer in [HalfLayer.attention(layer), .mlp(layer)] {
        let places = HalfLayerPlace.all(of: halfLayer, model.configuration)
        if unread.isDisjoint(with: places.map(\.name)) { continue }
        let half = TrainedHalfLayer(halfLayer, of: model)
        for weight in half.weights {
          weight.value = try files.matrix(weight.name, shape: weight.shape)
          unread.remove(weight.name)
        }
        halves.append(half)
      }
    }
    if let tensor = unread.min() {
      throw TransformerError.unexpectedTensor(
        path: path, tensor: tensor, architecture: model.configuration.architecture.rawValue)
    }
    return halves
  }
}
