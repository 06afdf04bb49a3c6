import ActCache
import Memory

/// A model that harvesting can run.
package protocol ActivationSource {
  /// SHA-256 over the weights, hex, independent of how they lie in files.
  var weightsDigest: String { get throws }
  /// The configuration in a form that is equal for equal models.
  var configurationDescription: String { get }
  /// Arithmetic of the forward pass, for instance "f32 openblas".
  var numerics: String { get }
  var nVocabulary: Int { get }
  /// The longest sequence that the model takes.
  var maxContext: Int { get }

  /// Values per position at `hook`. Throws an error that names the valid hooks for an unknown one.
  func width(of hook: String) throws -> Int

  /// Runs the model on `nSequences` sequences of equal length and lends the values at each of `hooks`, in any order:
  /// `observe(i, rows)` for hook number i with [tokens.count, width] values, row-major.
  ///
  /// - Parameter teacher: what to make of the predictions; nil for nothing.
  /// - Returns: that; nil if nothing was asked for.
  func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], teacher: TeacherRequest?,
    observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws -> TeacherOutput?
}

extension ActivationSource {
  /// The same for values at hooks alone.
  package func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws {
    _ = try run(tokens: tokens, nSequences: nSequences, hooks: hooks, teacher: nil, observe: observe)
  }
}

/// Which teacher targets a forward pass is to give.
package struct TeacherRequest: Sendable {
  /// Policies that keep targets.
  package let streams: [TeacherPass.Stream]
  /// Of the stream `hidden`: how it rounds.
  package let hidden: ElementType?
  /// Which sequences they are.
  package let block: TeacherPass.Block
}

/// The teacher targets of a forward pass.
package struct TeacherOutput: Sendable {
  /// For each stream its frames.
  package var frames: [[TargetFrameContent]]
  /// For each stream what it loses, measured on a sample.
  package var errors: [PolicyError]
  package var hiddenError = PolicyError()
}

/// What turns text into token ids for harvesting.
package protocol TextTokenizer: Sendable {
  var bosID: UInt32? { get }
  /// The token that ends a document.
  var eosID: UInt32? { get }
  /// True if texts are meant to begin with BOS.
  var addsBOS: Bool { get }
  /// SHA-256 of all that decides the ids, hex.
  var digest: String { get }

  /// A function that appends the ids of a text (UTF-8, no special tokens added) to a list; for one thread at a time.
  func makeEncoder() -> (_ text: ArraySlice<UInt8>, _ ids: inout [UInt32]) -> Void
}
