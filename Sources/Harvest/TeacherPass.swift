import ActCache
import LinearAlgebra
import Memory
import Transformer

/// Turns the final states of a model into the frames of its logit streams, a tile of logits at a time, and measures
/// the error of each policy on a sample: every 16th sequence of the cache, its rounding at every 16th position.
package final class TeacherPass {
  package struct Stream: Equatable, Sendable {
    package let shape: TargetFrameShape
    package let sequencesPerFrame: Int

    package init(_ shape: TargetFrameShape, sequencesPerFrame: Int) {
      (self.shape, self.sequencesPerFrame) = (shape, sequencesPerFrame)
    }
  }

  /// Sequences of a cache, as their tokens came out of the model.
  package struct Block: Sendable {
    /// Of each sequence, in the cache.
    package var numbers: [Int]
    package var context: Int
    /// Positions of each sequence that are text.
    package var lengths: [UInt32]

    package init(numbers: [Int], context: Int, lengths: [UInt32]) {
      precondition(numbers.count == lengths.count, "\(numbers.count) numbers, \(lengths.count) lengths")
      (self.numbers, self.context, self.lengths) = (numbers, context, lengths)
    }

    /// Sequences that follow each other from `first` on.
    package init(first: Int, context: Int, lengths: [UInt32]) {
      self.init(numbers: Array(first..<first + lengths.count), context: context, lengths: lengths)
    }

    fileprivate func isText(_ row: Int) -> Bool { row % context < Int(lengths[row / context]) }
    fileprivate func isSampled(sequence: Int) -> Bool { numbers[sequence] % 16 == 0 }
    /// Whether the rounding of a row is measured.
    fileprivate func isSampled(row: Int) -> Bool {
      isText(row) && isSampled(sequence: row / context) && row % context % 16 == 0
    }
  }

  package let streams: [Stream]
  private let model: TransformerModel
  private let logits = Scratch()
  private let targets = TargetScratch()
  private let unembedding = UnembeddingScratch()

  package init(_ model: TransformerModel, streams: [Stream]) {
    self.model = model
    self.streams = streams
  }

  /// Frames `[stream][frame]` of a block whose sequences begin at a frame's start in every stream, and adds to the
  /// `errors` of the streams.
  ///
  /// - Parameter finalState: [sequences·context, dModel], as the forward pass leaves it.
  ///
  /// Throws `ActCacheError.unrepresentable` with the place of a token whose logits are not finite.
  package func frames(
    of block: Block, finalState: borrowing Matrix, errors: inout [PolicyError]
  ) throws(ActCacheError) -> [[TargetFrameContent]] {
    precondition(
      finalState.rows == block.lengths.count * block.context && errors.count == streams.count,
      "\(finalState.rows) rows for \(block.lengths.count) sequences of \(block.context)")
    var frames = streams.map { OpenFrame($0, block) }
    try model.forEachLogitTile(finalState, scratch: logits) { (tile: Strip, rows: Range<Int>) throws(ActCacheError) in
      for i in frames.indices {
        switch streams[i].shape.policy {
        case .topK(let k): try append(tile, rows, .topK(k), to: &frames[i], &errors[i])
        case .mass(let r, let cap): try append(tile, rows, .mass(r, cap: cap), to: &frames[i], &errors[i])
        case .full, .hidden: try appendAll(tile, rows, to: &frames[i], &errors[i])
        }
      }
    }
    return frames.map(\.finished)
  }

  private func append(
    _ tile: Strip, _ rows: Range<Int>, _ selection: TargetSelection, to frame: inout OpenFrame,
    _ error: inout PolicyError
  ) throws(ActCacheError) {
    let selected = selectTargets(tile, selection, scratch: targets)
    for i in 0..<rows.count {
      let entries = selected.range(of: i)
      let logProbabilities = selected.logProbabilities[entries]
      try frame.append(row: rows.lowerBound + i, exact: Array(logProbabilities), &error) {
        (encoder: inout TargetFrameEncoder) throws(TargetFault) in
        try encoder.append(
          indices: selected.tokens[entries], logProbabilities: logProbabilities, tailMass: selected.tailMasses[i],
          entropy: selected.entropies[i])
      }
    }
  }

  private func appendAll(
    _ tile: Strip, _ rows: Range<Int>, to frame: inout OpenFrame, _ error: inout PolicyError
  ) throws(ActCacheError) {
    let (logSums, entropies) = logSumExps(tile)
    for i in 0..<rows.count {
      try frame.append(
        row: rows.lowerBound + i, exact: tile.withSpan(row: i) { logProbabilities($0, logSums[i]) }, &error
      ) { (encoder: inout TargetFrameEncoder) throws(TargetFault) in
        try tile.withSpan(row: i) { (logits: Span<Float>) throws(TargetFault) in
          try encoder.append(logits: logits, logSumExp: logSums[i], entropy: entropies[i])
        }
      }
    }
  }

  private func logProbabilities(_ logits: Span<Float>, _ logSum: Double) -> [Float] {
    var values: [Float] = []
    for i in logits.indices { values.append(Float(Double(logits[i]) - logSum)) }
    return values
  }
}

