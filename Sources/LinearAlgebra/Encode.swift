import COpenBLAS

/// Which pre-activations become active latents.
package enum CodeSelection: Sendable, Equatable {
  /// ReLU: all that are positive.
  case positive
  /// The k largest of a token, if positive; of equal ones the lower index.
  case topK(Int)
}

// B tokens, d input width, n latents
private let tileTokens = 512
private let tileLatents = 1024

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
  let nPieces = (tokens + tileTokens - 1) / tileTokens
  let (xBase, wBase, bias) = (x.base, wEnc.base, bEnc.base)
  func forEachTile(_ piece: Int, _ body: (_ tile: UnsafeMutablePointer<Float>, _ first: Int, _ width: Int) -> Void) {
    let rows = min(tileTokens, tokens - piece * tileTokens)
    let tile = UnsafeMutablePointer<Float>.allocate(capacity: rows * tileLatents)
    defer { tile.deallocate() }
    for first in stride(from: 0, to: n, by: tileLatents) {
      let width = min(tileLatents, n - first)
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(width), Int32(d), 1,
        xBase + piece * tileTokens * d, Int32(d), wBase + first * d, Int32(d), 0, tile, Int32(tileLatents))
      body(tile, first, width)
    }
  }

  switch selection {
  case .topK(let k):
    precondition(k > 0 && k <= n, "k is \(k), latents \(n)")
    code.reset(rows: tokens, capacity: k)
    code.counts.withUnsafeMutableBufferPointer { counts in
      code.latents.withUnsafeMutableBufferPointer { latents in
        code.values.withUnsafeMutableBufferPointer { values in
          let (counts, latents, values) = (Shared(counts), Shared(latents), Shared(values))
          Threads.forEach(nPieces) { piece in
            let rows = min(tileTokens, tokens - piece * tileTokens)
            let selector = TopKSelector(rows: rows, k: k)
            forEachTile(piece) { tile, first, width in
              for row in 0..<rows {
                selector.add(tile + row * tileLatents, bias: bias + first, count: width, first: first, row: row)
              }
            }
            for row in 0..<rows {
              let b = piece * tileTokens + row
              counts.value[b] = Int32(
                selector.finish(
                  row: row, latents: latents.value.baseAddress! + b * k, values: values.value.baseAddress! + b * k))
            }
          }
        }
      }
    }
  case .positive:
    var pieces = [CodePiece](repeating: CodePiece(), count: nPieces)
    pieces.withUnsafeMutableBufferPointer { pieces in
      let pieces = Shared(pieces)
      Threads.forEach(nPieces) { piece in
        let rows = min(tileTokens, tokens - piece * tileTokens)
        // Tiles run over latents, rows must come out whole: collect per row, join at the end.
        var perRow = [CodePiece](repeating: CodePiece(), count: rows)
        forEachTile(piece) { tile, first, width in
          for row in 0..<rows {
            collectPositive(
              tile + row * tileLatents, bias: bias + first, count: width, first: first, into: &perRow[row])
          }
        }
        var joined = CodePiece()
        for row in perRow {
          joined.counts.append(Int32(row.values.count))
          joined.latents.append(contentsOf: row.latents)
          joined.values.append(contentsOf: row.values)
        }
        pieces.value[piece] = joined
      }
    }
    code.assign(pieces: pieces)
  }
}

private func collectPositive(
  _ preActs: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int, first: Int, into row: inout CodePiece
) {
  var i = 0
  while i + 16 <= count {
    let sum = preActs.lanes(at: i) + bias.lanes(at: i)
    var bits = bitMask(sum .> 0)
    while bits != 0 {
      let lane = bits.trailingZeroBitCount
      row.latents.append(Int32(first + i + lane))
      row.values.append(preActs[i + lane] + bias[i + lane])
      bits &= bits &- 1
    }
    i += 16
  }
  while i < count {
    let sum = preActs[i] + bias[i]
    if sum > 0 {
      row.latents.append(Int32(first + i))
      row.values.append(sum)
    }
    i += 1
  }
}

/// One bit per lane: powers of 2 added up as floats, which is exact, and a few vector additions.
@inline(__always) func bitMask(_ mask: SIMDMask<SIMD16<Int32>>) -> UInt32 {
  let weights = Lanes(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
  return UInt32(Lanes.zero.replacing(with: weights, where: mask).total)
}
