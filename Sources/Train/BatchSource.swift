import ActCache
import LinearAlgebra
import SAE

/// Where a run's batches come from; batch i is a function of i alone.
package protocol BatchSource {
  /// Width of the activations.
  var width: Int { get }
  /// Tokens of one pass over the data.
  var tokensPerEpoch: Int { get }
  /// The factor that brings raw activations to ‖x‖² ≈ width.
  var normalizationScale: Double { get }
  /// Of a source for transcoders, the width of what they make, and its factor; nil for others.
  var target: TargetShape? { get }
  /// Seconds that `read` has waited for data so far.
  var secondsWaited: Double { get }
  var provenance: SAELensFormat.Provenance { get }
  /// What the batches are made from; a run goes on only with the same.
  var identity: DataIdentity { get }
  /// Fills `batch` [tokens, width] with raw activations.
  func read(batch index: Int, into batch: inout Matrix) throws
  /// The same with the raw activations of the same tokens at the target hook, `target` [tokens, its width].
  func read(batch index: Int, into batch: inout Matrix, target: inout Matrix) throws
  /// What `read` does while it does not wait.
  var reading: Activity { get }
  /// Of how many sequences the tokens of a batch come; nil where that means nothing.
  func mixing(batch index: Int) -> BatchMixing?
  /// What other threads did for this source; `origin` as for `LapTimer`.
  func lanes(since origin: UInt64) -> [Lane]
}

extension BatchSource {
  package var reading: Activity { .gather }
  package var target: TargetShape? { nil }
  package func read(batch index: Int, into batch: inout Matrix, target: inout Matrix) throws {
    try read(batch: index, into: &batch)
  }
  package func mixing(batch index: Int) -> BatchMixing? { nil }
  package func lanes(since origin: UInt64) -> [Lane] { [] }
}

/// What a transcoder makes.
package struct TargetShape: Sendable {
  package var width: Int
  /// The factor that brings raw activations to ‖y‖² ≈ width.
  package var normalizationScale: Double

  package init(width: Int, normalizationScale: Double) {
    (self.width, self.normalizationScale) = (width, normalizationScale)
  }
}

/// Decides every batch, together with the seed: which activations, of which text, in which order.
package struct DataIdentity: Codable, Equatable, Sendable {
  /// Key of the stream: model, tokenizer, token settings, hook and storage type.
  package var stream: String
  /// Key of the stream at a transcoder's target hook.
  package var target: String?
  /// Chain over the tokens.
  package var text: String
  package var sequences: Int
  package var heldOut: Int
  /// Frames that are shuffled together.
  package var windowFrames: Int
  /// Frames that were left out because they were damaged; nil if there were none.
  package var skipped: [SkippedFrame]?
  /// Of objectives that run the model: keys of all streams that their sequences are read from.
  package var streams: [String]?
  /// Tokens left out because of their norm; nil if there is no such limit.
  package var outliers: Outliers?
  /// Where the weights came from. Not a part of the data, and no later process needs to agree on it.
  package var initial: InitialSAE?

  package struct Outliers: Codable, Equatable, Sendable {
    /// ‖x‖ above which tokens are left out.
    package var maxNorm: Double
    package var tokens: Int

    package init(maxNorm: Double, tokens: Int) {
      self.maxNorm = maxNorm
      self.tokens = tokens
    }
  }

  /// The SAE that a run began from (`--init RUN`).
  package struct InitialSAE: Codable, Equatable, Sendable {
    package var path: String
    /// SHA-256 of its file of weights.
    package var weights: String
    /// SHA-256 of the file of half-layers that were trained with it; nil where none were.
    package var halfLayers: String?
  }

  enum CodingKeys: String, CodingKey {
    case stream, target, text, sequences, heldOut, windowFrames, skipped, streams, outliers
    case initial = "init"
  }

  package init(
    stream: String, target: String? = nil, text: String, sequences: Int, heldOut: Int, windowFrames: Int,
    skipped: [SkippedFrame]? = nil, outliers: Outliers? = nil
  ) {
    self.stream = stream
    self.target = target
    self.text = text
    self.sequences = sequences
    self.heldOut = heldOut
    self.windowFrames = windowFrames
    self.skipped = skipped
    self.outliers = outliers
  }
}
