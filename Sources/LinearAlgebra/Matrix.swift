import Foundation
import Synchronization

/// A row-major [rows, columns] matrix of f32 that owns its memory; rows follow one another without gaps.
///
/// Aligned to 64 bytes; large ones ask for huge pages. Element access is bounds-checked and slow: loops belong
/// in this module's kernels.
package struct Matrix: ~Copyable, @unchecked Sendable {
  // Sendable: sole owner of its memory.
  package let rows: Int
  package let columns: Int
  let base: UnsafeMutablePointer<Float>
  private let isOwner: Bool

  package var count: Int { rows * columns }

  /// Memory as the system gives it: every element must be written before it is read.
  package init(uninitialized rows: Int, _ columns: Int) {
    precondition(rows >= 0 && columns >= 0, "shape [\(rows), \(columns)]")
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    precondition(!overflow && count < 1 << 60, "shape [\(rows), \(columns)] is too large")
    self.rows = rows
    self.columns = columns
    base = allocateFloats(count)
    isOwner = true
  }

  /// Lends `values`, row by row, as a matrix that cannot be changed: no copy is made, so the rows of a mapped file go into
  /// a product as they lie there.
  package static func withBorrowed<R, E: Error>(
    _ values: Span<Float>, columns: Int, _ body: (borrowing Matrix) throws(E) -> R
  ) throws(E) -> R {
    precondition(columns > 0 && values.count % columns == 0, "\(values.count) values in rows of \(columns)")
    return try values.withUnsafeBufferPointer { (buffer) throws(E) -> R in
      // Never written to: `body` cannot change what it borrows.
      let base = UnsafeMutablePointer(mutating: buffer.baseAddress) ?? UnsafeMutablePointer(bitPattern: 64)
      guard let base else { preconditionFailure("no address") }
      return try body(Matrix(borrowing: base, rows: values.count / columns, columns: columns))
    }
  }

  private init(borrowing base: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
    (self.rows, self.columns) = (rows, columns)
    self.base = base
    isOwner = false
  }

  /// All elements `value`.
  package init(_ rows: Int, _ columns: Int, repeating value: Float = 0) {
    self.init(uninitialized: rows, columns)
    base.update(repeating: value, count: count)
  }

  /// A copy of `values`, row by row.
  package init(_ rows: Int, _ columns: Int, _ values: [Float]) {
    precondition(values.count == rows * columns, "\(values.count) values for shape [\(rows), \(columns)]")
    self.init(uninitialized: rows, columns)
    values.withUnsafeBufferPointer { if let source = $0.baseAddress { base.update(from: source, count: values.count) } }
  }

  deinit { if isOwner { FreeBlocks.give(base, byteCount: byteCount(count)) } }

  package func copy() -> Matrix {
    let other = Matrix(uninitialized: rows, columns)
    other.base.update(from: base, count: count)
    return other
  }

  /// A copy of some rows.
  package func copy(rows range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    let other = Matrix(uninitialized: range.count, columns)
    other.base.update(from: base + range.lowerBound * columns, count: other.count)
    return other
  }

  package mutating func fill(_ value: Float) { base.update(repeating: value, count: count) }

  /// Overwrites all elements with those of `other`, of the same shape.
  package mutating func assign(_ other: borrowing Matrix) {
    precondition(
      rows == other.rows && columns == other.columns, "[\(other.rows), \(other.columns)] into [\(rows), \(columns)]")
    let (source, target) = (other.base, base)
    Threads.forEachRange(count, grain: 1 << 16) {
      (target + $0.lowerBound).update(from: source + $0.lowerBound, count: $0.count)
    }
  }

  /// Overwrites the elements from the first on with `values`, row by row.
  package mutating func assign(first values: borrowing Span<Float>) {
    precondition(values.count <= count, "\(values.count) values into [\(rows), \(columns)]")
    values.withUnsafeBufferPointer { if let source = $0.baseAddress { base.update(from: source, count: $0.count) } }
  }

  package subscript(row: Int, column: Int) -> Float {
    get {
      precondition(
        row >= 0 && row < rows && column >= 0 && column < columns, "[\(row), \(column)] of [\(rows), \(columns)]")
      return base[row * columns + column]
    }
    set {
      precondition(
        row >= 0 && row < rows && column >= 0 && column < columns, "[\(row), \(column)] of [\(rows), \(columns)]")
      base[row * columns + column] = newValue
    }
  }

  /// All elements, row by row.
  package var values: [Float] { Array(UnsafeBufferPointer(start: base, count: count)) }

  /// Lends all elements, row by row.
  package borrowing func withSpan<R, E: Error>(_ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
    try body(UnsafeBufferPointer(start: base, count: count).span)
  }

  /// Lends some rows.
  package borrowing func withSpan<R, E: Error>(
    rows range: Range<Int>, _ body: (Span<Float>) throws(E) -> R
  ) throws(E) -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    return try body(UnsafeBufferPointer(start: base + range.lowerBound * columns, count: range.count * columns).span)
  }

  /// Lends all elements, row by row, for writing.
  package mutating func withMutableSpan<R, E: Error>(
    _ body: (inout MutableSpan<Float>) throws(E) -> R
  ) throws(E) -> R {
    var span = UnsafeMutableBufferPointer(start: base, count: count).mutableSpan
    return try body(&span)
  }

  /// Lends some rows, for writing.
  package mutating func withMutableSpan<R, E: Error>(
    rows range: Range<Int>, _ body: (inout MutableSpan<Float>) throws(E) -> R
  ) throws(E) -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    var span = UnsafeMutableBufferPointer(start: base + range.lowerBound * columns, count: range.count * columns)
      .mutableSpan
    return try body(&span)
  }
}

