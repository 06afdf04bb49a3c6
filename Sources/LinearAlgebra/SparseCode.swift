/// The active latents of a batch: per token a list of (latent, value), ascending by latent.
///
/// Row b is entries `starts[b]..<starts[b] + counts[b]` of `latents` and `values`; rows may leave gaps.
/// `byLatent` is the same in the other direction, for gradients: which tokens used latent j.
package struct SparseCode: Sendable {
  /// Latents there are, active or not.
  package let nLatents: Int
  package internal(set) var starts: [Int32] = []
  package internal(set) var counts: [Int32] = []
  package internal(set) var latents: [Int32] = []
  package internal(set) var values: [Float] = []
  /// dLoss/dValue per entry, where a kernel has computed it.
  package internal(set) var gradients: [Float] = []
  /// Of the tokens that were encoded, where the encoder standardized them: what decoding gives back.
  package var moments: TokenMoments?

  package init(nLatents: Int) { self.nLatents = nLatents }

  /// From explicit rows, for tests and tools.
  package init(nLatents: Int, rows: [[(latent: Int, value: Float)]]) {
    self.nLatents = nLatents
    for row in rows {
      starts.append(Int32(latents.count))
      counts.append(Int32(row.count))
      for (latent, value) in row {
        precondition(latent >= 0 && latent < nLatents, "latent \(latent) of \(nLatents)")
        latents.append(Int32(latent))
        values.append(value)
      }
    }
    gradients = [Float](repeating: 0, count: values.count)
  }

  /// Adds rows with the positive elements of `dense` [tokens, latents].
  package mutating func append(positiveOf dense: borrowing Matrix) {
    precondition(dense.columns == nLatents, "\(dense.columns) columns for \(nLatents) latents")
    for b in 0..<dense.rows {
      let start = Int32(latents.count)
      starts.append(start)
      let row = dense.base + b * nLatents
      for j in 0..<nLatents where row[j] > 0 {
        latents.append(Int32(j))
        values.append(row[j])
      }
      counts.append(Int32(latents.count) - start)
    }
    gradients = [Float](repeating: 0, count: values.count)
  }

  package var rows: Int { counts.count }

  /// Active entries of all rows together.
  package var nActive: Int { counts.reduce(0) { $0 + Int($1) } }

  /// Σ of the sizes of all active values, their ‖c‖₁, in the order of rows.
  package var sumOfValues: Double {
    values.withUnsafeBufferPointer { values in
      (0..<rows).reduce(0.0) { sum, b in
        let (start, count) = (Int(starts[b]), Int(counts[b]))
        precondition(start + count <= values.count, "entries \(start)..<\(start + count) of \(values.count)")
        guard count > 0, let row = values.baseAddress.map({ $0 + start }) else { return sum }
        var lanes = Lanes.zero
        for i in stride(from: 0, to: count & ~15, by: 16) {
          let x = row.lanes(at: i)
          lanes += x.replacing(with: -x, where: x .< 0)
        }
        return (count & ~15..<count).reduce(sum + Double(lanes.total)) { $0 + Double(abs(row[$1])) }
      }
    }
  }

  /// The smallest of all active values; nil if there are none.
  package var smallestValue: Float? {
    var smallest: Float?
    for b in 0..<rows {
      for entry in Int(starts[b])..<Int(starts[b] + counts[b]) {
        if values[entry] < smallest ?? .infinity { smallest = values[entry] }
      }
    }
    return smallest
  }

  /// The entries of one row.
  package func row(_ b: Int) -> [(latent: Int, value: Float)] {
    (Int(starts[b])..<Int(starts[b] + counts[b])).map { (Int(latents[$0]), values[$0]) }
  }

  /// Makes room for `rows` rows of at most `capacity` entries each, all empty.
  mutating func reset(rows: Int, capacity: Int) {
    let total = rows * capacity
    starts = (0..<rows).map { Int32($0 * capacity) }
    counts = [Int32](repeating: 0, count: rows)
    if latents.count < total {
      latents = [Int32](repeating: 0, count: total)
      values = [Float](repeating: 0, count: total)
      gradients = [Float](repeating: 0, count: total)
    }
  }

  /// Takes over rows that were collected piece by piece (`counts` per row, entries one after another).
  mutating func assign(pieces: [CodePiece]) {
    starts.removeAll(keepingCapacity: true)
    counts.removeAll(keepingCapacity: true)
    latents.removeAll(keepingCapacity: true)
    values.removeAll(keepingCapacity: true)
    for piece in pieces {
      for count in piece.counts {
        starts.append(Int32(starts.last.map { Int($0) + Int(counts[counts.count - 1]) } ?? 0))
        counts.append(count)
      }
      latents.append(contentsOf: piece.latents)
      values.append(contentsOf: piece.values)
    }
    gradients = [Float](repeating: 0, count: values.count)
  }

  /// Takes over the k largest entries of each row of `wider`; of equal ones those of lower latents.
  package mutating func assign(largest k: Int, ofEachRowOf wider: SparseCode) {
    precondition(wider.nLatents == nLatents && k > 0, "\(k) of \(wider.nLatents) latents for \(nLatents)")
    reset(rows: wider.rows, capacity: k)
    counts.withUnsafeMutableBufferPointer { counts in
      latents.withUnsafeMutableBufferPointer { latents in
        values.withUnsafeMutableBufferPointer { values in
          let shared = Shared((counts, latents, values))
          Threads.forEachRange(wider.rows, grain: 64) { range in
            let (counts, latents, values) = shared.value
            var keys: [UInt64] = []
            for b in range {
              let entries = Int(wider.starts[b])..<Int(wider.starts[b] + wider.counts[b])
              keys.removeAll(keepingCapacity: true)
              for entry in entries { keys.append(candidateKey(wider.values[entry], entry)) }
              let cut = keys.withUnsafeMutableBufferPointer { keys -> UInt64 in
                guard let base = keys.baseAddress, keys.count > k else { return 0 }
                selectLargest(base, count: keys.count, k: k)
                return keys[..<k].reduce(.max) { min($0, $1) }
              }
              var place = b * k
              for entry in entries where candidateKey(wider.values[entry], entry) >= cut {
                latents[place] = wider.latents[entry]
                values[place] = wider.values[entry]
                place += 1
              }
              counts[b] = Int32(place - b * k)
            }
          }
        }
      }
    }
  }

  /// Groups the entries by latent, tokens ascending within a latent: a counting sort whose pieces of 512 tokens count
  /// and place their own entries.
  ///
  /// - Parameter placing: whether places are wanted, or the number of uses alone.
  package func byLatent(placing: Bool = true) -> LatentIndex {
    let grain = 512
    let nPieces = (rows + grain - 1) / grain
    let n = nLatents
    var starts = [Int32](repeating: 0, count: n + 1)
    // Entries of each latent in each piece, then the place of the piece's first.
    var places = [Int32](repeating: 0, count: nPieces * n)
    func forEachEntry(of piece: Range<Int>, _ body: (_ row: Int, _ entry: Int, _ latent: Int) -> Void) {
      self.starts.withUnsafeBufferPointer { starts in
        counts.withUnsafeBufferPointer { counts in
          latents.withUnsafeBufferPointer { latents in
            for b in piece {
              for entry in Int(starts[b])..<Int(starts[b] &+ counts[b]) { body(b, entry, Int(latents[entry])) }
            }
          }
        }
      }
    }
    return places.withUnsafeMutableBufferPointer { places in
      let places = Shared(places)
      Threads.forEachRange(rows, grain: grain) { piece in
        let mine = places.value.baseAddress! + piece.lowerBound / grain * n
        forEachEntry(of: piece) { _, _, latent in mine[latent] &+= 1 }
      }
      var total: Int32 = 0
      for j in 0..<n {
        starts[j] = total
        for piece in 0..<nPieces {
          let count = places.value[piece * n + j]
          places.value[piece * n + j] = total
          total += count
        }
      }
      starts[n] = total
      if !placing { return LatentIndex(starts: starts, tokens: [], entries: []) }
      let nActive = Int(total)
      var entries: [Int32] = []
      let tokens = [Int32](unsafeUninitializedCapacity: nActive) { tokens, tokenCount in
        let tokens = Shared(tokens)
        entries = [Int32](unsafeUninitializedCapacity: nActive) { entries, entryCount in
          let entries = Shared(entries)
          Threads.forEachRange(rows, grain: grain) { piece in
            let mine = places.value.baseAddress! + piece.lowerBound / grain * n
            forEachEntry(of: piece) { row, entry, latent in
              let place = Int(mine[latent])
              mine[latent] &+= 1
              tokens.value[place] = Int32(truncatingIfNeeded: row)
              entries.value[place] = Int32(truncatingIfNeeded: entry)
            }
          }
          entryCount = nActive
        }
        tokenCount = nActive
      }
      return LatentIndex(starts: starts, tokens: tokens, entries: entries)
    }
  }
}

