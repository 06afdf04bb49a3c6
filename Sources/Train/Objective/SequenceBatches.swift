import ActCache
import Foundation
import LinearAlgebra
import Transformer

/// Batches of whole training sequences from a cache, in an order of their own each epoch. Batch i is a function of i alone.
package final class SequenceBatches {
  /// What to read of each sequence.
  package struct Streams: Equatable, Sendable {
    package var hooks: [HookPoint]
    /// How many of them, the first, the SAE reads and reconstructs: where a token's norm is too large, it passes by.
    package var nOwn: Int
    /// nil: the predictions are not wanted, or come from elsewhere.
    package var teacher: LogitPolicy?
  }

  let nSequences: Int
  package let context: Int
  package let streams: Streams
  private let reader: SequenceReader
  private let widths: [Int]
  private let hiddenWidth: Int
  /// Of the SAE's own streams: above which tokens pass by.
  private let maxNorms: [Double]?
  private let filter: TokenFilter
  private let bos: UInt32?
  package private(set) var secondsWaited = 0.0

  package var tokensPerEpoch: Int { reader.count * context }
  package var skipped: [SkippedFrame] { reader.skipped }

  /// - Parameters:
  ///   - batchSize: tokens per batch, a multiple of the cache's context.
  ///   - filter: positions that pass by the SAE.
  /// - Throws: `TrainError.invalid` if the batch is no number of whole sequences, `ActCacheError` if the cache is damaged or
  ///   lacks a stream.
  package init(
    _ cache: CacheReader, _ streams: Streams, batchSize: Int, seed: UInt64, filter: TokenFilter = TokenFilter(),
    onCorrupt: CorruptionPolicy = .stop
  ) throws {
    context = cache.manifest.context
    guard batchSize % context == 0 else {
      let below = batchSize / context * context
      throw TrainError.invalid(
        "batch is \(batchSize), but this objective takes whole sequences of \(context) tokens; choose "
          + (below > 0 ? "\(below) or \(below + context)" : "\(context)"))
    }
    nSequences = batchSize / context
    self.streams = streams
    self.filter = filter
    bos = cache.manifest.identity.tokens.bos.map { UInt32($0) }
    widths = try streams.hooks.map { try cache.hook($0.name).width }
    maxNorms = try filter.maxNormRatio.map { ratio in
      try streams.hooks.prefix(streams.nOwn).map { try cache.maxNorm(ofHook: $0.name, ratio: ratio) }
    }
    hiddenWidth = try streams.teacher == .hidden ? cache.logits(LogitPolicy.hidden.name).width : 0
    reader = try SequenceReader(cache, seed: seed, hooks: streams.hooks.map(\.name), onCorrupt: onCorrupt)
    if reader.count < nSequences {
      throw TrainError.invalid(
        "\(cache.path): has \(reader.count) training sequences, a batch takes \(nSequences); choose a smaller --batch")
    }
  }

  /// Without the teacher's predictions, if they are not wanted in this batch. Throws `ActCacheError.damaged` naming the file.
  func read(batch index: Int, withTeacher: Bool = true) throws -> SequenceBatch {
    let start = ContinuousClock.now
    defer { secondsWaited += (ContinuousClock.now - start) / .seconds(1) }
    let batch = SequenceBatch(nSequences: nSequences, nPositions: context)
    let places = index * nSequences..<(index + 1) * nSequences
    for (s, place) in places.enumerated() {
      let sequence = try reader.sequence(place)
      batch.tokens += sequence.tokens
      for position in 0..<context {
        if position < sequence.length {
          let row = Int32(s * context + position)
          batch.textRows.append(row)
          if !passesBy(sequence.tokens[position], position) { batch.saeRows.append(row) }
        }
        batch.nextTokens.append(position + 1 < sequence.length ? sequence.tokens[position + 1] : nil)
      }
    }
    for (hook, width) in zip(streams.hooks, widths) {
      batch.streams[hook] = try matrix(width, places) { try reader.read($0, hook: hook.name, into: &$1) }
    }
    for (hook, maxNorm) in zip(streams.hooks, maxNorms ?? []) {
      guard let x = batch.streams[hook] else { continue }
      let squares = squaredNorms(x.matrix)
      batch.saeRows.removeAll { squares[Int($0)] > maxNorm * maxNorm }
    }
    switch withTeacher ? streams.teacher : nil {
    case nil: break
    case .hidden: batch.hidden = try matrix(hiddenWidth, places) { try reader.readHidden($0, into: &$1) }
    case .full: batch.codes = try codes(places)
    case let policy?:
      batch.targets = TeacherTargets(joining: try places.map { try reader.targets($0, policy: policy) })
    }
    return batch
  }

  /// Padding has steps of 0, as uniform predictions have: losses leave it out by its row's weight.
  private func codes(_ places: Range<Int>) throws -> CodedLogits {
    var (codes, steps) = ([UInt16](), [Float]())
    for place in places {
      let coded = try reader.codes(place)
      codes.reserveCapacity(places.count * coded.codes.count)
      codes += coded.codes
      steps += coded.steps
    }
    return CodedLogits(codes: codes, steps: steps)
  }

  private func passesBy(_ token: UInt32, _ position: Int) -> Bool {
    filter.skipsBOS && token == bos || !(filter.positions?.contains(position) ?? true)
  }

  /// The rows of all sequences of a batch, one read after the other.
  private func matrix(
    _ width: Int, _ places: Range<Int>, _ read: (Int, inout MutableSpan<Float>) throws -> Void
  ) throws -> SharedMatrix {
    var matrix = Matrix(uninitialized: nSequences * context, width)
    for (s, place) in places.enumerated() {
      try matrix.withMutableSpan(rows: s * context..<(s + 1) * context) { try read(place, &$0) }
    }
    return SharedMatrix(matrix)
  }
}