private func byteCount(_ count: Int) -> Int { max(64, (count * 4 + 63) & ~63) }

/// 64-byte aligned memory for `count` floats; from 4 MiB on aligned to 2 MiB and offered to the kernel for huge
/// pages, which spare the kernels most of their TLB misses.
private func allocateFloats(_ count: Int) -> UnsafeMutablePointer<Float> {
  let byteCount = byteCount(count)
  if let kept = FreeBlocks.take(byteCount: byteCount) { return kept }
  let isLarge = byteCount >= 4 << 20
  var pointer: UnsafeMutableRawPointer?
  let code = posix_memalign(&pointer, isLarge ? 2 << 20 : 64, byteCount)
  guard code == 0, let pointer else {
    preconditionFailure("out of memory: \(byteCount) bytes for a matrix")
  }
  #if os(Linux)
    if isLarge { madvise(pointer, byteCount, Int32(MADV_HUGEPAGE)) }
  #endif
  return pointer.bindMemory(to: Float.self, capacity: count)
}

/// Memory of matrices that are gone, for the next of the same size: what goes back to the system comes anew page by page,
/// each filled with zeros first, which took a third of small training steps. The last few are kept, 64 MiB in all.
private enum FreeBlocks {
  // Sendable: a block belongs to nobody while it is in here.
  private struct Block: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Float>
    let byteCount: Int
  }
  private static let sizes = 256 << 10...16 << 20
  private static let most = 64 << 20
  private static let blocks = Mutex<[Block]>([])

  static func take(byteCount: Int) -> UnsafeMutablePointer<Float>? {
    guard sizes.contains(byteCount) else { return nil }
    return blocks.withLock { blocks in
      blocks.lastIndex { $0.byteCount == byteCount }.map { blocks.remove(at: $0).pointer }
    }
  }

  static func give(_ pointer: UnsafeMutablePointer<Float>, byteCount: Int) {
    guard sizes.contains(byteCount) else { return free(pointer) }
    let block = Block(pointer: pointer, byteCount: byteCount)
    let old = blocks.withLock { blocks -> [Block] in
      blocks.append(block)
      var kept = blocks.reduce(0) { $0 + $1.byteCount }
      var old: [Block] = []
      while kept > most {
        kept -= blocks[0].byteCount
        old.append(blocks.removeFirst())
      }
      return old
    }
    for block in old { free(block.pointer) }
  }
}
