import LinearAlgebra
import Memory

/// SAEs with a threshold are SAELens' `jumprelu`, which is also what it makes of its own batchtopk and matryoshka ones.
extension SAELensFormat {
  static func fileArchitecture(of sae: SparseAutoencoder) -> String {
    if sae.rule.inferenceThreshold != nil { return "jumprelu" }
    return sae.configuration.architecture == .topk ? "topk" : "standard"
  }

  /// The tensor `threshold` [dSAE] for raw activations; nil for SAEs without.
  static func thresholds(of sae: SparseAutoencoder, inputScale: Float) -> SafetensorsWriter.Tensor? {
    guard let threshold = sae.rule.inferenceThreshold else { return nil }
    let n = sae.configuration.dSAE
    return .init("threshold", shape: [n], Matrix(1, n, repeating: threshold / inputScale))
  }

  /// The one threshold of a `jumprelu` file. Throws `SAEError.damaged` if its latents have several, or if it is negative or
  /// not a number.
  static func threshold(in file: borrowing SafetensorsFile, nLatents: Int, folder: String) throws -> Float {
    let thresholds = try file.matrix("threshold", shape: [nLatents], rows: 1).values
    let first = thresholds[0]
    guard let other = thresholds.firstIndex(where: { !($0 == first && $0 >= 0) }) else { return first }
    throw SAEError.damaged(
      "\(folder)/\(weightsFile): threshold is \(first) for latent 0 and \(thresholds[other]) for latent \(other); this "
        + "program reads jumprelu with one threshold, 0 or more, for all latents")
  }
}
