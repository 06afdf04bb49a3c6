/// The listed tokens of some rows, tile by tile.
private struct ListedTokens {
  struct Entry {
    let row: Int32
    /// Its place among the entries of the rows.
    let place: Int32
    let token: UInt32
  }

  /// Row i has places `starts[i]..<starts[i + 1]`.
  private(set) var starts = [0]
  private let entries: [Entry]
  /// Tile t has `entries[tiles[t]..<tiles[t + 1]]`.
  private let tiles: [Int]

  init(_ targets: BucketTargets, _ rows: [Int], vocabulary v: Int) {
    var ends = [Int](repeating: 0, count: (v + lossTileColumns - 1) / lossTileColumns + 1)
    for row in rows {
      for entry in targets.starts[row]..<targets.starts[row + 1] {
        ends[Int(targets.tokens[entry]) / lossTileColumns + 1] += 1
      }
      starts.append(starts[starts.count - 1] + targets.starts[row + 1] - targets.starts[row])
    }
    for tile in 1..<ends.count { ends[tile] += ends[tile - 1] }
    tiles = ends
    let (begins, count) = (starts, starts[rows.count])
    entries = [Entry](unsafeUninitializedCapacity: count) { buffer, written in
      for (i, row) in rows.enumerated() {
        for (place, entry) in (targets.starts[row]..<targets.starts[row + 1]).enumerated() {
          let token = targets.tokens[entry]
          let tile = Int(token) / lossTileColumns
          buffer.initializeElement(
            at: ends[tile], to: Entry(row: Int32(i), place: Int32(begins[i] + place), token: token))
          ends[tile] += 1
        }
      }
      written = count
    }
  }

  var count: Int { entries.count }
  subscript(tileAt columns: Range<Int>) -> ArraySlice<Entry> {
    let tile = columns.lowerBound / lossTileColumns
    return entries[tiles[tile]..<tiles[tile + 1]]
  }
}

extension OutputLossPiece {
  /// The listed logits leave each tile before its exponentials are taken, so that `sums` are those of the tail; the listed
  /// rows of W are added at the end. Nothing cancels: every part of q − p comes from a difference of probabilities
  /// in double precision, and the error of the gradient is that of f32 logits.
  mutating func bucketedDivergences(_ targets: BucketTargets) -> [Double] {
    let (m, d) = (rows.count, sums.columns)
    let tokens = ListedTokens(targets, rows, vocabulary: task.unembedding.rows)
    var listed = [Float](repeating: 0, count: task.students.count * tokens.count)
    forEachTile { piece, columns, padded in
      for student in piece.task.students.indices {
        for entry in tokens[tileAt: columns] {
          let row = piece.tile.row(student * m + Int(entry.row))
          let column = Int(entry.token) - columns.lowerBound
          listed[student * tokens.count + Int(entry.place)] = row[column]
          row[column] = noToken
        }
      }
      for i in 0..<piece.tile.rows {
        piece.running[i].exponentiate(
          piece.tile.row(i), padded, weighted: piece.wantsGradient ? piece.sums.row(i) : nil, width: d)
      }
    }
    var losses: [Double] = []
    for student in task.students.indices {
      for (i, row) in rows.enumerated() {
        let place = student * m + i
        let first = student * tokens.count
        let mine = listed[first + tokens.starts[i]..<first + tokens.starts[i + 1]]
        let tail = running[place]
        let found = BucketedRow(mine, tailTop: Double(tail.top), tailSum: tail.sum, targets, row)
        losses.append(found.kl)
        logSums[place] = found.logSum
        guard let gradient = task.dStates?[student].row(row) else { continue }
        let weight = task.weights?[row] ?? 1
        gradient.update(from: sums.row(place), count: d)
        multiply(gradient, by: Float(found.tailFactor) * weight, count: d)
        for (logit, entry) in zip(mine, targets.starts[row]..<targets.starts[row + 1]) {
          let difference = found.difference(logit, targets.probabilities[entry])
          accumulate(
            task.unembedding.row(Int(targets.tokens[entry])), times: Float(difference) * weight, into: gradient,
            count: d)
        }
      }
    }
    return losses
  }
}
