import Dispatch
import Memory
import Synchronization

/// Turns sequences into data frames, several at once; the bytes do not depend on how many.
final class FrameEncoder: Sendable {
  /// A stream of activations, as its frames are made.
  struct Stream: Sendable {
    /// For messages.
    let name: String
    let coding: ValueCoding
    let codec: ShardCodec
  }

  /// One frame of one stream.
  struct Output: Sendable {
    let frame: EncodedFrame
    let statistics: StreamStatistics
    /// Values beyond ±65,504 that were brought back to it.
    let nSaturated: Int
  }

  private let streams: [Stream]
  private let context: Int
  private let sequencesPerFrame: Int
  private let saturates: Bool
  /// Idle contexts: making one costs as much as a small frame.
  private let idle = Mutex<[EncoderBox]>([])

  /// A context is used by one thread at a time: whoever took it out of `idle`.
  private struct EncoderBox: @unchecked Sendable {
    let encoder: ZstdEncoder
    let level: Int
  }

  /// - Parameter saturates: what f16 cannot hold becomes ±65,504 and is counted; otherwise it is an error.
  init(streams: [Stream], context: Int, sequencesPerFrame: Int, saturates: Bool = false) {
    self.streams = streams
    self.context = context
    self.sequencesPerFrame = sequencesPerFrame
    self.saturates = saturates
  }

  /// Throws `ActCacheError.unsupported` for a type or codec that this version does not know.
  convenience init(spec: CacheSpec, streams: [StreamSpec], saturates: Bool = false) throws {
    let streams = try streams.map { stream in
      Stream(name: stream.hookName ?? stream.name, coding: try stream.coding, codec: try stream.shardCodec)
    }
    self.init(
      streams: streams, context: spec.identity.tokens.context, sequencesPerFrame: spec.sequencesPerFrame,
      saturates: saturates)
  }

  /// Frames `[frame][stream]` of `block`, whose sequences begin at a frame's start.
  /// - Throws: `ActCacheError.unrepresentable` naming stream, sequence, position and channel.
  func encode(_ block: SequenceBlock) throws -> [[Output]] {
    let nStreams = streams.count
    let nFrames = (block.nSequences + sequencesPerFrame - 1) / sequencesPerFrame
    let results = Mutex([Result<Output, any Error>?](repeating: nil, count: nFrames * nStreams))
    DispatchQueue.concurrentPerform(iterations: nFrames * nStreams) { job in
      let (frame, stream) = job.quotientAndRemainder(dividingBy: nStreams)
      let output = Result { try encode(block, frame: frame, stream: stream) }
      results.withLock { $0[job] = output }
    }
    let outputs = try results.withLock { try $0.compactMap { try $0?.get() } }
    return (0..<nFrames).map { Array(outputs[($0 * nStreams)..<(($0 + 1) * nStreams)]) }
  }

  private func encode(_ block: SequenceBlock, frame: Int, stream index: Int) throws -> Output {
    let stream = streams[index]
    let width = stream.coding.width
    let first = frame * sequencesPerFrame
    let n = min(sequencesPerFrame, block.nSequences - first)
    let rowStart = first * context * width
    let activations = block.activations[index]
    let values = activations.span.extracting(rowStart..<(rowStart + n * context * width))

    func place(_ i: Int) -> String {
      let (row, channel) = i.quotientAndRemainder(dividingBy: width)
      let (sequence, position) = row.quotientAndRemainder(dividingBy: context)
      return "\(stream.name): the activation of sequence \(block.first + first + sequence), position \(position), "
        + "channel \(channel) is "
    }

    var statistics = StreamStatistics(width: width, squaredError: 0)
    for i in 0..<n {
      let nRows = Int(block.lengths[first + i])
      if let fault = statistics.add(values, from: i * context * width, nRows: nRows) {
        throw ActCacheError.unrepresentable(
          place((i * context + fault.row) * width + fault.channel)
            + "not finite; check the model's weights, or leave this hook out")
      }
    }
    var content: [UInt8]
    var nSaturated = 0
    if statistics.maxAbs >= 65_504, let i = stream.coding.firstOverflow(values) {
      guard saturates, stream.coding.type == .float(.f16) else {
        let advice = stream.coding.type == .float(.f16) ? "--dtype bf16 or f32, or with --saturate" : "--dtype f32"
        throw ActCacheError.unrepresentable(
          place(i) + "\(values[i]), too large for \(stream.coding.type.name); harvest with \(advice)")
      }
      let saturated: [Float]
      (saturated, nSaturated) = f16Saturated(values)
      content = try stream.coding.encode(saturated.span)
    } else {
      do { content = try stream.coding.encode(values) } catch {
        throw ActCacheError.unrepresentable(
          place(error.index) + "\(values[error.index]), too large for \(stream.coding.type.name) with a step of "
            + "\(stream.coding.steps[error.index % width]); harvest with --dtype bf16 or f32")
      }
    }
    addStorageError(of: values, content, stream.coding, lengths: block.lengths[first..<first + n], to: &statistics)
    let contentBytes = content.count
    if case .zstd(let level) = stream.codec {
      content = try compress(content, planeByteCount: values.count, level: level)
    }
    return Output(
      frame: EncodedFrame(bytes: content, contentBytes: contentBytes), statistics: statistics, nSaturated: nSaturated)
  }

