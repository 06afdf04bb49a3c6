import Memory

/// How the activations of one stream lie in the content of its frames, and the way there and back.
///
///     planes  [byte 0 of all values][byte 1 of all values]…     what zstd compresses
///     rows    the bytes of each value side by side              codec none: to be used where they lie
struct ValueCoding: Sendable, Equatable {
  let type: StorageType
  /// Values per row.
  let width: Int
  /// Of fixed point: the step of each channel. Empty otherwise.
  let steps: [Float]
  let isPlanar: Bool

  /// - Throws: `ActCacheError.unsupported` for what no stream can be.
  init(type: StorageType, width: Int, steps: [Float]? = nil, codec: ShardCodec) throws(ActCacheError) {
    self.type = type
    self.width = width
    isPlanar = codec != .none
    switch type {
    case .float:
      guard steps == nil else { throw .unsupported("dtype \(type.name) has no steps") }
      self.steps = []
    case .fixed:
      guard isPlanar else {
        throw .unsupported("dtype \(type.name) with codec none; choose --codec zstd:1, or --dtype bf16, f16 or f32")
      }
      guard let steps, steps.count == width, steps.allSatisfy({ $0.isFinite && $0 > 0 }) else {
        throw .unsupported(
          "dtype \(type.name) needs \(width) steps that are finite and above 0, there are \(steps?.count ?? 0)")
      }
      self.steps = steps
    }
  }

  /// Bytes of a row of a frame, wherever they lie in it.
  var rowByteCount: Int { width * type.byteCount }

  /// The content of a frame of `values`, [rows, width].
  /// - Throws: the index of the first value that fixed point cannot hold. Other types take any value, see
  ///   `firstOverflow`.
  func encode(_ values: Span<Float>) throws(ValueOverflow) -> [UInt8] {
    precondition(values.count % width == 0, "\(values.count) values are no rows of \(width)")
    let n = values.count
    var overflow: Int?
    let content = unsafe [UInt8](unsafeUninitializedCapacity: n * type.byteCount) { buffer, count in
      unsafe values.withUnsafeBufferPointer { source in
        guard let from = unsafe UnsafeRawPointer(source.baseAddress), let to = buffer.baseAddress else { return }
        switch type {
        case .float(let element) where isPlanar: unsafe BytePlanes.split(from, n, as: element, to)
        case .float(let element): unsafe ValueRows.pack(from, n, as: element, to)
        case .fixed:
          overflow = unsafe steps.withUnsafeBufferPointer { steps in
            guard let step = steps.baseAddress else { return nil }
            return unsafe FixedPoint.split(from, n / width, width, step, to)
          }
        }
      }
      count = n * type.byteCount
    }
    if let overflow { throw ValueOverflow(index: overflow) }
    return content
  }

