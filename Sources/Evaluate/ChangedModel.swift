import Transformer

/// A model whose half-layers on both sides of a hook were trained beside an SAE there.
package struct ChangedModel {
  package let model: TransformerModel
  /// The last stream that is still the original's: what the earlier half-layer reads.
  let input: HookPoint

  /// - Parameters:
  ///   - path: a file of `TrainedHalfLayer.write`.
  ///   - original: the model whose half-layers they take the place of.
  ///
  /// Throws `EvaluateError.mismatch` if the file is damaged, does not fit the model, or holds other half-layers than the
  /// two next to the hook; `MemoryError` if it cannot be read.
  init(_ path: String, of original: TransformerModel, at hook: HookPoint) throws {
    let expected: [HalfLayer]
    let halves: [TrainedHalfLayer]
    do {
      expected = try [original.halfLayer(before: hook), original.halfLayer(after: hook)]
      halves = try TrainedHalfLayer.read(path, of: original)
    } catch TransformerError.malformed(_, let problem) {
      throw EvaluateError.mismatch(
        "\(path): the trained half-layers are damaged: \(problem); restore the file, or train the run again")
    } catch TransformerError.invalidRequest(let problem) {
      throw EvaluateError.mismatch("\(path): an SAE at \(hook) has no trained half-layers: \(problem)")
    } catch let error as TransformerError {
      throw EvaluateError.mismatch(
        "\(error); these are no half-layers of this model, restore the file or train the run again")
    }
    let found = halves.map(\.halfLayer)
    guard found == expected else {
      func list(_ halves: [HalfLayer]) -> String {
        halves.isEmpty ? "none" : halves.map(\.description).joined(separator: " and ")
      }
      throw EvaluateError.mismatch(
        "\(path): the half-layers next to \(hook) are \(list(expected)), the file has \(list(found)); give the file of "
          + "this run")
    }
    model = TransformerModel(original, replacing: halves)
    input = expected[0].input
  }
}
