// B tokens, d width, n latents
//
// The products of a code with weights as matrix products, for codes of which so much is active that these are cheaper than
// work on entries alone. Codes go through as tiles that stay in cache; which form is taken is a function of the code
// (`SparseCode.isDense`), so results do not depend on anything else.

extension SparseCode {
  /// Share of active entries above which matrix products beat loops over entries; measured, see docs/design.md. The weights
  /// of few latents stay in cache, where their rows cost less one by one.
  var denseShare: Double { nLatents <= 512 ? 1 / 3 : 1 / 8 }

  /// Whether so many entries are active that matrix products are cheaper.
  package var isDense: Bool { rows >= 64 && Double(nActive) > denseShare * Double(rows) * Double(nLatents) }
}

/// What the products need of a code, for pieces of one loop.
struct CodeTiles: @unchecked Sendable {
  // Sendable: pieces write to entries and rows of their own.

  /// Tokens of a piece, and latents of a tile.
  static let tokens = 256
  static let latents = 1024

  let starts: UnsafePointer<Int32>
  let counts: UnsafePointer<Int32>
  let latents: UnsafePointer<Int32>
  let nLatents: Int

  @inline(__always) func entries(of token: Int) -> Range<Int> {
    Int(starts[token])..<Int(starts[token] &+ counts[token])
  }

  /// Calls `body` with each tile of the tokens `range`, ascending: latents from `first` on, and where the entries of each
  /// token among them begin and end.
  private func forEachTile(
    _ range: Range<Int>,
    _ body: (
      _ tile: Strip, _ first: Int, _ begins: UnsafeMutablePointer<Int32>, _ ends: UnsafeMutablePointer<Int32>
    ) -> Void
  ) {
    let size = range.count * min(Self.latents, nLatents)
    withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2 * range.count) { places in
      let begins = places.baseAddress!
      let ends = begins + range.count
      for row in 0..<range.count { ends[row] = starts[range.lowerBound + row] }
      let memory = UnsafeMutablePointer<Float>.allocate(capacity: size)
      defer { memory.deallocate() }
      for first in stride(from: 0, to: nLatents, by: Self.latents) {
        let width = min(Self.latents, nLatents - first)
        for row in 0..<range.count {
          let b = range.lowerBound + row
          begins[row] = ends[row]
          let end = starts[b] + counts[b]
          if first + width == nLatents {
            ends[row] = end
          } else {
            while ends[row] < end && Int(latents[Int(ends[row])]) < first + width { ends[row] += 1 }
          }
        }
        body(Strip(base: memory, rows: range.count, columns: width, stride: width), first, begins, ends)
      }
    }
  }

  /// out[b] += Σ over the entries of token b of factor · weights[latent], for the tokens `range`.
  ///
  /// - Parameters:
  ///   - factors: one per entry.
  ///   - weights: [n, d].
  ///   - out: [B, d].
  func addProducts(_ range: Range<Int>, _ factors: UnsafePointer<Float>, _ weights: Strip, to out: Strip) {
    forEachTile(range) { tile, first, begins, ends in
      tile.base.update(repeating: 0, count: tile.rows * tile.columns)
      for row in 0..<tile.rows {
        let values = tile.row(row) - first
        for entry in Int(begins[row])..<Int(ends[row]) { values[Int(latents[entry])] = factors[entry] }
      }
      gemm(tile, weights.rows(first..<first + tile.columns), into: out.rows(range), accumulating: true)
    }
  }

  /// gradients = scale · ⟨dOut[b], weights[latent]⟩ of every entry of the tokens `range`; shapes as above.
  func setGradients(
    _ range: Range<Int>, _ dOut: Strip, _ weights: Strip, scale: Float, into gradients: UnsafeMutablePointer<Float>
  ) {
    forEachTile(range) { tile, first, begins, ends in
      gemm(
        dOut.rows(range), weights.rows(first..<first + tile.columns), into: tile, transposeB: true, alpha: scale)
      for row in 0..<tile.rows {
        let products = tile.row(row) - first
        for entry in Int(begins[row])..<Int(ends[row]) { gradients[entry] = products[Int(latents[entry])] }
      }
    }
  }
}

extension CodeTiles {
  /// Latents whose sums one piece makes, by the number there is.
  static func latentsOfPiece(_ n: Int) -> Int { n < 8192 ? 128 : 512 }
  private static let tokensOfPiece = 512

