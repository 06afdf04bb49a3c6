/// Which text a cache is of, as far as its records agree: the token chain at every place that one of them touches.
///
/// Where they differ the majority is believed, so that a shard of another text that was put in the place of one of this
/// cache is found, and not its neighbours.
struct TextWitness: Sendable {
  private let chains: [Int: String]

  /// - Parameter receipts: of all streams, whole and of one cache.
  init(baseKey: String, receipts: [Receipt], generations: [Generation]) {
    var votes: [Int: [String: (count: Int, ofTokens: Int)]] = [:]
    func vote(_ place: Int, _ chain: String, ofTokens: Bool) {
      let before = votes[place]?[chain] ?? (0, 0)
      votes[place, default: [:]][chain] = (before.count + 1, before.ofTokens + (ofTokens ? 1 : 0))
    }
    for receipt in receipts {
      let ofTokens = receipt.stream.name == StreamSpec.tokens
      vote(receipt.first, receipt.chainBefore, ofTokens: ofTokens)
      vote(receipt.end, receipt.chainAfter, ofTokens: ofTokens)
    }
    for generation in generations { vote(generation.nSequences, generation.chain, ofTokens: false) }
    var elected = votes.compactMapValues { candidates in
      candidates.max { ($0.value.count, $0.value.ofTokens, $0.key) < ($1.value.count, $1.value.ofTokens, $1.key) }?.key
    }
    // That is no matter of opinion.
    elected[0] = TokenChain(baseKey: baseKey).hexValue
    chains = elected
  }

  /// The token chain after `n` sequences; nil if nobody says.
  func chain(at n: Int) -> String? { chains[n] }

  func agrees(with receipt: Receipt) -> Bool {
    chains[receipt.first] == receipt.chainBefore && chains[receipt.end] == receipt.chainAfter
  }
}

/// The ranges that the tokens of a cache are cut into.
struct TokenCut: Sendable {
  /// Ranges whose tokens are there or, if `receipt` is nil, are damaged; ascending.
  struct Piece: Sendable {
    let range: Range<Int>
    let receipt: Receipt?
  }

  private(set) var pieces: [Piece] = []
  /// Between pieces.
  private(set) var gaps: [Range<Int>] = []

  /// - Parameters:
  ///   - tokens: receipts of the tokens, whole and of one text.
  ///   - damaged: ranges of tokens of which there is something, but nothing whole.
  ///   - followers: how many other streams have a range.
  ///   - ends: where texts end.
  init(tokens: [Receipt], damaged: Set<Range<Int>>, followers: [Range<Int>: Int], ends: Set<Int>) {
    func weight(_ receipt: Receipt) -> (Int, Int, Int) {
      (followers[receipt.range] ?? 0, ends.contains(receipt.end) ? 1 : 0, receipt.end)
    }
    let starts = Set(tokens.map(\.first)).union(damaged.map(\.lowerBound)).sorted()
    var position = 0
    for start in starts where start >= position {
      if start > position { gaps.append(position..<start) }
      let receipt = tokens.filter { $0.first == start }.max { weight($0) < weight($1) }
      let range = receipt?.range ?? damaged.filter { $0.lowerBound == start }.max { $0.upperBound < $1.upperBound }
      guard let range else { continue }
      pieces.append(Piece(range: range, receipt: receipt))
      position = range.upperBound
    }
  }

  /// The sequence before which the tokens end without a gap.
  var end: Int { gaps.first?.lowerBound ?? pieces.last?.range.upperBound ?? 0 }

  func hasReceipt(_ range: Range<Int>) -> Bool { pieces.contains { $0.range == range && $0.receipt != nil } }
  var isWhole: Bool { gaps.isEmpty && pieces.allSatisfy { $0.receipt != nil } }

  /// Whether nobody knows in which range the tokens of a sequence were.
  func isDamaged(at sequence: Int) -> Bool {
    pieces.contains { $0.range.contains(sequence) && $0.receipt == nil && $0.range.upperBound != sequence + 1 }
  }
  func contains(_ range: Range<Int>) -> Bool { pieces.contains { $0.range == range } }
  func overlaps(_ range: Range<Int>) -> Bool { pieces.contains { $0.range.overlaps(range) } }
}