  /// Adds what is lost between `values` and what a reader will make of `content`; padding does not count.
  private func addStorageError(
    of values: Span<Float>, _ content: [UInt8], _ coding: ValueCoding, lengths: ArraySlice<UInt32>,
    to statistics: inout StreamStatistics
  ) {
    if coding.type == .float(.f32) { return }
    let n = lengths.count * context
    var stored = [Float](repeating: 0, count: context * coding.width)
    for (i, length) in lengths.enumerated() {
      let (row, count) = (i * context, Int(length))
      content.withRawSpan { bytes in
        var output = stored.mutableSpan
        coding.decode(bytes, of: n, rows: row..<row + count, into: &output)
      }
      statistics.add(
        squaredError: ChannelSums.squaredDistance(
          values.extracting(row * coding.width..<(row + count) * coding.width), stored.span, count: count * coding.width
        ))
    }
  }

  /// Frames of teacher targets.
  func encode(_ frames: [TargetFrameContent]) throws -> [EncodedFrame] {
    let results = Mutex([Result<EncodedFrame, any Error>?](repeating: nil, count: frames.count))
    DispatchQueue.concurrentPerform(iterations: frames.count) { i in
      let frame = Result {
        EncodedFrame(
          bytes: try compress(frames[i].bytes, blockEnds: frames[i].blockEnds, level: FrameEncoder.targetLevel),
          contentBytes: frames[i].bytes.count)
      }
      results.withLock { $0[i] = frame }
    }
    return try results.withLock { try $0.compactMap { try $0?.get() } }
  }

  private static let targetLevel = 1

  private func compress(_ content: [UInt8], planeByteCount: Int, level: Int) throws -> [UInt8] {
    let plane = max(1, planeByteCount)
    return try compress(
      content, blockEnds: Array(stride(from: plane, to: max(plane, content.count), by: plane)), level: level)
  }

  private func compress(_ content: [UInt8], blockEnds: [Int], level: Int) throws -> [UInt8] {
    let taken = idle.withLock { idle in
      idle.lastIndex { $0.level == level }.map { idle.remove(at: $0) }
    }
    let box = try taken ?? EncoderBox(encoder: ZstdEncoder(level: level), level: level)
    let frame = try content.withRawSpan { (bytes: RawSpan) throws(ZstdError) in
      try box.encoder.frame(bytes, blockEnds: blockEnds)
    }
    idle.withLock { $0.append(box) }
    return frame
  }
}

/// `values` with those that f16 would make infinite brought to ±65,504, and how many they are.
func f16Saturated(_ values: Span<Float>) -> (values: [Float], count: Int) {
  var count = 0
  let largest: Float = 65_504
  let saturated = values.indices.map { i in
    let value = values[i]
    guard value.isFinite, f16Bits(value) & 0x7FFF == 0x7C00 else { return value }
    count += 1
    return value < 0 ? -largest : largest
  }
  return (saturated, count)
}
