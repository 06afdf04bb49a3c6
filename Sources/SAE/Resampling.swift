import Foundation
import LinearAlgebra

extension SparseAutoencoder {
  /// Gives dead latents a new start (Bricken et al. 2023, "Neuron resampling"). For each a token of `x` [tokens, dIn] is drawn
  /// with a probability ∝ (‖x − x̂‖²)², x̂ as a step has it; with u = (x − bDec)/‖x − bDec‖, the direction that the encoder sees it in,
  ///
  ///     decoder row = u      encoder row = 0.2 · mean norm of the encoder rows of alive latents · u      bias = 0
  ///
  /// and what else the architecture has per latent as at the start. The paper draws from 819,200 tokens, this from one
  /// batch, so no token is drawn twice (as dictionary_learning does, whose probability is ∝ ‖x − x̂‖ and whose direction x):
  /// of more dead latents than tokens, the last stay dead. Its loss includes the penalty on latents, ours does not.
  ///
  /// Where encoder and decoder are one matrix, its row is u. Not for transcoders.
  ///
  /// - Parameter seed: decides the draw, with the batch.
  /// - Returns: the latents that were changed, ascending: their optimizer memory belongs to others, see `latentParameters`.
  package func resample(from x: borrowing Matrix, seed: UInt64) -> [Int32] {
    let dead = deadLatents
    let d = configuration.dIn
    if dead.isEmpty || dead.count == configuration.dSAE { return [] }
    let norms = squaredNorms(wEnc.value)
    let isDead = Set(dead)
    let alive = norms.indices.filter { !isDead.contains(Int32($0)) }
    let length = 0.2 * alive.reduce(0) { $0 + norms[$1].squareRoot() } / Double(alive.count)

    var centred = Matrix(uninitialized: x.rows, d)
    centre(x, into: &centred)
    let inputs = squaredNorms(centred)
    var error = reconstructAsInTraining(x)
    error.add(x, times: -1)
    // A token at bDec has no direction.
    let weights = zip(squaredNorms(error), inputs).map { $1 > 0 ? $0 * $0 : 0 }
    let drawn = SparseAutoencoder.draw(dead.count, weights: weights, seed: seed)
    let changed = Array(dead.prefix(drawn.count))
    for (latent, token) in zip(changed, drawn) {
      let scale = Float(1 / inputs[token].squareRoot())
      for i in 0..<d {
        let u = centred[token, i] * scale
        wDec.value[Int(latent), i] = u
        if dEnc === wEnc { wEnc.value[Int(latent), i] = Float(length) * u }
      }
      bEnc.value[0, Int(latent)] = 0
      activity.tokensSinceActive[Int(latent)] = 0
    }
    rule.reset(changed)
    return changed
  }

  /// x̂ of a batch with the latents that a step of training selects: those of inference are others while the running
  /// threshold of batchtopk is not known yet.
  private func reconstructAsInTraining(_ x: borrowing Matrix) -> Matrix {
    let state = rule.state
    var recon = Matrix(uninitialized: x.rows, configuration.outWidth)
    forward(x, into: &recon)
    // It was no step.
    rule.state = state
    return recon
  }

  /// Parameters with a row, or a bias with an element, per latent.
  package var latentParameters: [Parameter] {
    (dEnc === wEnc ? [wEnc, bEnc, wDec] : [wDec, bEnc]) + rule.parameters
  }

  /// At most `count` different indices, one after the other, each with a probability ∝ its weight among those not drawn
  /// yet; of weight 0 none. (Efraimidis & Spirakis 2006: the smallest of −ln(u)/w.)
  package static func draw(_ count: Int, weights: [Double], seed: UInt64) -> [Int] {
    var random = GaussianGenerator(seed: seed)
    var keys: [(key: Double, index: Int)] = []
    for (index, weight) in weights.enumerated() {
      let u = Double(random.next() >> 11) * 0x1p-53 + 0x1p-54
      if weight > 0 { keys.append((-log(u) / weight, index)) }
    }
    keys.sort { ($0.key, $0.index) < ($1.key, $1.index) }
    return keys.prefix(count).map(\.index)
  }
}