/// A sparse code grouped by latent: uses of latent j are `starts[j]..<starts[j + 1]` of `tokens` (the row) and
/// `entries` (the place in the code's `values`); both are empty where only the number of uses was wanted.
package struct LatentIndex: Sendable {
  package let starts: [Int32]
  package let tokens: [Int32]
  package let entries: [Int32]

  var hasPlaces: Bool { tokens.count == Int(starts[starts.count - 1]) }

  package func uses(of latent: Int) -> Int { Int(starts[latent + 1] - starts[latent]) }
}

extension SparseCode {
  /// The same entries with other values, one for each place of `values`.
  package func replacing(values: [Float]) -> SparseCode {
    precondition(values.count == self.values.count, "\(values.count) values for \(self.values.count)")
    var code = self
    code.values = values
    return code
  }

  /// Leaves out the entries that are not positive.
  package mutating func dropInactive() {
    for b in 0..<rows {
      var kept = Int(starts[b])
      for entry in Int(starts[b])..<Int(starts[b] + counts[b]) where values[entry] > 0 {
        (latents[kept], values[kept]) = (latents[entry], values[entry])
        kept += 1
      }
      counts[b] = Int32(kept) - starts[b]
    }
  }

  /// On how many tokens each latent has a positive value, for codes with entries that are not active. [n]
  package func positiveUses(_ index: LatentIndex) -> [Int] {
    (0..<nLatents).map { j in
      (Int(index.starts[j])..<Int(index.starts[j + 1])).reduce(0) { $0 + (values[Int(index.entries[$1])] > 0 ? 1 : 0) }
    }
  }
}

/// Rows of a code that one thread has collected.
struct CodePiece {
  var counts: [Int32] = []
  var latents: [Int32] = []
  var values: [Float] = []
}
