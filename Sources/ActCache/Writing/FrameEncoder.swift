import Dispatch
import Memory
import Synchronization

/// Turns sequences into data frames, several at once; the bytes do not depend on how many.
final class FrameEncoder: Sendable {
  private let spec: CacheSpec
  private let streams: [StreamSpec]
  /// Idle contexts: making one costs as much as a small frame.
  private let idle = Mutex<[EncoderBox]>([])

  /// A context is used by one thread at a time: whoever took it out of `idle`.
  private struct EncoderBox: @unchecked Sendable { let encoder: ZstdEncoder }

  /// One frame of one stream.
  struct Output: Sendable {
    let frame: EncodedFrame
    let statistics: StreamStatistics
  }

  init(spec: CacheSpec, streams: [StreamSpec]) {
    self.spec = spec
    self.streams = streams
  }

  /// Frames `[frame][stream]` of `block`, whose sequences begin at a frame's start.
  func encode(_ block: SequenceBlock) throws -> [[Output]] {
    let nHooks = streams.count
    let nFrames = (block.nSequences + spec.sequencesPerFrame - 1) / spec.sequencesPerFrame
    let results = Mutex([Result<Output, any Error>?](repeating: nil, count: nFrames * nHooks))
    DispatchQueue.concurrentPerform(iterations: nFrames * nHooks) { job in
      let (frame, hook) = job.quotientAndRemainder(dividingBy: nHooks)
      let output = Result { try encode(block, frame: frame, hook: hook) }
      results.withLock { $0[job] = output }
    }
    let outputs = try results.withLock { try $0.compactMap { try $0?.get() } }
    return (0..<nFrames).map { Array(outputs[($0 * nHooks)..<(($0 + 1) * nHooks)]) }
  }

  private func encode(_ block: SequenceBlock, frame: Int, hook index: Int) throws -> Output {
    let hook = streams[index]
    let name = hook.hookName ?? hook.name
    let context = spec.identity.tokens.context
    guard case .float(let type) = hook.type, case .zstd(let level) = ShardCodec(hook.codec) else {
      throw ActCacheError.unsupported("dtype \(hook.dtype) with codec \(hook.codec)")
    }
    let first = frame * spec.sequencesPerFrame
    let n = min(spec.sequencesPerFrame, block.nSequences - first)
    let rowStart = first * context * hook.width
    let activations = block.activations[index]
    let all = activations.span
    let values = all.extracting(rowStart..<(rowStart + n * context * hook.width))

    var statistics = StreamStatistics(width: hook.width)
    for i in 0..<n {
      let nRows = Int(block.lengths[first + i])
      if let place = statistics.add(values, from: i * context * hook.width, nRows: nRows) {
        throw ActCacheError.unrepresentable(
          "\(name): the activation of sequence \(block.first + first + i), position \(place.row), channel "
            + "\(place.channel) is not finite; check the model's weights, or leave this hook out")
      }
    }
    if type != .f32, statistics.maxAbs >= 65_504, let i = BytePlanes.firstOverflow(values, as: type) {
      let (row, channel) = i.quotientAndRemainder(dividingBy: hook.width)
      let (sequence, position) = row.quotientAndRemainder(dividingBy: context)
      throw ActCacheError.unrepresentable(
        "\(name): the activation of sequence \(block.first + first + sequence), position \(position), channel "
          + "\(channel) is \(values[i]), too large for \(hook.dtype); harvest with --dtype bf16 or f32")
    }
    let planes = BytePlanes.split(values, as: type)
    let bytes = try compress(planes, planeByteCount: values.count, level: level)
    return Output(frame: EncodedFrame(bytes: bytes, contentBytes: planes.count), statistics: statistics)
  }

  private func compress(_ content: [UInt8], planeByteCount: Int, level: Int) throws -> [UInt8] {
    let box = try idle.withLock { $0.popLast() } ?? EncoderBox(encoder: ZstdEncoder(level: level))
    let frame = try content.withRawSpan { (bytes: RawSpan) throws(ZstdError) in
      try box.encoder.frame(bytes, planeByteCount: planeByteCount)
    }
    idle.withLock { $0.append(box) }
    return frame
  }
}
