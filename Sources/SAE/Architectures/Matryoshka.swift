import Foundation

/// Nested prefixes over BatchTopK (Bussmann et al. 2025, arXiv 2503.17547): the loss is the mean, over prefixes of the
/// latents, of the mean squared error of the reconstruction from that prefix alone.
///
/// SAELens takes the sum over prefixes (and over elements); dictionary_learning's MatryoshkaBatchTopKTrainer multiplies each
/// error by 1/G and then takes the mean of the G of them, so that beside it AuxK weighs G times what it does here.
package enum Matryoshka {
  /// dictionary_learning's groups, but for the last, which is the rest.
  static let defaultShares = [1.0 / 32, 1.0 / 16, 1.0 / 8, 1.0 / 4]

  /// Widths of the default prefixes; those that would be empty are left out.
  package static func defaultPrefixes(nLatents: Int) -> [Int] {
    ends(of: defaultShares.map { Int($0 * Double(nLatents)) }.filter { $0 > 0 }, nLatents: nLatents)
  }

  /// Widths of the prefixes that end with each group: `1/32,1/16,1/8,1/4` are shares of the latents, `512,1024` numbers of
  /// them; what is left is the last group.
  package static func prefixes(groups text: String, nLatents: Int) throws(SAEError) -> [Int] {
    func invalid(_ why: String) -> SAEError {
      .invalid("groups is \(text); \(why); expected shares or numbers of latents such as 1/32,1/16,1/8,1/4 or 512,1024")
    }
    var (sizes, shares): ([Int], Double) = ([], 0)
    let parts = text.split(separator: ",", omittingEmptySubsequences: false)
    for part in parts.map({ $0.trimmingCharacters(in: .whitespaces) }) {
      if let size = Int(part) {
        if size < 1 { throw invalid("\(part) is not positive") }
        sizes.append(min(size, nLatents + 1))
        continue
      }
      let fraction = part.split(separator: "/", omittingEmptySubsequences: false).map { Double($0) }
      guard fraction.count <= 2, let numerator = fraction[0], let denominator = fraction.count == 2 ? fraction[1] : 1,
        case let share = numerator / denominator, share > 0, share <= 1
      else { throw invalid("\(part) is not a share") }
      let size = Int(share * Double(nLatents))
      if size < 1 { throw invalid("\(part) of \(nLatents) latents is none") }
      shares += share
      sizes.append(size)
    }
    // Shares that make up the whole leave a rest only by rounding down: it belongs to the last.
    if abs(shares - 1) < 1e-6 { sizes.removeLast() }
    let sum = sizes.reduce(0) { min($0 + $1, nLatents + 1) }
    if sum > nLatents { throw invalid("the groups have more than the \(nLatents) latents") }
    return ends(of: sizes, nLatents: nLatents)
  }

  private static func ends(of sizes: [Int], nLatents: Int) -> [Int] {
    var ends: [Int] = []
    for size in sizes { ends.append((ends.last ?? 0) + size) }
    return ends.last == nLatents ? ends : ends + [nLatents]
  }
}
