import ActCache
import Memory

/// What storage types and codecs cost and keep, on real activations, on one thread, in memory.
package struct CodecBenchmark {
  package struct Row: Codable, Sendable {
    package var dtype, codec: String
    /// Bytes per value on disk.
    package var bytesPerValue: Double
    /// On disk, of the type's own bytes.
    package var ratio: Double
    /// Values per second.
    package var encode, decode: Spread
    /// Rate of `decode` over that of decompressing and copying alone; nil without compression.
    package var shareOfFloor: Double?
    /// Σ (x − x̂)² / Σ (x − mean)² of what is stored.
    package var fvu: Double
    package var worstChannel: Int
    package var worstChannelFVU: Double
  }

  package struct Result: Codable, Sendable {
    package var hook: String
    /// Where the values come from.
    package var values: String
    package var tokens, width, frameBytes: Int
    package var rows: [Row]
    /// What this version cannot store, and why.
    package var leftOut: [String]
  }

  /// Activations of whole sequences.
  package struct Values {
    package var hook: String
    package var origin: String
    /// [tokens, width], row-major.
    package var values: [Float]
    package var width, context: Int

    package init(hook: String, origin: String, values: [Float], width: Int, context: Int) {
      self.hook = hook
      self.origin = origin
      self.values = values
      self.width = width
      self.context = context
    }
  }

  package static let dtypes = ["bf16", "f16", "f32"] + (5...9).map { "fix:\($0)" }
  /// Every type at level 1, the default at other levels, and floats without compression.
  package static let combinations: [(dtype: String, codec: String)] =
    dtypes.map { ($0, "zstd:1") } + [("bf16", "zstd:3"), ("bf16", "zstd:9")] + dtypes.prefix(3).map { ($0, "none") }

  /// On some four million values of `subject`; without dtypes and codecs, `combinations`.
  package static func run(
    _ subject: Subject, hook: String?, tokens: Int? = nil, dtypes: [String] = [], codecs: [String] = [],
    isInterrupted: () -> Bool
  ) throws -> Result {
    let hook = try subject.hook(hook)
    let width = try subject.width(of: hook)
    let values = try subject.activations(hook: hook, nTokens: tokens ?? max(1024, (1 << 22) / width))
    let chosen = (dtypes.isEmpty ? ["bf16"] : dtypes).flatMap { dtype in
      (codecs.isEmpty ? ["zstd:1"] : codecs).map { (dtype: dtype, codec: $0) }
    }
    return try CodecBenchmark(values).run(
      dtypes.isEmpty && codecs.isEmpty ? combinations : chosen, isInterrupted: isInterrupted)
  }

  private let values: Values
  private let sequencesPerFrame: Int

  package init(_ values: Values) {
    self.values = values
    let sequenceBytes = values.context * values.width * 2
    sequencesPerFrame = max(1, (CacheSpec.minFrameBytes + sequenceBytes - 1) / sequenceBytes)
  }

  /// - Parameter isInterrupted: asked before each row.
  package func run(
    _ combinations: [(dtype: String, codec: String)] = CodecBenchmark.combinations,
    isInterrupted: () -> Bool = { false }
  ) throws -> Result {
    var result = Result(
      hook: values.hook, values: values.origin, tokens: values.values.count / values.width, width: values.width,
      frameBytes: sequencesPerFrame * values.context * values.width * 2, rows: [], leftOut: [])
    var statistics = StreamStatistics(width: values.width)
    _ = statistics.add(values.values.span, from: 0, nRows: result.tokens)
    for (dtype, codec) in combinations {
      if isInterrupted() { throw MeasureError.interrupted }
      guard let type = StorageType(dtype) else {
        throw MeasureError.invalid("dtype \(dtype): allowed are \(StorageType.allowed)")
      }
      guard ShardCodec(codec) != nil else {
        throw MeasureError.invalid("codec \(codec): allowed are \(ShardCodec.allowed)")
      }
      var steps: [Float]?
      if case .fixed(let s) = type { steps = FixedPointSteps.steps(statistics, s: s) }
      let stream = StreamSpec.hook(values.hook, width: values.width, dtype: dtype, codec: codec, steps: steps)
      do { result.rows.append(try row(stream)) } catch let error as ActCacheError {
        result.leftOut.append("\(dtype) \(codec): \(error)")
      }
    }
    return result
  }

  private func row(_ stream: StreamSpec) throws -> Row {
    let trial = try CodecTrial(
      stream, values: values.values, context: values.context, sequencesPerFrame: sequencesPerFrame)
    let n = Double(trial.nValues)
    let encode = try Spread.seconds { try trial.encode() }
    var decoded = [Float](repeating: 0, count: trial.nValues)
    let decode = try Spread.seconds { try trial.decode(into: &decoded) }
    let floor = stream.codec == "none" ? nil : try Spread.seconds { try trial.decompressAndCopy() }
    let error = StorageError(values.values, decoded, width: values.width)
    return Row(
      dtype: stream.dtype, codec: stream.codec, bytesPerValue: Double(trial.encodedBytes) / n,
      ratio: Double(trial.encodedBytes) / Double(trial.contentBytes), encode: encode.rate(n), decode: decode.rate(n),
      shareOfFloor: floor.map { $0.median / decode.median }, fvu: error.fvu, worstChannel: error.worstChannel,
      worstChannelFVU: error.worstChannelFVU)
  }
}

/// What storing lost of activations: error energy over variance, of all and of the worst channel.
package struct StorageError: Equatable {
  package private(set) var fvu = 0.0
  package private(set) var worstChannel = 0
  package private(set) var worstChannelFVU = 0.0

  /// - Parameters: as many of `original` as there are of `stored`, [rows, width].
  package init(_ original: [Float], _ stored: [Float], width: Int) {
    let rows = stored.count / width
    guard rows > 0 else { return }
    var errors = [Double](repeating: 0, count: width)
    var (sums, squares) = (errors, errors)
    for row in 0..<rows {
      for channel in 0..<width {
        let x = Double(original[row * width + channel])
        let error = x - Double(stored[row * width + channel])
        errors[channel] += error * error
        sums[channel] += x
        squares[channel] += x * x
      }
    }
    let variances = zip(sums, squares).map { max(0, $1 - $0 * $0 / Double(rows)) }
    let whole = variances.reduce(0, +)
    fvu = whole > 0 ? errors.reduce(0, +) / whole : 0
    for channel in 0..<width where variances[channel] > 0 && errors[channel] / variances[channel] > worstChannelFVU {
      worstChannel = channel
      worstChannelFVU = errors[channel] / variances[channel]
    }
  }
}
