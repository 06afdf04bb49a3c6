import ActCache
import LinearAlgebra
import Transformer

/// Whole sequences of a cache, with all that an objective needs of them. Matrices have a row per position, sequence after
/// sequence; padding included.
final class SequenceBatch {
  let nSequences: Int
  let nPositions: Int
  /// Per row, padding included.
  var tokens: [UInt32] = []
  /// Rows that are text, ascending.
  var textRows: [Int32] = []
  /// Of these, those that the SAE reconstructs; the others pass by it.
  var saeRows: [Int32] = []
  /// Per row the next token of the text, nil at its end and in padding.
  var nextTokens: [UInt32?] = []
  /// [rows, width] of every stream, raw.
  var streams: [HookPoint: SharedMatrix] = [:]
  /// [rows, dModel]: the teacher's normalised final states before the final norm's weight, of the policy `hidden`.
  var hidden: SharedMatrix?
  /// The teacher's predictions, of the policy `full`.
  var codes: CodedLogits?
  /// Those of the other policies.
  var targets: TeacherTargets?

  init(nSequences: Int, nPositions: Int) {
    (self.nSequences, self.nPositions) = (nSequences, nPositions)
  }

  var nRows: Int { nSequences * nPositions }
}