  /// Widens rows `rows` of a frame of `n` rows into `output` from row `first` on.
  func decode(
    _ content: RawSpan, of n: Int, rows: Range<Int>, into output: inout MutableSpan<Float>, atRow first: Int = 0
  ) {
    precondition(content.byteCount == n * rowByteCount, "\(content.byteCount) bytes are not \(n) rows")
    precondition(rows.lowerBound >= 0 && rows.upperBound <= n, "rows \(rows) of a frame of \(n)")
    precondition(
      first >= 0 && (first + rows.count) * width <= output.count, "\(rows.count) rows at \(first) of \(output.count)")
    guard !rows.isEmpty else { return }
    unsafe content.withUnsafeBytes { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        if case .fixed = type {
          unsafe steps.withUnsafeBufferPointer { steps in
            for (i, row) in rows.enumerated() {
              unsafe widen(place(of: row, in: from, of: n), 1, steps.baseAddress, to + (first + i) * width)
            }
          }
        } else {
          unsafe widen(place(of: rows.lowerBound, in: from, of: n), rows.count, nil, to + first * width)
        }
      }
    }
  }

  /// Gathers rows: row i of `output` from `first` on is row `rows[i] % rowsPerFrame` of the frame in slot
  /// `rows[i] / rowsPerFrame`, which has `rowsIn[slot]` rows (the last frame of a shard may have fewer than others).
  ///
  /// The rows lie all over memory. Some at a time are first touched by loads alone, which wait for memory together;
  /// between the stores of the widening each would wait by itself, four times as long in all.
  func gather(
    _ rows: Span<TrainingRow>, from slots: FrameSlots, rowsPerFrame: Int, rowsIn: Span<Int32>,
    into output: inout MutableSpan<Float>, atRow first: Int
  ) {
    precondition(first >= 0 && (first + rows.count) * width <= output.count, "\(rows.count) rows at \(first)")
    let group = max(1, min(32, 64 * ValueCoding.lineByteCount / max(1, rowByteCount)))
    unsafe output.withUnsafeMutableBufferPointer { target in
      unsafe steps.withUnsafeBufferPointer { steps in
        unsafe withUnsafeTemporaryAllocation(of: RowPlace.self, capacity: group) { places in
          guard let to = target.baseAddress else { return }
          var start = 0
          while start < rows.count {
            let end = min(start + group, rows.count)
            var touched: UInt8 = 0
            for i in start..<end {
              let (slot, row) = Int(rows[i].value).quotientAndRemainder(dividingBy: rowsPerFrame)
              let n = Int(rowsIn[slot])
              guard row < n, let frame = unsafe slots.base(slot) else { preconditionFailure("row \(row) of \(n)") }
              let place = unsafe place(of: row, in: frame, of: n)
              unsafe places[i - start] = unsafe place
              touched ^= unsafe touch(place)
            }
            // Kept where the values come, or else nothing would be loaded.
            unsafe to[(first + start) * width] = Float(touched)
            for i in start..<end {
              unsafe widen(places[i - start], 1, steps.baseAddress, to + (first + i) * width)
            }
            start = end
          }
        }
      }
    }
  }

  private static let lineByteCount = 64

  /// Where a row lies: its first byte, and how far the same byte of the next plane is.
  @unsafe private struct RowPlace {
    let start: UnsafeRawPointer
    let planeByteCount: Int
  }

  @inline(__always) private func place(of row: Int, in frame: UnsafeRawPointer, of n: Int) -> RowPlace {
    isPlanar
      ? unsafe RowPlace(start: frame + row &* width, planeByteCount: n &* width)
      : unsafe RowPlace(start: frame + row &* rowByteCount, planeByteCount: 0)
  }

  /// Loads a byte of each cache line of a row.
  @inline(__always) private func touch(_ place: RowPlace) -> UInt8 {
    var touched: UInt8 = 0
    let (nPlanes, byteCount) = isPlanar ? (type.byteCount, width) : (1, rowByteCount)
    for plane in 0..<nPlanes {
      var i = 0
      while i < byteCount {
        touched ^= unsafe place.start.load(fromByteOffset: plane &* place.planeByteCount &+ i, as: UInt8.self)
        i &+= ValueCoding.lineByteCount
      }
    }
    return touched
  }

  /// Widens `count` rows from `place` on; one row with fixed point.
  @inline(__always) private func widen(
    _ place: RowPlace, _ count: Int, _ steps: UnsafePointer<Float>?, _ to: UnsafeMutablePointer<Float>
  ) {
    switch type {
    case .float(let element) where isPlanar:
      unsafe BytePlanes.join(place.start, place.planeByteCount, as: element, count &* width, to)
    case .float(let element):
      unsafe ValueRows.widen(place.start, as: element, count &* width, to)
    case .fixed:
      guard let steps = unsafe steps else { return }
      unsafe FixedPoint.join(place.start, place.planeByteCount, width, steps, to)
    }
  }

  /// Index of the first finite value that a float type cannot hold (it would become infinite); nil if there is none.
  func firstOverflow(_ values: Span<Float>) -> Int? {
    guard case .float(let element) = type, element != .f32 else { return nil }
    for i in values.indices {
      let value = values[i]
      guard value.isFinite else { continue }
      let isInfinite = element == .f16 ? f16Bits(value) & 0x7FFF == 0x7C00 : bf16Bits(value) & 0x7FFF == 0x7F80
      if isInfinite { return i }
    }
    return nil
  }
}

/// The first value of a frame that its type cannot hold.
struct ValueOverflow: Error, Equatable {
  let index: Int
}