  /// out[j] = Σ over the tokens b that use latent `range`[j] of factor · scale · x[b].
  ///
  /// - Parameters:
  ///   - factors: one per entry.
  ///   - x: [B, d].
  ///   - out: [range.count, d].
  ///   - totals: Σ of the factors of each latent, [range.count].
  func setSums(
    _ range: Range<Int>, _ factors: UnsafePointer<Float>, scale: Float, of x: Strip, into out: Strip,
    totals: UnsafeMutablePointer<Float>? = nil
  ) {
    let width = range.count
    let memory = UnsafeMutablePointer<Float>.allocate(capacity: width * min(Self.tokensOfPiece, x.rows))
    defer { memory.deallocate() }
    totals?.update(repeating: 0, count: width)
    for first in stride(from: 0, to: x.rows, by: Self.tokensOfPiece) {
      let rows = first..<min(first + Self.tokensOfPiece, x.rows)
      let tile = Strip(base: memory, rows: rows.count, columns: width, stride: width)
      memory.update(repeating: 0, count: rows.count * width)
      for b in rows {
        let row = tile.row(b - first)
        var entry = place(of: range.lowerBound, in: b)
        let end = Int(starts[b] + counts[b])
        while entry < end, case let j = Int(latents[entry]) - range.lowerBound, j < width {
          row[j] = factors[entry]
          entry += 1
        }
        if let totals { accumulate(row, times: 1, into: totals, count: width) }
      }
      gemm(tile, x.rows(rows), into: out, transposeA: true, alpha: scale, accumulating: first > 0)
    }
  }

  /// The first entry of token b whose latent is not below `latent`.
  private func place(of latent: Int, in b: Int) -> Int {
    var (low, count) = (Int(starts[b]), Int(counts[b]))
    while count > 0 {
      let half = (count + 1) / 2
      let isBelow = Int(latents[low + half - 1]) < latent
      low = isBelow ? low + half : low
      count = isBelow ? count - half : half - 1
    }
    return low
  }
}

extension SparseCode {
  func withTiles<R>(_ body: (CodeTiles) -> R) -> R {
    starts.withUnsafeBufferPointer { starts in
      counts.withUnsafeBufferPointer { counts in
        latents.withUnsafeBufferPointer { latents in
          body(
            CodeTiles(
              starts: starts.baseAddress!, counts: counts.baseAddress!, latents: latents.baseAddress!,
              nLatents: nLatents))
        }
      }
    }
  }

  /// Lends `gradients` for writing while the rest is read.
  mutating func withGradients<R>(_ body: (SparseCode, inout [Float]) -> R) -> R {
    var gradients: [Float] = []
    swap(&gradients, &self.gradients)
    defer { swap(&gradients, &self.gradients) }
    return body(self, &gradients)
  }
}

/// `decodeResidual` by products.
func denseResidual(
  _ code: inout SparseCode, _ wDec: Strip, target: Strip, scale: Float, into out: Strip
) -> Double {
  let (tokens, d) = (target.rows, target.columns)
  return code.withGradients { code, gradients in
    gradients.withUnsafeMutableBufferPointer { gradients in
      code.values.withUnsafeBufferPointer { values in
        code.withTiles { tiles in
          let shared = Shared((values, gradients))
          return reduce(tokens, grain: CodeTiles.tokens) { range in
            let (values, gradients) = shared.value
            for b in range { negate(target.row(b), into: out.row(b), count: d) }
            tiles.addProducts(range, values.baseAddress!, wDec, to: out)
            tiles.setGradients(range, out, wDec, scale: scale, into: gradients.baseAddress!)
            return range.reduce(0.0) { $0 + Double(dot(out.row($1), out.row($1), count: d)) }
          }
        }
      }
    }
  }
}

/// `latentGradients` by products.
func setDenseGradients(_ code: inout SparseCode, _ wDec: Strip, dOut: Strip) {
  code.withGradients { code, gradients in
    gradients.withUnsafeMutableBufferPointer { gradients in
      code.withTiles { tiles in
        let gradients = Shared(gradients)
        Threads.forEachRange(code.rows, grain: CodeTiles.tokens) {
          tiles.setGradients($0, dOut, wDec, scale: 1, into: gradients.value.baseAddress!)
        }
      }
    }
  }
}

/// out[b] += Σ over the entries of token b of factor · weights[latent].
func addDenseProducts(_ code: SparseCode, _ factors: [Float], _ weights: Strip, to out: Strip) {
  factors.withUnsafeBufferPointer { factors in
    code.withTiles { tiles in
      let factors = Shared(factors)
      Threads.forEachRange(code.rows, grain: CodeTiles.tokens) {
        tiles.addProducts($0, factors.value.baseAddress!, weights, to: out)
      }
    }
  }
}
