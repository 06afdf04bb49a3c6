import LinearAlgebra

/// Codes without an encoder: for each token the solution of the LASSO with a given dictionary,
///
///     min over c ≥ 0 of  ‖x − bDec − c·wDec‖² + λ·Σ c
///
/// by FISTA. Divided by dIn this is the loss that `relu` minimises (p = 1), so at the same λ no encoder can do better with
/// that decoder: a baseline for the frontier of L0 and error. For inference only.
package final class Fista: SparseCoder {
  private let dictionary: SparseAutoencoder
  private let rows: Matrix
  /// λ, and the step 1/L for a gradient whose Lipschitz constant is L = 2·σ², σ the dictionary's largest singular value.
  private let l1, step: Float
  private let tolerance: Float
  /// Steps after which a token is left as it is.
  package static let maxSteps = 5000
  /// Tokens that were not solved to the tolerance within `maxSteps`, so far.
  package private(set) var nUnsolved = 0

  package var configuration: SAEConfiguration { dictionary.configuration }
  package var kind: String { "fista" }

  /// - Parameters:
  ///   - l1: λ in units of activations that are `inputScale` times those that `encode` gets: as `--l1`. For a dictionary of
  ///     standardized tokens in units of these.
  ///   - tolerance: a token is solved when the optimality conditions hold within this share of λ.
  ///   - name: of the dictionary, for messages.
  /// - Throws: `SAEError.invalid` if λ is not positive or the dictionary is not one of the input's directions.
  package init(
    _ dictionary: any SparseCoder, l1: Float, inputScale: Float, tolerance: Float = 1e-3, name: String
  ) throws(SAEError) {
    guard l1 > 0 && l1.isFinite else { throw .invalid("fista is \(l1); λ must be positive") }
    guard let dictionary = dictionary as? SparseAutoencoder, !dictionary.configuration.isTranscoder else {
      throw .invalid(
        "fista: \(name) is \(dictionary.configuration.isTranscoder ? "a transcoder" : dictionary.kind), which has no directions "
          + "that its input is a sum of; give an SAE with a linear decoder")
    }
    self.dictionary = dictionary
    rows = dictionary.decoderRows()
    // Scaled activations and codes have squares of inputScale² and sizes of inputScale.
    self.l1 = dictionary.standardizesTokens ? l1 : l1 / inputScale
    self.tolerance = tolerance
    // Power iteration is from below.
    let square = 1.01 * largestSquaredSingularValue(rows)
    step = square > 0 ? 1 / (2 * square) : 0
  }

  package func encode(_ x: borrowing Matrix) -> SparseCode {
    let n = configuration.dSAE
    // Three matrices of this many rows, at most 16 MiB each.
    let chunk = max(1, (1 << 22) / n)
    var code = SparseCode(nLatents: n)
    var input = x.copy()
    let moments = dictionary.standardizesTokens ? standardizeTokens(&input) : nil
    for start in stride(from: 0, to: x.rows, by: chunk) {
      let range = start..<min(start + chunk, x.rows)
      var centred = Matrix(uninitialized: range.count, x.columns)
      dictionary.centre(input.copy(rows: range), into: &centred)
      code.append(positiveOf: solve(centred))
    }
    code.moments = moments
    return code
  }

  /// Codes of `x` [tokens, dIn], less bDec.
  private func solve(_ x: borrowing Matrix) -> Matrix {
    var state = FISTAState(rows: x.rows, nLatents: configuration.dSAE)
    if step == 0 { return state.code.copy() }
    var residual = Matrix(uninitialized: x.rows, x.columns)
    var gradient = Matrix(uninitialized: x.rows, configuration.dSAE)
    for _ in 0..<Self.maxSteps {
      residual.assign(x)
      gemm(state.point, rows, into: &residual, alpha: -1, accumulating: true)
      gemm(residual, rows, into: &gradient, transposeB: true, alpha: -2)
      state.advance(gradient: &gradient, step: step, l1: l1, tolerance: tolerance * l1 * step)
      if state.nUnsolved == 0 { break }
    }
    nUnsolved += state.nUnsolved
    return state.code.copy()
  }

  package func decode(_ code: SparseCode) -> Matrix { dictionary.decode(code) }
}
