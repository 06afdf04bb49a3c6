/// What the content of a data frame of `logits/topk…`, `logits/mass…` and `logits/full` looks like; docs/format.md §7
/// has the layout. (`hidden` is a stream of activations.)
package struct TargetFrameShape: Sendable, Equatable {
  package let policy: LogitPolicy
  package let nVocabulary: Int
  let layout: Layout

  enum Layout: Equatable {
    /// A number of entries per token, with 20 bytes besides; `most` of them at most.
    case listed(most: Int, indexByteCount: Int)
    /// All of the vocabulary, with 12 bytes besides.
    case full
  }

  /// nil for `hidden`.
  package init?(policy: LogitPolicy, nVocabulary: Int) {
    let indexByteCount = nVocabulary <= 1 << 16 ? 2 : 4
    switch policy {
    case .hidden: return nil
    case .topK(let k): layout = .listed(most: min(k, nVocabulary), indexByteCount: indexByteCount)
    case .mass(_, let cap): layout = .listed(most: min(cap, nVocabulary), indexByteCount: indexByteCount)
    case .full: layout = .full
    }
    self.policy = policy
    self.nVocabulary = nVocabulary
  }

  /// Bytes of the content of `nTokens` tokens at most; nil if that is more than a frame may hold.
  package func largest(nTokens: Int) -> Int? {
    let perToken =
      switch layout {
      case .listed(let most, let indexByteCount): 20 + most * (indexByteCount + 2)
      case .full: 12 + 2 * nVocabulary
      }
    let (bytes, overflow) = nTokens.multipliedReportingOverflow(by: perToken)
    return overflow || bytes > ShardLimits.maxFrameBytes ? nil : bytes
  }

  /// Whether the content of `nTokens` tokens can have so many bytes: what can be said of a frame before it is decoded.
  package func allows(contentBytes: Int, nTokens: Int) -> Bool {
    guard nTokens >= 0, let largest = largest(nTokens: nTokens), contentBytes >= 0, contentBytes <= largest else {
      return false
    }
    switch layout {
    case .listed(_, let indexByteCount):
      let entryBytes = contentBytes - 20 * nTokens
      return entryBytes >= 0 && entryBytes % (indexByteCount + 2) == 0
    case .full: return contentBytes == largest
    }
  }
}

/// The content of a frame and where its zstd blocks should end: `ZstdEncoder.frame(_:blockEnds:)`.
package struct TargetFrameContent: Sendable, Equatable {
  package var bytes: [UInt8] = []
  /// Ends of the byte planes.
  package var blockEnds: [Int] = []

  mutating func append<I: FixedWidthInteger & UnsignedInteger>(_ values: [I], byteCount: Int = I.bitWidth / 8) {
    let first = bytes.count
    IntegerPlanes.append(values, byteCount: byteCount, to: &bytes)
    for plane in 1...byteCount { blockEnds.append(first + plane * values.count) }
  }

  mutating func append(_ values: [Float]) { append(values.map(\.bitPattern)) }
}

/// What is wrong with targets. The reader of a file adds its name and the remedy, harvesting the place of the token.
package struct TargetFault: Error, Equatable {
  package let what: String
  init(_ what: String) { self.what = what }
}
