/// x ← x + bias for every row; bias is [1, N].
package func addBias(_ bias: Strip, to x: Strip) {
  let n = x.columns
  precondition(bias.columns == n, "a bias of \(bias.columns) for \(n) columns")
  let whole = n & ~15
  for i in 0..<x.rows {
    let row = x.row(i)
    for j in stride(from: 0, to: whole, by: 16) { row.store(row.lanes(at: j) + bias.base.lanes(at: j), at: j) }
    for j in whole..<n { row[j] += bias.base[j] }
  }
}

/// x ← x + y (+ z), elementwise, all of one shape. With z the sum is (z + y) + x.
package func add(_ y: Strip, _ z: Strip? = nil, to x: Strip) {
  let n = x.columns
  precondition(y.rows == x.rows && y.columns == n, "[\(y.rows), \(y.columns)] to [\(x.rows), \(n)]")
  precondition(z.map { $0.rows == x.rows && $0.columns == n } ?? true, "a third operand of another shape")
  let whole = n & ~15
  for i in 0..<x.rows {
    let (row, first, second) = (x.row(i), y.row(i), z?.row(i))
    for j in stride(from: 0, to: whole, by: 16) {
      var sum = first.lanes(at: j)
      if let second { sum += second.lanes(at: j) }
      row.store(sum + row.lanes(at: j), at: j)
    }
    for j in whole..<n {
      row[j] += first[j] + (second?[j] ?? 0)
    }
  }
}

/// out[i] = table[ids[i]]: the rows of an embedding.
///
/// - Parameters:
///   - table: [V, D].
///   - ids: one per row of `out`; each below V (checked).
///   - out: [ids.count, D], overwritten.
package func gatherRows(_ table: Strip, _ ids: ArraySlice<UInt32>, into out: Strip) {
  precondition(
    out.rows == ids.count && out.columns == table.columns, "\(ids.count) rows into [\(out.rows), \(out.columns)]")
  var i = 0
  for id in ids {
    precondition(Int(id) < table.rows, "row \(id) of \(table.rows)")
    out.row(i).update(from: table.row(Int(id)), count: out.columns)
    i += 1
  }
}

/// Adds the `parts` in order to the `totals` (rows without gaps), which lie in each part one after the other: gradients that
/// threads have added up on their own.
package func addSums(_ parts: [SharedMatrix], to totals: [Strip]) {
  if parts.isEmpty { return }
  let grain = 1 << 12
  var pieces: [(total: UnsafeMutablePointer<Float>, place: Int, count: Int)] = []
  var place = 0
  for total in totals {
    precondition(total.stride == total.columns || total.rows <= 1, "rows of \(total.columns), \(total.stride) apart")
    let count = total.rows * total.columns
    for start in stride(from: 0, to: count, by: grain) {
      pieces.append((total.base + start, place + start, min(grain, count - start)))
    }
    place += count
  }
  precondition(parts.allSatisfy { $0.matrix.count == place }, "parts are not of \(place) elements")
  Threads.forEach(pieces.count) { i in
    let piece = pieces[i]
    for part in parts { accumulate(part.matrix.base + piece.place, times: 1, into: piece.total, count: piece.count) }
  }
}
