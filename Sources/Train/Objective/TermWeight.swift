/// How much a term of the objective counts, over the course of a run.
///
/// As text: `2`; `2@0.95` (0, and 2 from 95 % of the steps on); `2@..0.95` (2, and 0 from there on); `0.5>2@0.1..0.9`
/// (0.5 up to 10 % of the steps, 2 from 90 % on, a line between them).
package struct TermWeight: Equatable, Sendable {
  /// Weight before `from` and from `to` on, which are shares of the steps.
  package var (start, end): (Double, Double)
  package var (from, to): (Double, Double)

  private init(_ start: Double, _ end: Double, from: Double, to: Double) {
    (self.start, self.end, self.from, self.to) = (start, end, from, to)
  }

  package init(_ constant: Double) { self.init(constant, constant, from: 0, to: 0) }

  package init(_ start: Double, then end: Double, at share: Double) { self.init(start, end, from: share, to: share) }

  /// nil if `text` is no weight: numbers are at least 0, shares 0 to 1 and ascending.
  package init?(_ text: String) {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    let values = parts[0].split(separator: ">", omittingEmptySubsequences: false).map { Double($0) }
    guard parts.count <= 2, values.count <= 2, let first = values[0], let last = values[values.count - 1],
      first >= 0, last >= 0, first.isFinite, last.isFinite
    else { return nil }
    guard parts.count == 2 else {
      if values.count == 2 { return nil }
      self.init(first)
      return
    }
    guard let range = Self.shares(parts[1]) else { return nil }
    if values.count == 2 {
      guard let from = range.from, let to = range.to else { return nil }
      self.init(first, last, from: from, to: to)
    } else if let from = range.from {
      if range.to != nil { return nil }
      self.init(0, then: first, at: from)
    } else if let to = range.to {
      self.init(first, then: 0, at: to)
    } else {
      return nil
    }
  }

  /// `a..b`, `..b` or `a`.
  private static func shares(_ text: Substring) -> (from: Double?, to: Double?)? {
    func share(_ text: Substring) -> Double? { Double(text).flatMap { (0...1).contains($0) ? $0 : nil } }
    guard let dots = text.firstRange(of: "..") else { return share(text).map { ($0, nil) } }
    let (before, after) = (text[..<dots.lowerBound], text[dots.upperBound...])
    guard let to = share(after) else { return nil }
    if before.isEmpty { return (nil, to) }
    guard let from = share(before), from <= to else { return nil }
    return (from, to)
  }

  /// The weight of the step before which `progress` of all steps have been taken.
  package func value(at progress: Double) -> Double {
    if progress >= to { return end }
    if progress < from { return start }
    return start + (end - start) * (progress - from) / (to - from)
  }

  package var isZero: Bool { start == 0 && end == 0 }
}
