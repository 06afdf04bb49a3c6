/// What a cache had and has no longer: ranges that were moved aside and not made anew, and gaps before ranges that are
/// there. A stream that was never harvested to the end has lost nothing there.
package struct Losses: Sendable {
  package struct OfStream: Sendable {
    package let stream: StreamSpec
    /// Ranges that were moved aside.
    private let marked: Set<Range<Int>>
    /// The sequence up to which the stream was there, gaps aside.
    private let reach: Int

    fileprivate init(_ stream: StreamSpec, marked: Set<Range<Int>>, reach: Int) {
      self.stream = stream
      self.marked = marked
      self.reach = reach
    }

    /// Whether a range that is not there was there once.
    package func contains(_ range: Range<Int>) -> Bool { marked.contains(range) || range.upperBound <= reach }
  }

  /// Ranges of tokens, which only the text can give back.
  package let tokens: [Range<Int>]
  /// Other streams, which the model gives back.
  package let streams: [OfStream]
  /// Streams of which no record is left that says how their values are kept.
  package let unknown: [String]
  /// The sequence that all of it lies before.
  package let end: Int

  package var isEmpty: Bool { tokens.isEmpty && streams.isEmpty && unknown.isEmpty }

  package init(_ quarantine: Quarantine) {
    let survey = quarantine.survey
    let marks = quarantine.marks
    let tokenMarks = (marks[StreamSpec.tokens] ?? []).filter { !survey.cut.overlaps($0) }
    tokens = (survey.cut.gaps + tokenMarks).sorted { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }
    var end = tokens.map(\.upperBound).max() ?? 0

    // Where the tokens of a range are lost too, other streams may still say that there was one.
    let ranges = Set(survey.cut.pieces.map(\.range)).union(marks.values.joined()).union(tokens)
    var known: [OfStream] = []
    var unknown: [String] = []
    for name in Set(survey.receipts.keys).union(marks.keys).sorted() where name != StreamSpec.tokens {
      let there = Set((survey.receipts[name] ?? []).map(\.range))
      let (marked, reach) = (marks[name] ?? [], there.map(\.upperBound).max() ?? 0)
      let lost = ranges.subtracting(there).filter { range in
        marked.contains(range) || range.upperBound <= reach && !Losses.covers(there, range)
      }
      guard let last = lost.map(\.upperBound).max() else { continue }
      end = max(end, last)
      if let stream = quarantine.stream(named: name) {
        known.append(OfStream(stream, marked: marked, reach: reach))
      } else {
        unknown.append(name)
      }
    }
    streams = known
    self.unknown = unknown
    self.end = end
  }

  private static func covers(_ pieces: Set<Range<Int>>, _ range: Range<Int>) -> Bool {
    pieces.reduce(0) { $0 + $1.clamped(to: range).count } >= range.count
  }
}
