import Foundation

/// Sums over the tokens of one hook, kept in f64 and added up shard by shard in the order of the sequences, so that
/// the result does not depend on threads or on who harvested what.
public struct StreamStatistics: Codable, Equatable, Sendable {
  /// Values per token.
  public let width: Int
  /// Tokens counted: those of text (not padding) whose values are all finite.
  public private(set) var nTokens = 0
  /// Values that are infinite or not a number.
  public private(set) var nNonFinite = 0
  /// Σ x and Σ x² of each channel.
  public private(set) var sums: [Double]
  public private(set) var squares: [Double]
  /// Σ ‖x‖.
  public private(set) var normSum = 0.0
  public private(set) var maxNorm = 0.0
  public private(set) var maxAbs = 0.0
  /// Σ (x − x̂)² with x̂ what is stored of x; nil where it was not measured.
  public private(set) var squaredError: Double?
  private var histogram = NormHistogram()

  /// - Parameter squaredError: 0 to measure also what storing costs.
  public init(width: Int, squaredError: Double? = nil) {
    self.width = width
    self.squaredError = squaredError
    sums = [Double](repeating: 0, count: width)
    squares = sums
  }

  /// Adds `nRows` rows of `values` from `offset` on. Returns the first value that is not finite, as (row, channel).
  package mutating func add(_ values: Span<Float>, from offset: Int, nRows: Int) -> (row: Int, channel: Int)? {
    var first: (row: Int, channel: Int)?
    for row in 0..<nRows {
      let start = offset + row * width
      guard let norm = ChannelSums.add(values, at: start, sums: &sums, squares: &squares, maxAbs: &maxAbs) else {
        for channel in 0..<width where !values[start + channel].isFinite {
          nNonFinite += 1
          if first == nil { first = (row, channel) }
        }
        continue
      }
      nTokens += 1
      normSum += norm.squareRoot()
      maxNorm = max(maxNorm, norm.squareRoot())
      histogram.add(norm)
    }
    return first
  }

  /// Adds what storing the rows cost: Σ (x − x̂)².
  package mutating func add(squaredError: Double) {
    self.squaredError = self.squaredError.map { $0 + squaredError }
  }

  /// False for what a file may say but no stream can have.
  func isConsistent(width: Int) -> Bool {
    self.width == width && sums.count == width && squares.count == width
      && [nTokens, nNonFinite].allSatisfy { (0...ShardLimits.maxCount).contains($0) }
      && (sums + squares + [normSum, maxNorm, maxAbs]).allSatisfy(\.isFinite)
      && (squaredError.map { $0.isFinite && $0 >= 0 } ?? true)
  }

  /// Adds the sums of the sequences that follow.
  package mutating func merge(_ next: StreamStatistics) {
    precondition(width == next.width)
    nTokens += next.nTokens
    nNonFinite += next.nNonFinite
    for i in 0..<width {
      sums[i] += next.sums[i]
      squares[i] += next.squares[i]
    }
    normSum += next.normSum
    maxNorm = max(maxNorm, next.maxNorm)
    maxAbs = max(maxAbs, next.maxAbs)
    histogram.merge(next.histogram)
    squaredError = squaredError.flatMap { mine in next.squaredError.map { mine + $0 } }
  }

  /// What derives from the sums.
  func summary() -> HookStatistics {
    let n = Double(max(1, nTokens))
    let means = sums.map { $0 / n }
    let variances = zip(squares, means).map { max(0, $0 / n - $1 * $1) }
    let d = Double(width)
    let median = histogram.median
    let spread = variances.reduce(0, +)
    return HookStatistics(
      nTokens: nTokens, nNonFinite: nNonFinite,
      mean: sums.reduce(0, +) / (n * d), variance: spread / d,
      meanNorm: normSum / n, meanSquaredNorm: squares.reduce(0, +) / n, medianSquaredNorm: median,
      maxNorm: maxNorm, maxAbs: maxAbs,
      nOutliers: histogram.count(above: 100 * median),
      scale: median > 0 ? (d / median).squareRoot() : 1,
      fvu: squaredError.map { spread > 0 ? $0 / (n * spread) : 0 }, channelMean: means, channelVariance: variances)
  }
}

/// Tokens by ‖x‖². A bin is the upper 16 bits of the f32 pattern: 128 bins per octave, 0.8 % wide at most.
struct NormHistogram: Codable, Equatable, Sendable {
  private var counts: [UInt32: Int] = [:]

  init() {}

  mutating func add(_ squaredNorm: Double) {
    let value = min(squaredNorm, Double(Float.greatestFiniteMagnitude))
    counts[Float(value).bitPattern >> 16, default: 0] += 1
  }

  mutating func merge(_ other: NormHistogram) {
    for (bin, count) in other.counts { counts[bin, default: 0] += count }
  }

  /// The middle token's place in its bin; 0 if there is no token.
  var median: Double {
    let half = Double(counts.values.reduce(0, +)) / 2
    var below = 0.0
    for (bin, count) in counts.sorted(by: { $0.key < $1.key }) {
      if below + Double(count) >= half {
        let edges = NormHistogram.edges(bin)
        return edges.lower + (edges.upper - edges.lower) * (half - below) / Double(count)
      }
      below += Double(count)
    }
    return 0
  }

  /// Tokens in bins that lie wholly above `squaredNorm`.
  func count(above squaredNorm: Double) -> Int {
    counts.reduce(0) { $0 + (NormHistogram.edges($1.key).lower > squaredNorm ? $1.value : 0) }
  }

  private static func edges(_ bin: UInt32) -> (lower: Double, upper: Double) {
    let upper = Float(bitPattern: (bin & 0xFFFF) << 16 &+ 0x1_0000)
    return (
      Double(Float(bitPattern: (bin & 0xFFFF) << 16)),
      Double(upper.isFinite ? upper : Float.greatestFiniteMagnitude)
    )
  }

  /// {"<bin in hex>": tokens}
  init(from decoder: any Decoder) throws {
    for (name, count) in try decoder.singleValueContainer().decode([String: Int].self) {
      guard let bin = UInt32(name, radix: 16), bin <= 0x7F7F, (0...ShardLimits.maxCount).contains(count) else {
        throw DecodingError.dataCorrupted(
          .init(codingPath: decoder.codingPath, debugDescription: "no bin of ‖x‖²: \(name)"))
      }
      counts[bin] = count
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(
      Dictionary(uniqueKeysWithValues: counts.map { (String($0.key, radix: 16), $0.value) }))
  }
}

/// What a hook's activations look like, over all text tokens of the cache.
public struct HookStatistics: Codable, Equatable, Sendable {
  public let nTokens: Int
  public let nNonFinite: Int
  /// Mean of all values.
  public let mean: Double
  /// Mean over channels of the channel's variance.
  public let variance: Double
  /// Mean of ‖x‖.
  public let meanNorm: Double
  public let meanSquaredNorm: Double
  /// Median of ‖x‖², to within 0.8 %; what `scale` is made from.
  public let medianSquaredNorm: Double
  public let maxNorm: Double
  public let maxAbs: Double
  /// Tokens whose norm exceeds ten times the median norm (attention sinks and the like).
  public let nOutliers: Int
  /// √(width / median ‖x‖²): times this, a typical ‖x‖² is the width.
  public let scale: Double
  /// Σ (x − x̂)² / Σ (x − mean)² with x̂ what is stored of x: what the cache itself loses. nil in caches of before.
  public let fvu: Double?
  public let channelMean: [Double]
  public let channelVariance: [Double]
}
