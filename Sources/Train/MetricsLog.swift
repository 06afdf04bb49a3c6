import Foundation
import Memory

/// One line of `metrics.jsonl`.
package struct StepMetrics: Codable, Sendable, Equatable {
  package var step: Int
  /// Tokens trained on, this step included.
  package var tokens: Int
  package var epoch: Int
  package var loss: Double
  package var mse: Double
  package var fvu: Double
  /// Active latents per token.
  package var l0: Double
  /// Mean over tokens of ‖c‖₁ / dIn.
  package var l1: Double
  package var aux: Double
  /// Latents without activity for `dead-tokens` tokens.
  package var dead: Int
  /// Latents that were set anew after this step; nil if it is none of `resample-steps`.
  package var resampled: Int?
  package var lr: Float
  package var gradientNorm: Double
  /// Of objectives that run the model; see `ObjectiveLosses`.
  package var kl: Double?
  package var nextToken: Double?
  package var downstream: [Double]?
  package var klWithoutSAE: Double?
  package var nextTokenWithoutSAE: Double?
  /// Different sequences that this step's tokens come from, and how many they would be if the tokens were drawn at
  /// random from the window; nil where the source has no sequences.
  package var sequences: Int?
  package var sequencesExpected: Double?
  /// Since the line before.
  package var tokensPerSecond: Double
  /// Seconds spent waiting for data since the line before.
  package var secondsWaiting: Double
  /// Since this process started the run.
  package var seconds: Double
}

/// `metrics.jsonl`: one JSON object per logged step, appended as training goes.
final class MetricsLog {
  private let handle: FileHandle
  private let encoder = JSONEncoder()

  /// Opens the log for a run that goes on after `step`: lines of later steps are dropped.
  init(path: String, keepingUpTo step: Int) throws {
    encoder.outputFormatting = [.sortedKeys]
    var kept: [UInt8] = []
    if step > 0, let text = FileManager.default.contents(atPath: path) {
      for line in text.split(separator: 0x0A) {
        guard let metrics = try? JSONDecoder().decode(StepMetrics.self, from: line), metrics.step <= step else {
          continue
        }
        kept += [UInt8](line) + [0x0A]
      }
    }
    try DurableFile.write(kept, to: path)
    guard let handle = FileHandle(forWritingAtPath: path) else {
      throw TrainError.invalid("\(path): cannot be opened for writing")
    }
    try handle.seekToEnd()
    self.handle = handle
  }

  func append(_ metrics: StepMetrics) throws {
    try handle.write(contentsOf: try encoder.encode(metrics) + [0x0A])
  }

  /// The newest line of the log at `path`; nil if there is none.
  static func last(path: String) -> StepMetrics? {
    guard let text = FileManager.default.contents(atPath: path) else { return nil }
    return text.split(separator: 0x0A).last.flatMap { try? JSONDecoder().decode(StepMetrics.self, from: $0) }
  }

  deinit { try? handle.close() }
}
