import Foundation

/// Logits of a row in a tile.
let lossTileColumns = 512

/// The arguments of `outputLosses`, `nextTokens` of the teacher made into buckets.
struct OutputLossTask: Sendable {
  let students: [Strip]
  let unembedding: Strip
  let teacher: TeacherPredictions
  let nextTokens: [UInt32?]?
  let weights: [Float]?
  let dStates: [Strip]?

  /// Rows of the tile that the teacher's logits take: one in each group of rows, before those of the students.
  var teacherSlots: Int {
    if case .buckets = teacher { 0 } else { 1 }
  }
  var nSlots: Int { teacherSlots + students.count }

  /// Rows of the students that go through the vocabulary together. Enough rows in the tile make the products fast; few
  /// rows in all are still shared among threads. The same for any number of students, whose products are their own: where
  /// rows lie changes their last bits, and a student shall get what it gets alone.
  func rowsPerPiece(_ nRows: Int) -> Int {
    let most = max(64, 512 / (teacherSlots + 1) / 16 * 16)
    let nPieces = (nRows + most - 1) / most
    let shared = max(min(4, (nRows + 63) / 64), (nPieces + 3) / 4 * 4, 1)
    return max(16, ((nRows + shared - 1) / shared + 15) / 16 * 16)
  }

  func scratchCount(rows: Int) -> Int {
    rows * nSlots * (2 * unembedding.columns + lossTileColumns) + lossTileColumns
  }
}

/// Some rows on their way through the vocabulary, on one thread.
///
/// The rows of teacher and students are stacked, slot by slot: row `slot · rows.count + i` of `states`, `tile` and
/// `sums` belongs to row `rows[i]`. Slot 0 is the teacher's, if it has logits.
struct OutputLossPiece {
  let task: OutputLossTask
  let rows: [Int]
  private let states: Strip
  let tile: Strip
  /// Σ e^(z − m)·W of each row.
  let sums: Strip
  /// A row of a tile.
  let spare: UnsafeMutablePointer<Float>
  var running: [RunningSum]
  /// log Σ e^z over the vocabulary, of each row; known after the sweep.
  var logSums: [Double]
  /// The logit of the next token of each row.
  private var nextLogits: [Float]

  init(_ task: OutputLossTask, _ rows: [Int], memory: UnsafeMutablePointer<Float>) {
    let (d, stacked) = (task.unembedding.columns, task.nSlots * rows.count)
    self.task = task
    self.rows = rows
    spare = memory
    tile = Strip(base: memory + lossTileColumns, rows: stacked, columns: lossTileColumns, stride: lossTileColumns)
    sums = Strip(base: tile.base + stacked * lossTileColumns, rows: stacked, columns: d, stride: d)
    states = Strip(base: sums.base + stacked * d, rows: stacked, columns: d, stride: d)
    running = [RunningSum](repeating: RunningSum(), count: stacked)
    logSums = [Double](repeating: .nan, count: stacked)
    nextLogits = [Float](repeating: 0, count: stacked)
    sums.base.update(repeating: 0, count: stacked * d)
    var sources = task.students
    if case .states(let teacher) = task.teacher { sources.insert(teacher.matrix.strip, at: 0) }
    let first = task.nSlots - sources.count
    for (slot, source) in sources.enumerated() {
      for (i, row) in rows.enumerated() {
        states.row((first + slot) * rows.count + i).update(from: source.row(row), count: d)
      }
    }
  }

  var wantsGradient: Bool { task.dStates != nil }

  /// Calls `report` for every student and row.
  mutating func run(
    _ report: (_ student: Int, _ row: Int, _ loss: Double, _ nextToken: Double?) -> Void
  ) {
    let losses: [Double]
    if case .buckets(let targets) = task.teacher {
      losses = bucketedDivergences(targets)
    } else {
      losses = divergences()
    }
    for student in task.students.indices {
      for (i, row) in rows.enumerated() {
        let place = (task.teacherSlots + student) * rows.count + i
        let hasNext = task.nextTokens.map { $0[row] != nil } ?? false
        report(
          student, row, losses[student * rows.count + i],
          hasNext ? logSums[place] - Double(nextLogits[place]) : nil)
      }
    }
  }

  /// Calls `body` with every tile of logits, columns 0..<`padded` of `tile`, of which those beyond the vocabulary are
  /// `noToken`. It leaves e^(z − m) there, which go into `sums`. Rows of the teacher are not set if `isCoded`.
  mutating func forEachTile(_ body: (inout OutputLossPiece, _ columns: Range<Int>, _ padded: Int) -> Void) {
    let computed: Range<Int>
    if case .logits = task.teacher { computed = rows.count..<tile.rows } else { computed = 0..<tile.rows }
    let v = task.unembedding.rows
    for start in stride(from: 0, to: v, by: lossTileColumns) {
      let columns = start..<min(v, start + lossTileColumns)
      let w = task.unembedding.rows(columns)
      let logits = tile.columns(0..<columns.count)
      forEachSlot(computed) { gemm(states.rows($0), w, into: logits.rows($0), transposeB: true) }
      let padded = (columns.count + 15) & ~15
      if padded > columns.count {
        for i in 0..<tile.rows {
          (tile.row(i) + columns.count).update(repeating: noToken, count: padded - columns.count)
        }
      }
      keepNextLogits(columns)
      body(&self, columns, padded)
      if wantsGradient {
        forEachSlot(0..<tile.rows) { gemm(logits.rows($0), w, into: sums.rows($0), accumulating: true) }
      }
    }
  }

  private func forEachSlot(_ all: Range<Int>, _ body: (Range<Int>) -> Void) {
    for start in stride(from: all.lowerBound, to: all.upperBound, by: rows.count) { body(start..<start + rows.count) }
  }

  private mutating func keepNextLogits(_ columns: Range<Int>) {
    guard let nextTokens = task.nextTokens else { return }
    for (i, row) in rows.enumerated() {
      guard let token = nextTokens[row], columns.contains(Int(token)) else { continue }
      for place in stride(from: task.teacherSlots * rows.count + i, to: tile.rows, by: rows.count) {
        nextLogits[place] = tile.row(place)[Int(token) - columns.lowerBound]
      }
    }
  }
}
