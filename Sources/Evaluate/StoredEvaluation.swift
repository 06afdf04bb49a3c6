import ActCache
import Foundation
import Memory
import Transformer

/// `eval.json` in a run's folder: its newest evaluation, with the sums, and what it is of.
package struct StoredEvaluation: Codable, Sendable {
  /// Everything that decides the numbers of an evaluation but this program.
  package struct Key: Codable, Sendable, Equatable {
    /// Raised when numbers change their meaning.
    package var version = 2
    /// SHA-256 of the model's weights, and of its configuration: together they are the model.
    package var weights: String
    package var modelConfiguration: String
    /// The cache: its base key, its text, and which of its sequences are held out.
    package var cache: String
    package var text: String
    package var heldOut: String
    /// Held-out sequences used.
    package var sequences: Int
    /// SHA-256 over the SAE's files: its weights, its kind, and the hooks that it reads and makes.
    package var sae: String
    /// SHA-256 of the half-layers that were trained beside it; nil where none were.
    package var halfLayers: String?

    /// - Parameters:
    ///   - run: a run's folder.
    ///   - limit: held-out sequences to use; nil: all.
    package init(run: String, cache: CacheReader, limit: Int?) throws {
      let manifest = cache.manifest
      // An evaluation is of the cache's own model, or refused.
      weights = manifest.identity.weights
      modelConfiguration = CanonicalJSON.hexDigest(of: Array(manifest.identity.modelConfiguration.utf8))
      self.cache = manifest.baseKey
      text = manifest.generations.last?.chain ?? ""
      heldOut = CanonicalJSON.hexDigest(of: manifest.heldOut.flatMap { "\($0),".utf8 })
      sequences = min(manifest.heldOut.count, limit ?? manifest.heldOut.count)
      var bytes: [UInt8] = []
      for name in try FileManager.default.contentsOfDirectory(atPath: "\(run)/sae").sorted() {
        bytes += try MappedFile(path: "\(run)/sae/\(name)").copyOfBytes()
      }
      sae = CanonicalJSON.hexDigest(of: bytes)
      let path = "\(run)/\(TrainedHalfLayer.fileName)"
      if FileManager.default.fileExists(atPath: path) {
        halfLayers = CanonicalJSON.hexDigest(of: try MappedFile(path: path).copyOfBytes())
      }
    }
  }

  package var key: Key
  package var evaluated: Evaluation.Evaluated

  package init(_ evaluated: Evaluation.Evaluated, key: Key) {
    (self.evaluated, self.key) = (evaluated, key)
  }

  private static func path(_ run: String) -> String { "\(run)/eval.json" }

  /// Replaces the evaluation in the run's folder.
  package func save(in run: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try DurableFile.write([UInt8](try encoder.encode(self)), to: Self.path(run))
  }

  /// The evaluation in the run's folder; nil if there is none, or one of something else.
  package static func load(run: String, key: Key) -> Evaluation.Evaluated? {
    guard let text = FileManager.default.contents(atPath: path(run)),
      var stored = try? JSONDecoder().decode(Self.self, from: text), stored.key == key
    else { return nil }
    // The folder may have been moved.
    stored.evaluated.result.run = run
    return stored.evaluated
  }
}
