import ActCache

/// Cuts a stream of documents' tokens into sequences of one length.
///
///     concatenate   BOS a a a a │ BOS a a BOS b │ BOS b b b b │ …      (without BOS: a a a EOS b b b …)
///     none          BOS a a a a │ BOS b b - -   │ …                    (the rest of a is dropped and counted)
/// A class, because whoever takes the sequences looks at the counts meanwhile.
final class SequencePacker {
  private let spec: TokenSpec
  private let bos: UInt32?
  private let separator: UInt32?
  private var current: [UInt32] = []
  /// Tokens of the document that found no room (pack "none").
  private var overflow = 0
  private var hasText = false
  private(set) var counts = CorpusCounts()

  init(_ spec: TokenSpec) {
    self.spec = spec
    bos = spec.bos.map { UInt32(truncatingIfNeeded: $0) }
    separator = spec.separator.map { UInt32(truncatingIfNeeded: $0) }
    current.reserveCapacity(spec.context)
  }

  typealias Emit = (_ tokens: [UInt32], _ length: Int) throws -> Void

  func beginDocument(_ emit: Emit) throws {
    hasText = false
    overflow = 0
    guard let bos, current != [bos] else { return }
    if !current.isEmpty { try append(bos, emit) }
    if current.isEmpty { current.append(bos) }
    try emitIfFull(emit)
  }

  func append(_ tokens: some Sequence<UInt32>, _ emit: Emit) throws {
    for token in tokens {
      hasText = true
      if spec.pack == "none" {
        if current.count < spec.context { current.append(token) } else { overflow += 1 }
      } else {
        try append(token, emit)
      }
    }
  }

  func endDocument(_ emit: Emit) throws {
    if hasText { counts.documents += 1 } else { counts.emptyDocuments += 1 }
    if spec.pack == "none" {
      counts.droppedTokens += overflow
      if hasText {
        let length = current.count
        try emit(current + [UInt32](repeating: UInt32(spec.padding), count: spec.context - length), length)
      }
      current.removeAll(keepingCapacity: true)
    } else if hasText, bos == nil, let separator {
      try append(separator, emit)
    }
  }

  /// Counts what fills no whole sequence.
  func finish() {
    if spec.pack != "none", current != bos.map({ [$0] }) { counts.droppedTokens += current.count }
    current = []
  }

  private func append(_ token: UInt32, _ emit: Emit) throws {
    if current.isEmpty, let bos { current.append(bos) }
    if current.count < spec.context { current.append(token) }
    try emitIfFull(emit)
  }

  private func emitIfFull(_ emit: Emit) throws {
    guard spec.pack != "none", current.count == spec.context else { return }
    try emit(current, spec.context)
    current.removeAll(keepingCapacity: true)
  }
}
