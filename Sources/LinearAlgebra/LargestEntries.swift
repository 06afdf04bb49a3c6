extension EncoderTiles {
  /// The `count` largest positive entries of all tokens; of equal ones those of earlier tokens, then of lower latents.
  ///
  /// All entries above a bound are collected while their tile is in cache; if they are at least `count`, the largest are
  /// among them. The bound is the guess, or comes from a sample of tokens, or, if even that was too high, from a
  /// histogram of everything. A wrong guess costs further passes over the tiles and changes nothing else.
  func largestEntries(_ count: Int, guess: Float) -> [CodePiece] {
    let isGuess = guess > 0 && guess.isFinite
    var bound = isGuess ? guess : sampledBound(count)
    var pieces = entries(above: bound)
    if isGuess && bound > 0 && pieces.nEntries < count {
      let sampled = sampledBound(count)
      if sampled < bound {
        bound = sampled
        pieces = entries(above: bound)
      }
    }
    if bound > 0 && pieces.nEntries < count { pieces = entries(above: exactBound(count)) }
    pieces.keepLargest(count)
    return pieces
  }

  /// A bound that somewhat more than `count` entries should exceed, from at most `EncoderTiles.tokens` tokens, which are
  /// evenly spread.
  private func sampledBound(_ count: Int) -> Float {
    if tokens == 0 { return 0 }
    let step = (tokens + Self.tokens - 1) / Self.tokens
    let rows = (tokens + step - 1) / step
    let histogram = histogram(of: 0..<tokens, step: step)
    let share = (Double(count) * Double(rows) / Double(tokens)).rounded(.up)
    return histogram.bound(of: step == 1 ? count : Int(share * 1.25) + 16)
  }

  private func exactBound(_ count: Int) -> Float {
    var histograms = [MagnitudeHistogram](repeating: MagnitudeHistogram(), count: nPieces)
    histograms.withUnsafeMutableBufferPointer { histograms in
      let histograms = Shared(histograms)
      Threads.forEach(nPieces) { histograms.value[$0] = histogram(of: rows(of: $0)) }
    }
    return histograms.reduce(into: MagnitudeHistogram()) { $0.add($1) }.bound(of: count)
  }

  private func histogram(of range: Range<Int>, step: Int = 1) -> MagnitudeHistogram {
    var histogram = MagnitudeHistogram()
    let rows = (range.count + step - 1) / step
    forEach(in: range, step: step) { tile, first, width in
      for row in 0..<rows { histogram.add(tile + row * stride, bias: bias + first, count: width) }
    }
    return histogram
  }
}

extension [CodePiece] {
  var nEntries: Int { reduce(0) { $0 + $1.values.count } }

  /// Drops all but the `count` largest entries; of equal ones the earlier are kept. Values are positive.
  mutating func keepLargest(_ count: Int) {
    let total = nEntries
    if total <= count { return }
    precondition(total <= UInt32.max, "\(total) entries")
    let ends = reduce(into: [Int]()) { $0.append(($0.last ?? 0) + $1.values.count) }
    let offsets = [0] + ends.dropLast()
    // The cut lies in one bin of a histogram; within it an entry is told from others by its key.
    var histogram = MagnitudeHistogram()
    for piece in self { for value in piece.values { histogram.add(value) } }
    let (bin, above) = histogram.bin(of: count)
    var keys: [UInt64] = []
    for (piece, offset) in zip(self, offsets) {
      for (i, value) in piece.values.enumerated() where MagnitudeHistogram.bin(of: value) == bin {
        keys.append(candidateKey(value, offset + i))
      }
    }
    let wanted = count - above
    let cut = keys.withUnsafeMutableBufferPointer { keys -> UInt64 in
      guard wanted > 0, let base = keys.baseAddress else { return .max }
      selectLargest(base, count: keys.count, k: wanted)
      return keys[..<wanted].reduce(.max) { Swift.min($0, $1) }
    }
    withUnsafeMutableBufferPointer { pieces in
      let pieces = Shared(pieces)
      Threads.forEach(offsets.count) { pieces.value[$0].filter(from: cut, offset: offsets[$0]) }
    }
  }
}

extension CodePiece {
  /// Keeps the entries whose key is at least `cut`; that of entry i has the index `offset + i`.
  fileprivate mutating func filter(from cut: UInt64, offset: Int) {
    var (entry, kept) = (0, 0)
    counts.withUnsafeMutableBufferPointer { counts in
      latents.withUnsafeMutableBufferPointer { latents in
        values.withUnsafeMutableBufferPointer { values in
          for row in 0..<counts.count {
            let before = kept
            for _ in 0..<counts[row] {
              if candidateKey(values[entry], offset + entry) >= cut {
                latents[kept] = latents[entry]
                values[kept] = values[entry]
                kept += 1
              }
              entry += 1
            }
            counts[row] = Int32(kept - before)
          }
        }
      }
    }
    latents.removeLast(latents.count - kept)
    values.removeLast(values.count - kept)
  }
}

/// How many positive numbers there are of each size: bins are all with the same exponent and 7 upper bits of the
/// mantissa, so edges are at most 0.8 % apart.
struct MagnitudeHistogram {
  private var counts = [Int](repeating: 0, count: 1 << 15)

  @inline(__always) static func bin(of value: Float) -> Int { Int(value.bitPattern >> 16) }

  /// Adds one positive number.
  @inline(__always) mutating func add(_ value: Float) { counts[Self.bin(of: value)] += 1 }

  /// Adds the positive ones of `values[i] + bias[i]`.
  mutating func add(_ values: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int) {
    counts.withUnsafeMutableBufferPointer { counts in
      for i in 0..<count {
        let sum = values[i] + bias[i]
        if sum > 0 { counts[Self.bin(of: sum)] += 1 }
      }
    }
  }

  mutating func add(_ other: MagnitudeHistogram) {
    for bin in counts.indices { counts[bin] += other.counts[bin] }
  }

  /// The bin of the `rank`-th largest number, counted from 1, and how many numbers are in bins above. The lowest bin if
  /// there are fewer.
  func bin(of rank: Int) -> (bin: Int, above: Int) {
    var above = 0
    for bin in stride(from: counts.count - 1, to: 0, by: -1) {
      if above + counts[bin] >= rank { return (bin, above) }
      above += counts[bin]
    }
    return (0, above)
  }

  /// A number that at least `rank` of those added exceed, or 0, which all do.
  func bound(of rank: Int) -> Float {
    let bin = bin(of: rank).bin
    return bin == 0 ? 0 : Float(bitPattern: UInt32(bin) << 16).nextDown
  }
}
