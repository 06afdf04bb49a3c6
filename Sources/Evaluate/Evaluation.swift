import ActCache
import Foundation
import LinearAlgebra
import SAE
import Transformer

/// What an SAE does to the model's predictions, and how well it reconstructs, on held-out sequences.
///
/// The scored positions of a sequence are those that predict a next token of the text: all but the last, padding
/// excluded. Reconstruction and activity count all positions of text.
package struct EvaluationResult: Codable, Sendable, Equatable {
  package var run: String
  package var hook: String
  package var architecture: String
  package var latents: Int
  /// Held-out sequences, tokens of text in them, and positions that predict a next token.
  package var sequences = 0
  package var tokens = 0
  package var scoredTokens = 0
  /// Active latents per token.
  package var l0 = 0.0
  /// Σ‖x − x̂‖² / Σ‖x − mean‖² over the held-out tokens.
  package var fvu = 0.0
  /// Mean over tokens and elements of (x − x̂)², in the cache's normalised units (raw activations times its scale),
  /// whatever normalisation the run used.
  package var mse = 0.0
  /// Latents that were active on at least one held-out token, and the rest.
  package var alive = 0
  package var dead = 0
  /// Next-token cross-entropy in nats: of the model as it is, with the reconstruction in place of the activation, and
  /// with zeros or the mean of the cache's text in its place.
  package var ceOriginal = 0.0
  package var ceSpliced = 0.0
  package var ceZeroAblated = 0.0
  package var ceMeanAblated = 0.0
  /// ceSpliced − ceOriginal; positive is worse.
  package var ceIncrease = 0.0
  /// (ablated − spliced) / (ablated − original): 1 is perfect, 0 as bad as the ablation.
  package var lossRecoveredZero = 0.0
  package var lossRecoveredMean = 0.0
  /// KL(original ‖ spliced) of the next-token distributions, nats.
  package var kl = 0.0
}

