/// What lies in a cache beside its records and their files.
extension CacheSurvey {
  /// A file that is part of no reader's view.
  package struct LeftOver: Sendable {
    package let file: String
    package let what: String
    /// What to do with it, if it is not to be collected.
    package let remedy: String?
  }

  /// What killed processes, repairs and others left; not to be asked while another process harvests.
  package var leftOvers: [LeftOver] {
    let known = Set(receipts.values.joined().map(\.file.path)).union(findings.flatMap(\.moves)).union(unused)
    let restore = "actcache repair \(folder.path) makes its receipt anew if it is whole"
    return folder.files.compactMap { file in
      switch CacheFolder.kind(of: file) {
      case .shard(let stream, let range) where !known.contains(file) && damaged[stream]?.contains(range) != true:
        if promised[stream]?[range] != nil {
          return LeftOver(
            file: file, what: "its receipt is gone, the manifest names it",
            remedy: "actcache repair \(folder.path) makes the receipt anew if the file is whole")
        }
        let isWanted = stream == StreamSpec.tokens && !cut.overlaps(range)
        return LeftOver(
          file: file, what: "it has no receipt, so it is not part of the cache", remedy: isWanted ? restore : nil)
      case .temporary: return LeftOver(file: file, what: "a process that was killed left it unfinished", remedy: nil)
      case .quarantined: return LeftOver(file: file, what: "it was moved aside because it is damaged", remedy: nil)
      case .foreign where !known.contains(file):
        return LeftOver(file: file, what: "no file of a cache", remedy: "nothing here reads or removes it")
      default:
        guard unused.contains(file) else { return nil }
        // Until the tokens are whole nobody knows their ranges for certain.
        return LeftOver(
          file: file, what: "no range of the tokens has these sequences, so nobody reads it",
          remedy: cut.isWhole && lost(StreamSpec.tokens).isEmpty ? nil : "kept while tokens are missing")
      }
    }
  }
}
