import LinearAlgebra

/// The k largest positive pre-activations of a token (Gao et al. 2024, §2.3).
final class TopK: LatentRule {
  private let k: Int

  init(k: Int) { self.k = k }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection { .topK(k) }
}
