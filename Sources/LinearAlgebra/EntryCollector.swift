/// Collects the entries of some tokens that are above a bound, tile after tile of latents; tokens come out whole, each
/// ascending by latent.
final class EntryCollector {
  private let rows: Int
  private let bound: Float
  /// Of each latent, in place of `bound`.
  private let bounds: UnsafePointer<Float>?
  private var latents: UnsafeMutablePointer<Int32>
  private var values: UnsafeMutablePointer<Float>
  private var capacity: Int
  private var used = 0
  /// Entries of each (tile, row), in the order in which they were added.
  private var counts: [Int32] = []

  init(rows: Int, bound: Float, bounds: UnsafePointer<Float>? = nil) {
    self.rows = rows
    self.bound = bound
    self.bounds = bounds
    capacity = 64 * rows + EncoderTiles.latents
    latents = .allocate(capacity: capacity)
    values = .allocate(capacity: capacity)
  }

  deinit {
    latents.deallocate()
    values.deallocate()
  }

  /// Adds the numbers `tile[row·stride + i] + bias[i]`, of latent `first + i`. Tiles come in ascending order.
  func add(_ tile: UnsafePointer<Float>, stride: Int, bias: UnsafePointer<Float>, count: Int, first: Int) {
    for row in 0..<rows {
      // Three places behind the last are written, too.
      if capacity - used < count + 3 { grow(by: count + 3) }
      let before = used
      add(tile + row * stride, bias: bias, count: count, first: first)
      counts.append(Int32(used - before))
    }
  }

  private func add(_ preActs: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int, first: Int) {
    // Loops of their own: the choice would be made for every vector.
    if let bounds {
      let bounds = bounds + first
      collect(preActs, bias, count, first, limits: { bounds.lanes(at: $0) }, limit: { bounds[$0] })
    } else {
      let bound = bound
      let all = Lanes(repeating: bound)
      collect(preActs, bias, count, first, limits: { _ in all }, limit: { _ in bound })
    }
  }

  @inline(__always) private func collect(
    _ preActs: UnsafePointer<Float>, _ bias: UnsafePointer<Float>, _ count: Int, _ first: Int,
    limits: (Int) -> Lanes, limit: (Int) -> Float
  ) {
    var end = used
    for i in stride(from: 0, to: count, by: 64) {
      let found = bits(at: i, count: min(64, count - i), areFew: first > 0) {
        preActs.lanes(at: $0) + bias.lanes(at: $0) .> limits($0)
      } isOneWanted: {
        preActs[$0] + bias[$0] > limit($0)
      }
      if found == 0 { continue }
      end = append(found, first: first &+ i, { preActs[i &+ $0] + bias[i &+ $0] }, to: latents, values, at: end)
    }
    used = end
  }

  private func grow(by count: Int) {
    capacity = 2 * capacity + count
    let (oldLatents, oldValues) = (latents, values)
    latents = .allocate(capacity: capacity)
    values = .allocate(capacity: capacity)
    latents.update(from: oldLatents, count: used)
    values.update(from: oldValues, count: used)
    oldLatents.deallocate()
    oldValues.deallocate()
  }

  /// The rows: those of all tiles, put together.
  func finish() -> CodePiece {
    var starts = counts
    var sum: Int32 = 0
    for segment in starts.indices { (starts[segment], sum) = (sum, sum + starts[segment]) }
    var piece = CodePiece()
    piece.counts.reserveCapacity(rows)
    piece.latents = [Int32](unsafeUninitializedCapacity: used) { joined, initialized in
      var place = 0
      for row in 0..<rows {
        let before = place
        for segment in stride(from: row, to: counts.count, by: rows) {
          for i in 0..<Int(counts[segment]) { joined[place + i] = latents[Int(starts[segment]) + i] }
          place += Int(counts[segment])
        }
        piece.counts.append(Int32(place - before))
      }
      initialized = place
    }
    piece.values = [Float](unsafeUninitializedCapacity: used) { joined, initialized in
      var place = 0
      for row in 0..<rows {
        for segment in stride(from: row, to: counts.count, by: rows) {
          for i in 0..<Int(counts[segment]) { joined[place + i] = values[Int(starts[segment]) + i] }
          place += Int(counts[segment])
        }
      }
      initialized = place
    }
    return piece
  }
}