extension TeacherPass {
  /// Adds to `error` what rounding the stream of `hidden` costs: the KL between the predictions from the final hidden
  /// state as it is and as it is stored.
  ///
  /// - Parameters:
  ///   - normalized: [sequences·context, dModel], the values of `ln_final.hook_normalized`.
  ///   - finalState: of the same pass.
  package func addRounding(
    of normalized: borrowing Matrix, as type: ElementType, block: Block, finalState: borrowing Matrix,
    to error: inout PolicyError
  ) throws {
    let rows = (0..<Int32(normalized.rows)).filter { block.isSampled(row: Int($0)) }
    let stored = normalized.gather(rows: rows).values.map { value in
      switch type {
      case .f32: value
      case .bf16: floatFromBF16(bf16Bits(value))
      case .f16: floatFromF16(f16Bits(value))
      }
    }
    let divergence = try model.divergence(
      original: finalState.gather(rows: rows),
      spliced: model.finalState(normalized: Matrix(rows.count, normalized.columns, stored)),
      targets: rows.map { _ in nil }, scratch: unembedding)
    // A value that f16 cannot hold is an error where the stream is written.
    for kl in divergence.kl where kl.isFinite { error.addRounding(kl: Double(kl)) }
  }
}

/// The frames of a stream that a block fills one after the other.
private struct OpenFrame {
  let stream: TeacherPass.Stream
  let block: TeacherPass.Block
  private(set) var finished: [TargetFrameContent] = []
  private var encoder: TargetFrameEncoder
  /// Log-probabilities before rounding, of those tokens of the frame that are measured.
  private var exact: [(token: Int, logProbabilities: [Float])] = []

  init(_ stream: TeacherPass.Stream, _ block: TeacherPass.Block) {
    (self.stream, self.block) = (stream, block)
    encoder = TargetFrameEncoder(stream.shape)
  }

  /// Appends the token of a row with `body`, or padding.
  mutating func append(
    row: Int, exact logProbabilities: @autoclosure () -> [Float], _ error: inout PolicyError,
    _ body: (inout TargetFrameEncoder) throws(TargetFault) -> Void
  ) throws(ActCacheError) {
    if block.isText(row) {
      do { try body(&encoder) } catch {
        throw .unrepresentable(
          "\(stream.shape.policy.stream): sequence \(block.numbers[row / block.context]), position "
            + "\(row % block.context): \(error.what); check the model's weights, or leave this policy out")
      }
      if block.isSampled(row: row) { exact.append((encoder.nTokens - 1, logProbabilities())) }
    } else {
      encoder.appendPadding()
    }
    let isLast = row + 1 == block.lengths.count * block.context
    if isLast || (row + 1) % (stream.sequencesPerFrame * block.context) == 0 { try finish(row / block.context, &error) }
  }

  private mutating func finish(_ lastSequence: Int, _ error: inout PolicyError) throws(ActCacheError) {
    let content = encoder.content()
    let n = encoder.nTokens / block.context
    let sampled = (0..<n).filter { block.isSampled(sequence: lastSequence - n + 1 + $0) }
    if !sampled.isEmpty {
      let targets = try decode(content)
      for i in sampled { error.add(targets.tokens(i * block.context..<(i + 1) * block.context)) }
      for (token, logProbabilities) in exact {
        error.addRounding(
          logProbabilities: logProbabilities,
          stored: targets.probabilities[targets.starts[token]..<targets.starts[token + 1]])
      }
    }
    finished.append(content)
    encoder = TargetFrameEncoder(stream.shape)
    exact = []
  }

  private func decode(_ content: TargetFrameContent) throws(ActCacheError) -> TeacherTargets {
    do throws(TargetFault) {
      return try stream.shape.decode(content.bytes, nTokens: encoder.nTokens)
    } catch {
      throw .unrepresentable("\(stream.shape.policy.stream): what was to be written does not read back: \(error.what)")
    }
  }
}
