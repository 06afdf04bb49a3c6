/// Which pre-activations become active latents.
package enum CodeSelection: Sendable, Equatable {
  /// ReLU: all that are positive.
  case positive
  /// The k largest of a token, if positive; of equal ones the lower index.
  case topK(Int)
  /// All above a bound of their latent, [n]; bounds may be negative.
  case above([Float])
  /// The `count` largest of all tokens together, if positive; of equal ones that of the earlier token, then of the lower
  /// index. `guess` is a bound that they are thought to exceed; it decides how long the search takes, not what is found,
  /// and 0 is none.
  case largest(count: Int, guess: Float)

  /// Whether the number of entries per token is bounded, whatever the pre-activations are.
  package var isBounded: Bool {
    switch self {
    case .positive, .above: false
    case .topK, .largest: true
    }
  }
}

/// preActs = x·wEncᵀ + bEnc, never stored beyond a tile of 512 tokens × 1,024 latents; the selected ones go to `code`.
///
/// - Parameters:
///   - x: [B, d].
///   - wEnc: [n, d]; row j is the encoder direction of latent j.
///   - bEnc: [1, n].
package func encodeLatents(
  _ x: Strip, _ wEnc: borrowing Matrix, bias bEnc: borrowing Matrix, selecting selection: CodeSelection,
  into code: inout SparseCode
) {
  let (tokens, d, n) = (x.rows, x.columns, wEnc.rows)
  precondition(
    wEnc.columns == d && x.stride == d && bEnc.count == n && code.nLatents == n,
    "encoder [\(n), \(wEnc.columns)], x [\(tokens), \(d)]")
  let tiles = EncoderTiles(x: x.base, wEnc: wEnc.base, bias: bEnc.base, tokens: tokens, d: d, n: n)
  switch selection {
  case .topK(let k):
    precondition(k > 0 && k <= n, "k is \(k), latents \(n)")
    code.reset(rows: tokens, capacity: k)
    code.counts.withUnsafeMutableBufferPointer { counts in
      code.latents.withUnsafeMutableBufferPointer { latents in
        code.values.withUnsafeMutableBufferPointer { values in
          let (counts, latents, values) = (Shared(counts), Shared(latents), Shared(values))
          Threads.forEach(tiles.nPieces) { piece in
            let range = tiles.rows(of: piece)
            // With one tile a row is done when it was seen: all go through the same few candidates.
            let isOneTile = n <= EncoderTiles.latents
            let selector = TopKSelector(rows: isOneTile ? 1 : range.count, k: k, of: n)
            func finish(_ row: Int, as selected: Int) {
              let b = range.lowerBound + row
              counts.value[b] = Int32(
                selector.finish(
                  row: selected, latents: latents.value.baseAddress! + b * k, values: values.value.baseAddress! + b * k)
              )
            }
            tiles.forEach(in: range) { tile, first, width in
              for row in 0..<range.count {
                selector.add(
                  tile + row * tiles.stride, bias: tiles.bias + first, count: width, first: first,
                  row: isOneTile ? 0 : row)
                if isOneTile { finish(row, as: 0) }
              }
            }
            if !isOneTile { for row in 0..<range.count { finish(row, as: row) } }
          }
        }
      }
    }
  case .positive:
    code.assign(pieces: tiles.entries(above: 0))
  case .above(let bounds):
    precondition(bounds.count == n, "\(bounds.count) bounds for \(n) latents")
    code.assign(pieces: bounds.withUnsafeBufferPointer { tiles.entries(above: 0, or: $0.baseAddress) })
  case .largest(let count, let guess):
    precondition(count >= 0, "count is \(count)")
    code.assign(pieces: tiles.largestEntries(count, guess: guess))
  }
}

/// Products of encoder and input, a tile at a time, while it is in cache.
struct EncoderTiles: @unchecked Sendable {
  // Sendable: only read from, by pieces of one loop.

  /// Tokens that one thread takes through all latents, and latents of a tile.
  static let tokens = 512
  static let latents = 1024

  /// [tokens, d]
  let x: UnsafePointer<Float>
  /// [n, d]
  let wEnc: UnsafePointer<Float>
  /// [n]
  let bias: UnsafePointer<Float>
  let tokens: Int
  let d: Int
  let n: Int

  /// From row to row of a tile: no more than is used, so that it stays in cache.
  var stride: Int { min(Self.latents, n) }

  var nPieces: Int { (tokens + Self.tokens - 1) / Self.tokens }

  func rows(of piece: Int) -> Range<Int> { piece * Self.tokens..<min(tokens, (piece + 1) * Self.tokens) }

  /// Calls `body` with the products of every `step`-th token of `range` (rows `stride` apart, without bias) and each tile of latents, ascending: `width` of them from `first` on.
  func forEach(
    in range: Range<Int>, step: Int = 1,
    _ body: (_ tile: UnsafeMutablePointer<Float>, _ first: Int, _ width: Int) -> Void
  ) {
    let rows = (range.count + step - 1) / step
    // A matrix: its memory is kept for the next.
    let memory = Matrix(uninitialized: rows, self.stride)
    let tile = memory.base
    // Read only.
    let tokens = UnsafeMutablePointer(mutating: x + range.lowerBound * d)
    let latents = UnsafeMutablePointer(mutating: wEnc)
    for first in Swift.stride(from: 0, to: n, by: Self.latents) {
      let width = min(Self.latents, n - first)
      gemm(
        Strip(base: tokens, rows: rows, columns: d, stride: d * step),
        Strip(base: latents + first * d, rows: width, columns: d, stride: d),
        into: Strip(base: tile, rows: rows, columns: width, stride: self.stride), transposeB: true)
      body(tile, first, width)
    }
    withExtendedLifetime(memory) {}
  }

  /// All entries of each piece above `bound`, or above that of their latent in `bounds`.
  func entries(above bound: Float, or bounds: UnsafePointer<Float>? = nil) -> [CodePiece] {
    var pieces = [CodePiece](repeating: CodePiece(), count: nPieces)
    pieces.withUnsafeMutableBufferPointer { pieces in
      let shared = Shared((pieces, bounds))
      Threads.forEach(nPieces) { piece in
        let (pieces, bounds) = shared.value
        let range = rows(of: piece)
        let collector = EntryCollector(rows: range.count, bound: bound, bounds: bounds)
        forEach(in: range) { tile, first, width in
          collector.add(tile, stride: stride, bias: bias + first, count: width, first: first)
        }
        pieces[piece] = collector.finish()
      }
    }
    return pieces
  }
}
