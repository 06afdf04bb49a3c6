import ActCache
import ArgumentParser
import Report

struct IndexCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "index", abstract: "Make a cache's manifest.json anew from its receipts, and say what changed.",
    discussion: """
      Refuses while receipts are gone of files that the manifest names, for it may be the only record of them: actcache \
      repair makes them anew.
      """)

  @Argument(help: "The cache's folder.") var cache: String
  @Flag(help: "Give up files whose receipts are gone; the manifest then names them no longer.") var forget = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let update = try CacheIndex.rebuild(cache: cache, forgets: forget)
    let manifest = update.manifest
    if json {
      return try printJSON(
        Output(
          cache: cache, changes: update.changes, generation: manifest.generation, sequences: manifest.nSequences,
          isComplete: manifest.isComplete))
    }
    for change in update.changes { print(change) }
    print(
      "\(cache): \(update.changes.isEmpty ? "the manifest was right before" : "manifest.json written"); generation "
        + "\(manifest.generation), \(grouped(manifest.nSequences)) sequences\(manifest.isComplete ? "" : ", incomplete")"
    )
  }

  private struct Output: Encodable {
    var cache: String
    var changes: [String]
    var generation, sequences: Int
    var isComplete: Bool
  }
}