/// Evaluates SAEs of one hook together: the model runs once per held-out batch up to the hook, then once per SAE and
/// ablation from there on.
package final class Evaluation {
  package struct Subject {
    /// The name in results: the run's folder.
    package var name: String
    package var sae: any Autoencoder
    /// Of the model that the SAE was trained on, if its files say so.
    package var weightsDigest: String?

    package init(name: String, sae: any Autoencoder, weightsDigest: String? = nil) {
      self.name = name
      self.sae = sae
      self.weightsDigest = weightsDigest
    }
  }

  private let model: TransformerModel
  private let reader: HeldOutReader
  private let hook: HookPoint
  private let stream: Manifest.Stream
  /// Mean of each channel over the cache, which mean-ablation puts in.
  private let channelMean: [Double]
  private let subjects: [Subject]
  private let workspace = ForwardWorkspace()
  private let sequencesPerBatch: Int

  /// - Throws: `EvaluateError.mismatch` if model and cache, or an SAE and the hook, do not belong together.
  package init(
    _ subjects: [Subject], hook name: String, cache: CacheReader, model: TransformerModel, tokensPerBatch: Int = 2048
  ) throws {
    let digest = try model.weightsDigest()
    guard digest == cache.manifest.identity.weights else {
      throw EvaluateError.mismatch(
        "\(cache.path): made with the model of weights \(cache.manifest.identity.weights.prefix(12)), the one given has "
          + "\(digest.prefix(12)); evaluate with the model that was harvested")
    }
    self.model = model
    stream = try cache.hook(name)
    channelMean = stream.statistics?.channelMean ?? [Double](repeating: 0, count: stream.width)
    hook = try model.configuration.hook(named: name)
    for subject in subjects where subject.sae.configuration.dIn != stream.width {
      throw EvaluateError.mismatch(
        "\(subject.name): the SAE is for activations of width \(subject.sae.configuration.dIn), \(name) has "
          + "\(stream.width); evaluate it on the hook it was trained on")
    }
    for subject in subjects {
      if let trainedOn = subject.weightsDigest, trainedOn != digest {
        throw EvaluateError.mismatch(
          "\(subject.name): the SAE was trained on the model of weights \(trainedOn.prefix(12)), this one has "
            + "\(digest.prefix(12)); evaluate it with its own model and cache")
      }
    }
    reader = try HeldOutReader(cache)
    self.subjects = subjects
    sequencesPerBatch = max(1, tokensPerBatch / reader.context)
  }

  /// Sums over tokens of one SAE.
  private struct Sums {
    var squares = 0.0
    var active = 0
    var uses: [Int]
    var ce = 0.0
    var kl = 0.0
  }

  /// Runs over `limit` held-out sequences (all of them by default); `progress` hears how many are done.
  package func run(limit: Int? = nil, progress: (Int, Int) -> Void = { _, _ in }) throws -> [EvaluationResult] {
    let nSequences = min(reader.count, limit ?? reader.count)
    var sums = subjects.map { Sums(uses: [Int](repeating: 0, count: $0.sae.configuration.dSAE)) }
    var (original, zero, mean) = (0.0, 0.0, 0.0)
    var (tokens, scored) = (0, 0)
    var variance = RunningVariance(around: channelMean)
    let channelMean = channelMean.map { Float($0) }

    for start in stride(from: 0, to: nSequences, by: sequencesPerBatch) {
      let sequences = try (start..<min(nSequences, start + sequencesPerBatch)).map { try reader.sequence($0) }
      let batch = HeldOutBatch(sequences, context: reader.context)
      tokens += batch.textRows.count
      scored += batch.targets.count { $0 != nil }

      let pass = try OriginalPass(model, batch.tokens, hook: hook, workspace: workspace)
      let text = pass.activations.gather(rows: batch.textRows)
      variance.add(text)
      original += try model.crossEntropy(
        pass.finalState, targets: batch.targets, scratch: workspace.unembedding
      ).reduce(0) { $0 + Double($1) }
      let ablated = Matrix(pass.activations.rows, stream.width)
      zero += try pass.crossEntropy(replacing: ablated, targets: batch.targets)
      let means = Matrix(
        pass.activations.rows, stream.width, (0..<pass.activations.rows).flatMap { _ in channelMean })
      mean += try pass.crossEntropy(replacing: means, targets: batch.targets)

      for (i, subject) in subjects.enumerated() {
        let code = subject.sae.encode(pass.activations)
        let recon = subject.sae.decode(code)
        var error = recon.gather(rows: batch.textRows)
        error.add(text, times: -1)
        sums[i].squares += sumOfSquares(error)
        for row in batch.textRows {
          for (latent, _) in code.row(Int(row)) {
            sums[i].uses[latent] += 1
            sums[i].active += 1
          }
        }
        try pass.run(replacing: recon)
        let divergence = try model.divergence(
          original: pass.finalState, spliced: workspace.finalState, targets: batch.targets,
          scratch: workspace.unembedding)
        for (row, target) in batch.targets.enumerated() where target != nil {
          sums[i].ce += Double(divergence.spliced[row])
          sums[i].kl += Double(divergence.kl[row])
        }
      }
      progress(min(nSequences, start + sequencesPerBatch), nSequences)
    }

    for (subject, sums) in zip(subjects, sums) where !(sums.squares + sums.ce + sums.kl).isFinite {
      throw EvaluateError.mismatch(
        "\(subject.name): its reconstructions are not finite; the SAE is damaged or diverged, train it again")
    }
    guard scored > 0 else {
      throw EvaluateError.mismatch("the held-out sequences hold no position that predicts a next token")
    }
    return zip(subjects, sums).map { subject, sums in
      let shape = subject.sae.configuration
      var result = EvaluationResult(
        run: subject.name, hook: hook.name, architecture: shape.architecture.rawValue, latents: shape.dSAE)
      (result.sequences, result.tokens, result.scoredTokens) = (nSequences, tokens, scored)
      result.l0 = Double(sums.active) / Double(tokens)
      result.fvu = variance.total > 0 ? sums.squares / variance.total : 0
      result.mse = sums.squares * stream.scale * stream.scale / Double(tokens * stream.width)
      result.alive = sums.uses.count { $0 > 0 }
      result.dead = shape.dSAE - result.alive
      let n = Double(scored)
      result.ceOriginal = original / n
      result.ceSpliced = sums.ce / n
      result.ceZeroAblated = zero / n
      result.ceMeanAblated = mean / n
      result.ceIncrease = result.ceSpliced - result.ceOriginal
      result.lossRecoveredZero = (zero - sums.ce) / (zero - original)
      result.lossRecoveredMean = (mean - sums.ce) / (mean - original)
      result.kl = sums.kl / n
      return result
    }
  }
}

/// Some held-out sequences as the model takes them.
struct HeldOutBatch {
  let tokens: TokenBatch
  /// Rows that hold text rather than padding.
  let textRows: [Int32]
  /// Per row the next token of the text, nil at its end and in padding.
  let targets: [UInt32?]

  init(_ sequences: [CachedSequence], context: Int) {
    tokens = TokenBatch(ids: sequences.flatMap(\.tokens), nSequences: sequences.count, nPositions: context)
    var rows: [Int32] = []
    var targets: [UInt32?] = []
    for (s, sequence) in sequences.enumerated() {
      for position in 0..<context {
        if position < sequence.length { rows.append(Int32(s * context + position)) }
        targets.append(position + 1 < sequence.length ? sequence.tokens[position + 1] : nil)
      }
    }
    textRows = rows
    self.targets = targets
  }
}

/// Σ‖x − mean‖² over rows that come batch by batch, with sums taken around a guess of the mean so that no digits are
/// lost when the mean is large.
struct RunningVariance {
  private let center: [Double]
  private var sums: [Double]
  private var squares = 0.0
  private var count = 0

  init(around center: [Double]) {
    self.center = center
    sums = [Double](repeating: 0, count: center.count)
  }

  mutating func add(_ rows: borrowing Matrix) {
    let width = center.count
    rows.withSpan { values in
      for row in 0..<values.count / max(width, 1) {
        for i in 0..<width {
          let difference = Double(values[row * width + i]) - center[i]
          sums[i] += difference
          squares += difference * difference
        }
      }
    }
    count += rows.rows
  }

  var total: Double { squares - sums.reduce(0) { $0 + $1 * $1 } / Double(max(1, count)) }
}
