import Memory

/// Tokens and activations of whole sequences of one kind: `TrainingSequence` or `HeldOutSequence`.
final class SequenceSource<Sequence: SplitSequence> {
  private let cache: CacheReader
  private let tokens: TokenStream
  private let decoder: FrameDecoder
  /// What was read last of each stream.
  private var loaded: [String: Loaded] = [:]
  /// The last frames of targets, as probabilities and as codes.
  private var targets: LastFrame<TeacherTargets>?
  private var codes: LastFrame<CodedTargets>?

  private struct LastFrame<Content> {
    let path: String
    let frame: Int
    let all: Content
  }

  private struct Loaded {
    let coding: ValueCoding
    var frame = -1
    var shard: ShardReader?
    /// The content of the frame, where it is not used where it lies.
    var content = FrameBuffer.none
    /// Bytes of the content.
    var count = 0
  }

  init(_ cache: CacheReader) throws {
    self.cache = cache
    tokens = try TokenStream(cache)
    decoder = try FrameDecoder()
  }

  func tokens(of sequence: Sequence) throws -> (tokens: [UInt32], length: Int) {
    try tokens.sequence(sequence.number)
  }

  /// Fills `output`, [context, width], with the activations of a sequence.
  func read(_ sequence: Sequence, stream name: String, into output: inout MutableSpan<Float>) throws {
    let context = cache.manifest.context
    try withContent(sequence, name) { content, nRows, row, coding in
      precondition(
        output.count == context * coding.width, "\(output.count) values for a sequence of \(context) × \(coding.width)")
      coding.decode(content, of: nRows, rows: row..<(row + context), into: &output)
    }
  }

  /// Lends the activations of a sequence, [context, width]: where they lie, if the cache is mapped and keeps them as f32
  /// without compression.
  func withActivations<R>(_ sequence: Sequence, stream name: String, _ body: (Span<Float>) throws -> R) throws -> R {
    let context = cache.manifest.context
    return try withContent(sequence, name) { content, nRows, row, coding in
      if !coding.isPlanar, coding.type == .float(.f32) {
        let start = row * coding.rowByteCount
        return try content.extracting(start..<(start + context * coding.rowByteCount)).withFloats(body)
      }
      var values = [Float](repeating: 0, count: context * coding.width)
      var output = values.mutableSpan
      coding.decode(content, of: nRows, rows: row..<(row + context), into: &output)
      return try body(values.span)
    }
  }

  /// Lends the content of the sequence's frame; `body` also gets how many rows it has and the sequence's first.
  private func withContent<R>(
    _ sequence: Sequence, _ name: String, _ body: (RawSpan, Int, Int, ValueCoding) throws -> R
  ) throws -> R {
    let context = cache.manifest.context
    let frame = cache.frame(ofSequence: sequence.number)
    let sequences = cache.sequences(ofFrame: frame)
    let row = (sequence.number - sequences.lowerBound) * context
    var hook = try loaded.removeValue(forKey: name) ?? Loaded(coding: cache.coding(ofStream: name))
    defer { loaded[name] = hook }
    let place = cache.place(ofFrame: frame)
    if hook.frame != frame {
      hook.frame = -1
      let shard = try cache.shard(place.shard, of: name)
      hook.count = shard.contentBytes(ofFrame: place.frame)
      if shard.lendsFrames {
        try shard.check(frame: place.frame, with: decoder)
      } else {
        if hook.content.count < hook.count { hook.content = FrameBuffer(count: hook.count) }
        try hook.content.withMutableBytes(0..<hook.count) { output in
          try shard.decode(frame: place.frame, with: decoder, into: &output)
        }
      }
      hook.shard = shard
      hook.frame = frame
    }
    let nRows = sequences.count * context
    guard let shard = hook.shard, shard.lendsFrames else {
      return try hook.content.withBytes(0..<hook.count) { try body($0, nRows, row, hook.coding) }
    }
    return try shard.withChecked(frame: place.frame) { try body($0, nRows, row, hook.coding) }
  }

  /// The teacher's targets at the positions of a sequence.
  func targets(of sequence: Sequence, policy: LogitPolicy) throws -> TeacherTargets {
    let (all, range) = try targetFrame(of: sequence, policy, last: &targets) {
      (shape, bytes, n) throws(TargetFault) in try shape.decode(bytes, nTokens: n)
    }
    return all.tokens(range)
  }

  /// Those of `full`, as they are stored.
  func codes(of sequence: Sequence) throws -> CodedTargets {
    let (all, range) = try targetFrame(of: sequence, .full, last: &codes) {
      (shape, bytes, n) throws(TargetFault) in try shape.decodeCodes(bytes, nTokens: n)
    }
    return all.tokens(range)
  }

  /// The targets of a sequence's frame, decoded unless they are `last`, and which of its tokens are the sequence's.
  private func targetFrame<Content>(
    of sequence: Sequence, _ policy: LogitPolicy, last: inout LastFrame<Content>?,
    _ decode: (TargetFrameShape, RawSpan, _ nTokens: Int) throws(TargetFault) -> Content
  ) throws -> (all: Content, range: Range<Int>) {
    _ = try cache.logits(policy.name)
    let place = cache.place(ofSequence: sequence.number)
    let shard = try cache.shard(place.shard, of: policy.stream)
    guard let shape = shard.header.targetShape else {
      throw ActCacheError.unsupported(
        "logits \(policy.name) are final hidden states; read them as such, and the model's unembedding makes targets")
    }
    let context = cache.manifest.context
    let (frame, inFrame) = place.offset.quotientAndRemainder(dividingBy: shard.header.sequencesPerFrame)
    let range = (inFrame * context)..<((inFrame + 1) * context)
    if let last, last.path == shard.path, last.frame == frame { return (last.all, range) }
    let content = FrameBuffer(count: shard.contentBytes(ofFrame: frame))
    try content.withMutableBytes(0..<content.count) { try shard.decode(frame: frame, with: decoder, into: &$0) }
    let nTokens = shard.header.sequences(inFrame: frame) * context
    do throws(TargetFault) {
      let all = try content.withBytes(0..<content.count) { (bytes: RawSpan) throws(TargetFault) in
        try decode(shape, bytes, nTokens)
      }
      last = LastFrame(path: shard.path, frame: frame, all: all)
      return (all, range)
    } catch { throw shard.damaged("frame \(frame): \(error.what)") }
  }
}
